"""Generators and discriminators: dense, DCGAN (Radford et al., 2016), and the residual ones of R3GAN (Huang et al., 2024).

Residual: ConvNeXt-like blocks with grouped convolutions, leaky ReLU and no normalisation at all; the last convolution of every block starts
at zero and the others with less variance the deeper the network is (Zhang et al., 2019), so that a new network is tame. A class enters the
generator beside the latent, and the discriminator by projection (Miyato and Koyama, 2018): the score is a product with the class's vector.
Shapes: B pictures, L latent numbers, C channels, S size, W channels of a level, G cells at the bottom.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
SMOOTH = 16  # channels at full size behind squares of pixels
EMBEDDING = 32  # length of a class's vector beside the latent


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What both networks of an architecture are built from."""

    size: int
    channels: int
    latent: int
    patch: int
    widths: tuple[int, ...]
    blocks: int
    expansion: int
    group: int
    classes: int


class Latent(nn.Module):
    """The latent (B, L), with the class's vector behind it where there are classes."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.classes = nn.Embedding(shape.classes, EMBEDDING) if shape.classes else None
        self.width = shape.latent + (EMBEDDING if shape.classes else 0)

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        if self.classes is None:
            return z
        assert labels is not None, "a model of classes is told which"
        return torch.cat([z, self.classes(labels)], dim=1)


class Verdict(nn.Module):
    """Features (B, W) to one number (B,): how real; with classes, how real for this class."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.real = nn.Linear(width, 1)
        self.classes = nn.Embedding(classes, width) if classes else None
        if self.classes is not None:
            nn.init.normal_(self.classes.weight, std=1 / math.sqrt(width))

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        score: Tensor = self.real(x)[:, 0]
        if self.classes is not None:
            assert labels is not None, "a model of classes is told which"
            score = score + (x * self.classes(labels)).sum(1)
        return score


class Block(nn.Module):
    """1 by 1 to the inner width, 3 by 3 in groups, 1 by 1 back; beside the identity. `depth` is how many blocks the network has."""

    def __init__(self, width: int, shape: Shape, depth: int) -> None:
        super().__init__()
        inner = shape.expansion * width
        groups = math.gcd(inner, max(1, inner // shape.group))
        self.widen = nn.Conv2d(width, inner, 1)
        self.mix = nn.Conv2d(inner, inner, 3, padding=1, groups=groups)
        self.narrow = nn.Conv2d(inner, width, 1, bias=False)
        for convolution in (self.widen, self.mix):
            tame(convolution, depth ** -(1 / 4))  # two of them in a row share a factor of 1 / sqrt(depth)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.leaky_relu(self.mix(F.leaky_relu(self.widen(x), SLOPE)), SLOPE)
        y: Tensor = self.narrow(inner)
        return x + y


class ResidualGenerator(nn.Module):
    """A learned picture at the bottom, its channels scaled by the latent; blocks and bilinear doubling up to the full size."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        levels = shape.widths[::-1]
        grid = shape.size // shape.patch // 2 ** (len(levels) - 1)
        self.latent = Latent(shape)
        self.basis = nn.Parameter(torch.randn(levels[0], grid, grid))
        self.scales = nn.Linear(self.latent.width, levels[0], bias=False)
        depth = len(levels) * shape.blocks
        self.levels = nn.ModuleList(nn.Sequential(*(Block(width, shape, depth) for _ in range(shape.blocks))) for width in levels)
        self.steps = nn.ModuleList(nn.Conv2d(before, width, 1, bias=False) for before, width in pairwise(levels))
        self.smooth: nn.Module = nn.Identity()
        self.pixels = nn.Conv2d(levels[-1], shape.channels, 1)
        if shape.patch > 1:  # squares of pixels come out side by side: a convolution at full size takes away the grid between them
            inner = nn.Conv2d(levels[-1], SMOOTH * shape.patch**2, 1)
            tame(inner)
            self.smooth = nn.Sequential(inner, nn.PixelShuffle(shape.patch), nn.LeakyReLU(SLOPE))
            self.pixels = nn.Conv2d(SMOOTH, shape.channels, 3, padding=1)
        nn.init.normal_(self.scales.weight, std=1 / math.sqrt(self.latent.width))
        for step in self.steps:
            tame(step, gain=1.0)
        tame(self.pixels, gain=1.0)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.basis * self.scales(self.latent(z, labels))[:, :, None, None]  # (B, W, G, G)
        x = self.levels[0](x)
        for step, level in zip(self.steps, list(self.levels)[1:]):
            x = level(F.interpolate(step(x), scale_factor=2, mode="bilinear", align_corners=False))
        y: Tensor = self.pixels(self.smooth(x))
        return y


class ResidualDiscriminator(nn.Module):
    """The generator's mirror image: blocks and halving down to the bottom, where every channel has a learned picture to compare with."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        levels = shape.widths
        grid = shape.size // shape.patch // 2 ** (len(levels) - 1)
        depth = len(levels) * shape.blocks
        self.pixels = nn.Conv2d(shape.channels, levels[0], shape.patch, stride=shape.patch)
        self.levels = nn.ModuleList(nn.Sequential(*(Block(width, shape, depth) for _ in range(shape.blocks))) for width in levels)
        self.steps = nn.ModuleList(nn.Conv2d(before, width, 1, bias=False) for before, width in pairwise(levels))
        self.basis = nn.Conv2d(levels[-1], levels[-1], grid, groups=levels[-1], bias=False)
        self.verdict = Verdict(levels[-1], shape.classes)
        for convolution in (self.pixels, *self.steps, self.basis):
            tame(convolution, gain=1.0)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.levels[0](self.pixels(x))
        for step, level in zip(self.steps, list(self.levels)[1:]):
            x = level(step(F.avg_pool2d(x, 2)))
        score: Tensor = self.verdict(self.basis(x).flatten(1), labels)
        return score


class DCGenerator(nn.Module):
    """Transposed convolutions of stride 2 with batch normalisation and ReLU, tanh at the end."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        levels = shape.widths[::-1]
        self.latent = Latent(shape)
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(self.latent.width, levels[0], shape.size // 2 ** len(levels), bias=False),
            nn.BatchNorm2d(levels[0]),
            nn.ReLU(),
        ]
        for before, width in pairwise(levels):
            layers += [nn.ConvTranspose2d(before, width, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(levels[-1], shape.channels, 4, stride=2, padding=1), nn.Tanh())
        self.apply(small)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        y: Tensor = self.layers(self.latent(z, labels)[:, :, None, None])
        return y


class DCDiscriminator(nn.Module):
    """Convolutions of stride 2 with batch normalisation (not on the first) and leaky ReLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(shape.channels, shape.widths[0], 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        for before, width in pairwise(shape.widths):
            layers += [nn.Conv2d(before, width, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.verdict = Verdict(shape.widths[-1] * (shape.size // 2 ** len(shape.widths)) ** 2, shape.classes)
        self.apply(small)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        score: Tensor = self.verdict(self.layers(x), labels)
        return score


class DenseGenerator(nn.Module):
    """Fully connected layers with leaky ReLU, tanh at the end."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = (shape.channels, shape.size, shape.size)
        self.latent = Latent(shape)
        widths = (self.latent.width, *shape.widths[::-1])
        layers = [layer for before, width in pairwise(widths) for layer in (nn.Linear(before, width), nn.LeakyReLU(SLOPE))]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], math.prod(self.shape)), nn.Tanh())

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        y: Tensor = self.layers(self.latent(z, labels))
        return y.view(-1, *self.shape)


class DenseDiscriminator(nn.Module):
    """Fully connected layers with leaky ReLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths = (shape.channels * shape.size**2, *shape.widths)
        layers = [layer for before, width in pairwise(widths) for layer in (nn.Linear(before, width), nn.LeakyReLU(SLOPE))]
        self.layers = nn.Sequential(nn.Flatten(), *layers)
        self.verdict = Verdict(shape.widths[-1], shape.classes)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        score: Tensor = self.verdict(self.layers(x), labels)
        return score


NETWORKS: dict[str, tuple[type[nn.Module], type[nn.Module]]] = {
    "residual": (ResidualGenerator, ResidualDiscriminator),
    "dcgan": (DCGenerator, DCDiscriminator),
    "dense": (DenseGenerator, DenseDiscriminator),
}


def tame(layer: nn.Module, factor: float = 1.0, *, gain: float | None = None) -> None:
    """He's normal weights for leaky ReLU (or `gain`), times `factor`; no bias."""
    assert isinstance(layer, nn.Conv2d)
    chosen = nn.init.calculate_gain("leaky_relu", SLOPE) if gain is None else gain
    nn.init.normal_(layer.weight, std=factor * chosen / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def small(layer: nn.Module) -> None:
    """DCGAN's weights: normal, of deviation 0.02."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, std=0.02)
