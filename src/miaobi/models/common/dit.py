"""A diffusion Transformer: patches of a noisy picture or latent, a time and conditions in; the prediction, of the picture's shape, out.

Peebles and Xie (2023, DiT): each branch is shifted, scaled and gated by the condition, and starts silent (adaLN-zero). Unusual: one
modulation serves all blocks, and a block adds only a bias of its own (PixArt-alpha, Chen et al., 2023), which saves a quarter of the
weights. Queries and keys are normalised; positions are rotations by row and column, so another size needs no new weights.
Shapes: B pictures, N patches, W width, L tokens of a condition.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.models.common import picture_blocks
from miaobi.models.common.picture_blocks import Attention, Condition, Tokens, rotation_2d, silence
from miaobi.models.common.picture_config import DiTConfig

Rotation = tuple[Tensor, Tensor]
TIME_FEATURES = 256


class DiT(nn.Module):
    """Pictures (B, C, H, W) at time (B,) in [0, 1] to a prediction of that shape."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        assert config.width % config.heads == 0, "heads divide the width"
        assert config.width // config.heads % 4 == 0, "a head turns in pairs by row and by column"
        self.config = config
        self.prefixed = bool(config.token_width) and config.tokens == "prefix"
        self.embed = nn.Linear(config.inputs * config.patch**2, config.width)
        self.condition = Condition(TIME_FEATURES, config.width, config.vector_width)
        self.modulation = nn.Linear(config.width, 6 * config.width)
        self.tokens = Tokens(config.token_width, config.width) if config.token_width else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.modulation_output = nn.Linear(config.width, 2 * config.width)
        self.output = nn.Linear(config.width, config.channels * config.patch**2)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights anew."""
        picture_blocks.initialise(self, generator)
        silence(self.modulation, self.modulation_output, self.output)

    def edges(self) -> list[nn.Parameter]:
        """First and last weights, which map from and to pixels: an optimizer for hidden matrices leaves them out."""
        return cast("list[nn.Parameter]", [self.embed.weight, self.condition.time1.weight, self.output.weight])

    def forward(
        self, x: Tensor, time: Tensor, *, vector: Tensor | None = None, tokens: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The prediction.

        Args:
            x: (B, C, H, W); H and W are multiples of the patch.
            time: (B,) in [0, 1].
            vector: (B, vector_width), a condition of the whole picture.
            tokens: (B, L, token_width), a condition in parts.
            mask: (B, L) True where a token is real.
        """
        B, _, H, W = x.shape
        rows, columns = H // self.config.patch, W // self.config.patch
        h = self.embed(to_patches(x, self.config.patch))  # (B, N, W)
        condition = F.silu(self.condition(time, vector))  # (B, W)
        modulation = self.modulation(condition)  # (B, 6 W)
        context = None
        if self.tokens is not None:
            context, mask = self.tokens(tokens, mask, B)  # (B, L, W)
        prefix = 0
        if self.prefixed and context is not None:
            prefix = context.shape[1]
            h = torch.cat((context.to(h.dtype), h), dim=1)  # (B, L + N, W)
            mask, context = None if mask is None else F.pad(mask, (0, rows * columns), value=True), None
        D = self.config.width // self.config.heads
        rotation = rotation_2d(rows, columns, D, theta=self.config.rope_theta, prefix=prefix, device=h.device)
        for block in self.blocks:
            h = block(h, modulation, rotation, context, mask)
        shift, scale = self.modulation_output(condition)[:, None].chunk(2, dim=-1)
        h = self.output(modulate(h[:, prefix:], shift, scale))  # (B, N, C * patch * patch)
        return to_picture(h, rows, columns, self.config.patch).to(x.dtype)


class Block(nn.Module):
    """Self-attention, attention to the condition where there is one apart, and a feed-forward part."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        crossed = bool(config.token_width) and config.tokens == "cross"
        self.modulation_bias = nn.Parameter(torch.zeros(6 * config.width))
        self.attention = Attention(config.width, config.heads, head_norm=True)
        self.cross = Attention(config.width, config.heads, head_norm=True) if crossed else None
        self.cross_norm = nn.LayerNorm(config.width, bias=False) if crossed else None
        self.gate = nn.Linear(config.width, config.inner, bias=False)
        self.up = nn.Linear(config.width, config.inner, bias=False)
        self.down = nn.Linear(config.inner, config.width)

    def start_at_zero(self) -> None:
        """Nothing of the condition at first; the other branches are silent through their gates."""
        nn.init.zeros_(self.modulation_bias)
        if self.cross is not None:
            silence(self.cross.output)

    def forward(self, x: Tensor, modulation: Tensor, rotation: Rotation, context: Tensor | None, mask: Tensor | None) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.modulation_bias)[:, None].chunk(6, dim=-1)  # (B, 1, W) each
        attended = self.attention(modulate(x, shift1, scale1), rotation=rotation, mask=mask if self.cross is None else None)
        x = x + gate1 * F.dropout(attended, self.dropout, self.training)
        if self.cross is not None and self.cross_norm is not None:
            x = x + self.cross(self.cross_norm(x), context, mask=mask)
        h = modulate(x, shift2, scale2)
        h = self.down(F.silu(self.gate(h)) * self.up(h))
        return x + gate2 * F.dropout(h, self.dropout, self.training)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalised x (B, N, W), scaled and shifted by the condition (B, 1, W)."""
    return torch.addcmul(shift, F.layer_norm(x, (int(x.shape[-1]),)).to(scale.dtype), 1 + scale)


def to_patches(x: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) to (B, N, C * patch * patch)."""
    return F.pixel_unshuffle(x, patch).flatten(2).transpose(1, 2)


def to_picture(x: Tensor, rows: int, columns: int, patch: int) -> Tensor:
    """(B, N, C * patch * patch) to (B, C, H, W)."""
    return F.pixel_shuffle(x.transpose(1, 2).reshape(x.shape[0], -1, rows, columns), patch)
