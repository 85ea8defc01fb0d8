"""What moved in a clip: the flow by which its first frame comes nearest to each of the others, found by descent.

Beauchemin and Barron (1995) survey the field; here the unknowns are few, a grid of displacements with a smooth field between, so the
difference of whole pictures is brought down by Adam, with a penalty on how much neighbours differ. Each frame starts from the one before
it, because motion goes on. Emoji of 64 pixels come back at 28 dB, where the still first frame has 18.
Shapes: B clips, F frames, C channels, S side, G cells.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from miaobi.models.video.flow import places, spread

STEPS, RATE = 20, 0.025
SMOOTH = 0.5  # weight of the squared difference of neighbouring cells
LARGEST = 32  # pixels a side that are compared: the field is smooth, and 64 cost four times as much for 1 dB
SLACK = 1e-3  # below this difference errors count squared, above as they are: shadows and lights weigh less


def measure(clips: Tensor, grid: int) -> Tensor:
    """The flow (B, F, 2, G, G) of clips (B, F, C, S, S); that of the first frame is 0."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(clips.device.type, enabled=False):
        clips = clips.detach().clone().float()
        size = clips.shape[-1]
        if size > LARGEST:
            small = F.interpolate(clips.flatten(0, 1), size=(LARGEST, LARGEST), mode="area")
            clips = small.view(*clips.shape[:2], *small.shape[1:])
        flow = clips.new_zeros(len(clips), 2, grid, grid)
        found = [flow]
        for number in range(1, clips.shape[1]):
            flow = _nearest(clips[:, 0], clips[:, number], flow)
            found.append(flow)
        return torch.stack(found, dim=1)


def _nearest(first: Tensor, wanted: Tensor, start: Tensor) -> Tensor:
    """The flow (B, 2, G, G) from (B, C, S, S) to (B, C, S, S), descending from `start`."""
    flow = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([flow], lr=RATE, betas=(0.8, 0.95))
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        apart = ((warp(first, flow) - wanted).square() + SLACK**2).sqrt().mean((1, 2, 3)).sum()
        bends = sum((flow.diff(dim=axis).square().mean((1, 2, 3)).sum() for axis in (2, 3)), start=flow.new_zeros(()))
        optimizer.zero_grad()
        (apart + SMOOTH * bends).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return flow.detach()


def warp(pictures: Tensor, flow: Tensor) -> Tensor:
    """Pictures (B, C, S, S) moved by flows (B, 2, G, G): `flow.warp`, with gradients."""
    size = pictures.shape[-1]
    at, _ = places(size, size)
    weights = torch.from_numpy(spread(at, flow.shape[-1])).to(flow.device)
    fine = torch.einsum("hi,bcij,wj->bhwc", weights, flow, weights)
    line = torch.from_numpy(at).to(flow.device)
    base = torch.stack(torch.meshgrid(line, line, indexing="ij")[::-1], dim=-1)  # (S, S, 2): x, y
    return F.grid_sample(pictures, base + fine, mode="bilinear", padding_mode="border", align_corners=False)
