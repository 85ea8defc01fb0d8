"""How much two pictures differ in content and in style, measured on the maps of EfficientNet-lite0.

Gatys et al. (2016) compare correlations of channels, Huang and Belongie (2017) means and deviations of channels. Unusual: every difference
is divided by the size of what it is compared with, so that no stage outweighs the others and weights mean the same for every picture.
Losses are (B,), one number a picture. Maps are lists of (B, C, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

EPSILON = 1e-5
CONTENT_STAGE = 2  # stride 8: shapes without textures
STYLE_STAGES = 4  # strides 2 to 16
Moments = Sequence[tuple[Tensor, Tensor]]  # of each stage: means and deviations, (B, C) each


def content_loss(maps: Sequence[Tensor], target: Sequence[Tensor], *, stage: int = CONTENT_STAGE) -> Tensor:
    """Relative squared difference of the maps at one stage."""
    wanted = target[stage]
    return (maps[stage] - wanted).square().mean((1, 2, 3)) / (wanted.square().mean((1, 2, 3)) + EPSILON)


def gram(x: Tensor) -> Tensor:
    """Correlations of channels (B, C, C) of a map."""
    flat = x.flatten(2)  # (B, C, H * W)
    return flat @ flat.mT / flat.shape[-1]


def gram_loss(maps: Sequence[Tensor], grams: Sequence[Tensor]) -> Tensor:
    """Relative squared differences of the correlations, the mean over the stages that `grams` has."""
    parts = [(gram(x) - wanted).square().sum((1, 2)) / (wanted.square().sum((1, 2)) + EPSILON) for x, wanted in zip(maps, grams)]
    return torch.stack(parts).mean(dim=0)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (B, C) of each channel."""
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=0)
    return mean, (variance + EPSILON).sqrt()


def moments_loss(maps: Sequence[Tensor], wanted: Moments) -> Tensor:
    """Relative squared differences of means and deviations, the mean over the stages that `wanted` has."""
    parts = []
    for x, (mean, deviation) in zip(maps, wanted):
        own_mean, own_deviation = moments(x)
        size = (mean.square() + deviation.square()).mean(1) + EPSILON
        parts.append(((own_mean - mean).square() + (own_deviation - deviation).square()).mean(1) / size)
    return torch.stack(parts).mean(dim=0)


def roughness(x: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels."""
    return x.diff(dim=2).square().mean((1, 2, 3)) + x.diff(dim=3).square().mean((1, 2, 3))


def restyle(x: Tensor, style: tuple[Tensor, Tensor], strength: float = 1.0) -> Tensor:
    """AdaIN (Huang and Belongie, 2017): the map with the style's mean and deviation in each channel, or a part of the way there."""
    mean, deviation = (value[..., None, None] for value in style)
    own_mean, own_deviation = (value[..., None, None] for value in moments(x))
    return torch.lerp(x, (x - own_mean) / own_deviation * deviation + mean, strength)
