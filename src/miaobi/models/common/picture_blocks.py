"""What both denoising networks are built from: the embedding of time and condition, attention, and initial weights.

Unusual: normalisation in attention is LayerNorm with a scale only (Dehghani et al., 2023), not RMSNorm: torch computes RMSNorm's gradient
on a CPU in many small passes, which take five times as long. Shapes: B pictures, N positions, L tokens of a condition, W width,
H heads, D head width, E width of the condition.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TIME_SCALE = 1000.0  # time in [0, 1] times this is the timestep of Ho et al. (2020), so that weights of such networks carry over


def time_features(time: Tensor, width: int, *, longest: float = 10_000.0) -> Tensor:
    """Cosines and sines (B, width) of time (B,) in [0, 1] at geometrically spaced frequencies (Vaswani et al., 2017)."""
    half = width // 2
    frequencies = torch.exp(-math.log(longest) / half * torch.arange(half, dtype=torch.float32, device=time.device))
    angles = TIME_SCALE * time.float()[:, None] * frequencies  # (B, width / 2)
    return torch.cat((angles.cos(), angles.sin()), dim=1)


class Condition(nn.Module):
    """Time, and a vector where the network takes one, as one vector (B, E): what modulates every block."""

    def __init__(self, features: int, width: int, vector_width: int) -> None:
        super().__init__()
        self.features = features
        self.time1 = nn.Linear(features, width)
        self.time2 = nn.Linear(width, width)
        self.vector = nn.Linear(vector_width, width, bias=False) if vector_width else None  # so a vector of zeros is none at all

    def forward(self, time: Tensor, vector: Tensor | None) -> Tensor:
        features = time_features(time, self.features).to(self.time1.weight.dtype)
        condition: Tensor = self.time2(F.silu(self.time1(features)))
        if vector is None:
            return condition
        assert self.vector is not None, "the network was built with vector_width = 0"
        return condition + self.vector(vector)  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """Tokens (B, L, width) of a condition, behind a learned one that stands for nothing.

    So a row whose tokens are all masked, or no tokens at all, still has something to look at: the unconditional case of guidance.
    """

    def __init__(self, token_width: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(token_width, width) if width != token_width else None
        self.nothing = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tensor | None, mask: Tensor | None, batch: int) -> tuple[Tensor, Tensor | None]:
        """(B, 1 + L, width) and the mask (B, 1 + L), which stays None where all are real."""
        nothing = self.nothing.expand(batch, 1, -1)
        if tokens is None:
            return nothing, None
        projected = tokens if self.project is None else self.project(tokens)
        joined = torch.cat((nothing.to(projected.dtype), projected), dim=1)
        return joined, None if mask is None else F.pad(mask, (1, 0), value=True)


class Attention(nn.Module):
    """Attention of x (B, N, W) to itself, or to `context` (B, L, context_width)."""

    def __init__(
        self, width: int, heads: int, *, context_width: int = 0, head_norm: bool = False, bias: bool = False, output_bias: bool = True
    ) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(context_width or width, width, bias=bias)
        self.value = nn.Linear(context_width or width, width, bias=bias)
        self.output = nn.Linear(width, width, bias=output_bias)
        self.query_norm = nn.LayerNorm(width // heads, bias=False) if head_norm else None
        self.key_norm = nn.LayerNorm(width // heads, bias=False) if head_norm else None

    def forward(
        self, x: Tensor, context: Tensor | None = None, *, rotation: tuple[Tensor, Tensor] | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """`mask` (B, L) is True for what may be looked at; `rotation` holds cosines and sines (N, D)."""
        source = x if context is None else context
        B, N, W = x.shape
        L, H = source.shape[1], self.heads
        q = self.query(x).view(B, N, H, W // H)  # (B, N, H, D)
        k = self.key(source).view(B, L, H, W // H)
        v = self.value(source).view(B, L, H, W // H)
        if self.query_norm is not None and self.key_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H, N, D)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        visible = None if mask is None else mask[:, None, None, :]
        y = attend(q, k.to(q.dtype), v.to(q.dtype), visible)
        return self.output(y.transpose(1, 2).reshape(B, N, W))  # type: ignore[no-any-return]


def attend(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
    """Attention of q (B, H, N, D) to k and v (B, H, L, D), where `visible` (B, 1, 1, L) is True.

    Pictures have few positions, and torch's own attention learns slowly on a CPU in bf16: at 16 positions 9 times, at 64 positions 4 times
    as slow as plain products, mostly in its gradient.
    """
    if q.device.type != "cpu" or q.dtype != torch.bfloat16 or not q.requires_grad:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (B, H, N, L)
    if visible is not None:
        scores = scores.masked_fill(~visible, float("-inf"))
    shares: Tensor = scores.softmax(-1).to(v.dtype)
    return shares @ v


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair (x[i], x[i + D / 2]) by its angle."""
    cosine, sine = rotation
    first, second = x.chunk(2, dim=-1)
    turned: Tensor = x * cosine + torch.cat((-second, first), dim=-1) * sine
    return turned.to(x.dtype)


def rotation_2d(
    height: int, width: int, head_width: int, *, theta: float, prefix: int = 0, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Cosines and sines (prefix + height * width, D): half of the pairs turn with the row, half with the column; a prefix does not turn."""
    quarter = head_width // 4
    frequencies = theta ** -(torch.arange(quarter, dtype=torch.float32, device=device) / quarter)
    rows = torch.arange(height, dtype=torch.float32, device=device)[:, None] * frequencies  # (height, D / 4)
    columns = torch.arange(width, dtype=torch.float32, device=device)[:, None] * frequencies  # (width, D / 4)
    angles = torch.cat((rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)), dim=-1).flatten(0, 1)  # (N, D / 2)
    angles = F.pad(angles, (0, 0, prefix, 0))
    angles = torch.cat((angles, angles), dim=-1)  # (prefix + N, D)
    return angles.cos(), angles.sin()


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Fill every weight from `generator`: matrices and kernels keep the size of what goes through them, biases are 0, norms are 1.

    Then each module that has `start_at_zero` empties what should be silent at first: residual branches, modulations, the output.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.GroupNorm | nn.LayerNorm):
            nn.init.ones_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02, generator=generator)
    for module in network.modules():
        start_at_zero = getattr(module, "start_at_zero", None)
        if start_at_zero is not None:
            start_at_zero()


def silence(*layers: nn.Linear | nn.Conv2d) -> None:
    """Set the layers to give zero."""
    for layer in layers:
        nn.init.zeros_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
