"""Gatys et al. (2016): nothing is trained; pixels are optimised until they have one picture's content and another's style.

Unusual: Adam instead of L-BFGS, whose line search would make a step cost an unknown number of looks at the picture, and pixels behind a
tanh, so that they stay colours without clipping.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from miaobi.core.types import Chunk
from miaobi.engine import features
from miaobi.models.style.losses import STYLE_STAGES, content_loss, gram, gram_loss, roughness
from miaobi.models.style.schema import Options
from miaobi.models.style.transfer import Job, show

PREVIEW_EVERY = 20  # steps
RATE = 0.05
LARGEST = 0.98  # atanh of 1 is infinite
CONTENT_WEIGHT = 0.3  # at full strength; what is left of 1 counts for the style
SMOOTH_WEIGHT = 0.2


def optimise(
    content: Tensor, style: Tensor, *, steps: int, strength: float = 1.0, generator: torch.Generator
) -> Iterator[tuple[Tensor, float]]:
    """The picture (1, 3, H, W) in [-1, 1] and its loss after each step.

    Args:
        content: (1, 3, H, W) in [-1, 1].
        style: (1, 3, H', W') in [-1, 1].
        strength: 0 keeps the content, 1 weighs the style most.
        generator: draws the noise that the start differs from the content by.
    """
    with torch.no_grad():
        wanted = features.stages(content)
        grams = [gram(x) for x in features.stages(style)[:STYLE_STAGES]]
        noise = torch.randn(content.shape, generator=generator)  # on the CPU, so that every device draws the same
        start = content + 0.05 * noise.to(content.device)
        pixels = start.clamp(-LARGEST, LARGEST).atanh()
    pixels.requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr=RATE)
    weight = 1 - strength * (1 - CONTENT_WEIGHT)
    for _ in range(steps):
        with torch.enable_grad():  # a consumer may hold inference mode around the iterator
            x = pixels.tanh()
            maps = features.stages(x)
            loss = weight * content_loss(maps, wanted) + (1 - weight) * gram_loss(maps, grams) + SMOOTH_WEIGHT * roughness(x)
            (pixels.grad,) = torch.autograd.grad(loss.sum(), [pixels])
        optimizer.step()
        yield pixels.detach().tanh(), loss.item()


def optimised(job: Job, options: Options, seed: int, *, device: torch.device) -> Iterator[Chunk]:
    """What a request for optimised pixels gets: a preview now and then, and the picture."""
    assert job.style is not None
    generator = torch.Generator().manual_seed(seed)
    content, style = (torch.from_numpy(pixels).to(device) for pixels in (job.content, job.style))
    made = content
    for step, (made, _) in enumerate(
        optimise(content, style, steps=options.steps, strength=options.strength, generator=generator), start=1
    ):
        if step % PREVIEW_EVERY == 0 and step < options.steps:
            yield job.preview(made.cpu().numpy(), step, options)
    yield from show(job, made.cpu().numpy(), options)
