"""A diffusion UNet: a noisy picture or latent, a time and conditions in; the prediction, of the picture's shape, out.

Ho et al. (2020) with the adaptive GroupNorm of Dhariwal and Nichol (2021). Without tokens it is, weight for weight, the `UNet2DModel` of
diffusers with `resnet_time_scale_shift="scale_shift"` and a norm before its middle attention (`from_diffusers`); with tokens, each
attention to the picture is followed by one to them. Shapes: B pictures, C channels at a resolution, H and W its height and width, E width
of the condition.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.models.common import picture_blocks
from miaobi.models.common.picture_blocks import Attention, Condition, Tokens, silence
from miaobi.models.common.picture_config import UNetConfig


class UNet(nn.Module):
    """Pictures (B, C, H, W) at time (B,) in [0, 1] to a prediction of that shape."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        widths = config.widths
        assert all(width % config.groups == 0 and width % config.head_width == 0 for width in widths), "groups and heads divide the widths"
        self.config = config
        self.condition = Condition(widths[0], config.condition_width, config.vector_width)
        self.tokens = Tokens(config.token_width, config.token_width) if config.token_width else None
        self.input = nn.Conv2d(config.inputs, widths[0], 3, padding=1)
        skips = [widths[0]]  # channels that wait for the way up
        self.down = nn.ModuleList()
        width = widths[0]
        for level, wider in enumerate(widths):
            stage = Stage(config, [width] + [wider] * (config.blocks - 1), wider, attended=level in config.attention)
            skips += [wider] * config.blocks
            if level < len(widths) - 1:
                stage.resample = nn.Conv2d(wider, wider, 3, stride=2, padding=1)
                skips.append(wider)
            self.down.append(stage)
            width = wider
        self.middle1 = Residual(config, width, width)
        self.middle_attention = Spatial(config, width)
        self.middle2 = Residual(config, width, width)
        self.up = nn.ModuleList()
        for level, narrower in reversed(list(enumerate(widths))):
            inputs = [(width if block == 0 else narrower) + skips.pop() for block in range(config.blocks + 1)]
            stage = Stage(config, inputs, narrower, attended=level in config.attention)
            if level > 0:
                stage.resample = nn.Conv2d(narrower, narrower, 3, padding=1)
            self.up.append(stage)
            width = narrower
        self.norm = nn.GroupNorm(config.groups, width)
        self.output = nn.Conv2d(width, config.channels, 3, padding=1)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights anew."""
        picture_blocks.initialise(self, generator)
        silence(self.output)

    def edges(self) -> list[nn.Parameter]:
        """First and last weights, which map from and to pixels: an optimizer for hidden matrices leaves them out."""
        return cast("list[nn.Parameter]", [self.input.weight, self.condition.time1.weight, self.output.weight])

    def forward(
        self, x: Tensor, time: Tensor, *, vector: Tensor | None = None, tokens: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The prediction.

        Args:
            x: (B, C, H, W); H and W are multiples of `config.multiple`.
            time: (B,) in [0, 1].
            vector: (B, vector_width), a condition of the whole picture.
            tokens: (B, L, token_width), a condition in parts.
            mask: (B, L) True where a token is real.
        """
        condition = F.silu(self.condition(time, vector))  # (B, E)
        context = None
        if self.tokens is not None:
            context, mask = self.tokens(tokens, mask, len(x))
        if x.is_cuda:  # its convolutions want the channels last; a CPU's are as quick either way, and training is quicker without
            x = x.contiguous(memory_format=torch.channels_last)
        h = self.input(x)
        skips = [h]
        for stage in cast("Iterable[Stage]", self.down):
            for block, attention in zip(stage.blocks, stage.attentions, strict=True):
                h = attention(block(h, condition), context, mask)
                skips.append(h)
            if stage.resample is not None:
                h = stage.resample(h)
                skips.append(h)
        h = self.middle1(h, condition)
        h = self.middle2(self.middle_attention(h, context, mask), condition)
        for stage in cast("Iterable[Stage]", self.up):
            for block, attention in zip(stage.blocks, stage.attentions, strict=True):
                h = attention(block(torch.cat((h, skips.pop()), dim=1), condition), context, mask)
            if stage.resample is not None:
                h = stage.resample(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.output(F.silu(self.norm(h))).to(x.dtype, memory_format=torch.contiguous_format)  # type: ignore[no-any-return]


class Stage(nn.Module):
    """The blocks of one resolution; `resample` leads to the next one."""

    def __init__(self, config: UNetConfig, inputs: list[int], width: int, *, attended: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Residual(config, count, width) for count in inputs)
        self.attentions = nn.ModuleList(Spatial(config, width) if attended else Untouched() for _ in inputs)
        self.resample: nn.Conv2d | None = None


class Residual(nn.Module):
    """Two convolutions, each behind a norm; the second norm is scaled and shifted by the condition."""

    def __init__(self, config: UNetConfig, inputs: int, width: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.norm1 = nn.GroupNorm(config.groups, inputs)
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1)
        self.modulation = nn.Linear(config.condition_width, 2 * width)
        self.norm2 = nn.GroupNorm(config.groups, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, width, 1) if inputs != width else None

    def start_at_zero(self) -> None:
        """The block lets its input through at first."""
        silence(self.conv2)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))  # (B, C, H, W)
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, dim=1)
        h = F.silu(torch.addcmul(shift, self.norm2(h).to(scale.dtype), 1 + scale))
        h = self.conv2(F.dropout(h, self.dropout, self.training))
        return h + (x if self.shortcut is None else self.shortcut(x))  # type: ignore[no-any-return]


class Spatial(nn.Module):
    """Attention of every place to every place, then to the tokens of the condition."""

    def __init__(self, config: UNetConfig, width: int) -> None:
        super().__init__()
        heads = width // config.head_width
        self.norm = nn.GroupNorm(config.groups, width)
        self.attention = Attention(width, heads, bias=True)
        self.cross_norm = nn.GroupNorm(config.groups, width) if config.token_width else None
        self.cross = Attention(width, heads, context_width=config.token_width, head_norm=True) if config.token_width else None

    def start_at_zero(self) -> None:
        """Both let their input through at first."""
        silence(self.attention.output)
        if self.cross is not None:
            silence(self.cross.output)

    def forward(self, x: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        h = x + unflatten(self.attention(flatten(self.norm(x))), x)
        if self.cross is None or self.cross_norm is None:
            return h
        return h + unflatten(self.cross(flatten(self.cross_norm(h)), context, mask=mask), h)


class Untouched(nn.Module):
    """Stands where a resolution has no attention."""

    def forward(self, x: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        return x


def flatten(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H * W, C); no copy where the channels lie last."""
    return x.flatten(2).transpose(1, 2)


def unflatten(x: Tensor, like: Tensor) -> Tensor:
    """(B, H * W, C) back to the shape of `like`."""
    return x.transpose(1, 2).reshape(like.shape)


_NAMES = (
    (r"^time_embedding\.linear_(\d)\.", r"condition.time\1."),
    (r"^conv_in\.", "input."),
    (r"^conv_norm_out\.", "norm."),
    (r"^conv_out\.", "output."),
    (r"^down_blocks\.", "down."),
    (r"^up_blocks\.", "up."),
    (r"^mid_block\.resnets\.0\.", "middle1."),
    (r"^mid_block\.resnets\.1\.", "middle2."),
    (r"^mid_block\.attentions\.0\.", "middle_attention."),
    (r"\.resnets\.", ".blocks."),
    (r"\.(downsamplers|upsamplers)\.0\.conv\.", ".resample."),
    (r"\.time_emb_proj\.", ".modulation."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"\.group_norm\.", ".norm."),
    (r"\.to_q\.", ".attention.query."),
    (r"\.to_k\.", ".attention.key."),
    (r"\.to_v\.", ".attention.value."),
    (r"\.to_out\.0\.", ".attention.output."),
)


def from_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a diffusers `UNet2DModel` under our names."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed
