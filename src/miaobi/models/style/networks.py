"""The networks of style transfer: a decoder of restyled maps, a transformer with a norm for each style, a translator and its critic.

Johnson et al. (2016) for the shape of the transformer, Dumoulin et al. (2017) for its norms, Zhu et al. (2017, CycleGAN) for translator and
critic. Enlarging is by repetition and a convolution (Odena et al., 2016), padding by reflection: both keep checkerboards and frames away.
B pictures, C channels, S styles.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.engine.efficientnet import STAGE_CHANNELS

SLOPE = 0.2


def convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size, divided by the stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, padding_mode="reflect")


def larger(x: Tensor) -> Tensor:
    """Twice as high and wide."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


class Decoder(nn.Module):
    """Maps at strides 16, 8, 4 and 2 to a picture (B, 3, H, W): each is joined where the picture has grown to its size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inputs = list(reversed(STAGE_CHANNELS[:4]))  # 112, 40, 24, 16
        widths = [4 * width, 3 * width, 2 * width, 2 * width]
        before = [0, *widths[:-1]]
        self.joins = nn.ModuleList(convolution(extra + own, out) for extra, own, out in zip(before, inputs, widths))
        self.fine = convolution(widths[-1], width)
        self.leave = convolution(width, 3)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        x = maps[3][:, :0]
        for join, own in zip(self.joins, reversed(maps[:4])):
            x = F.relu(join(torch.cat([x, own], dim=1)))
            x = larger(x)
        return self.leave(F.relu(self.fine(x)))  # type: ignore[no-any-return]


class StyleNorm(nn.Module):
    """Instance normalisation with a gain and an offset for each style; one style is the usual norm."""

    def __init__(self, channels: int, styles: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(styles, channels))
        self.offset = nn.Parameter(torch.zeros(styles, channels))

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        return F.instance_norm(x) * self.gain[styles][..., None, None] + self.offset[styles][..., None, None]


class Residual(nn.Module):
    """Two convolutions around a skip."""

    def __init__(self, channels: int, styles: int) -> None:
        super().__init__()
        self.first, self.second = convolution(channels, channels), convolution(channels, channels)
        self.norm1, self.norm2 = StyleNorm(channels, styles), StyleNorm(channels, styles)

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.first(x), styles))
        return x + self.norm2(self.second(y), styles)  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """A picture (B, 3, H, W) to a picture in the styles (B,): what it adds to the picture is learned, so that it begins as a copy."""

    def __init__(self, width: int, blocks: int, styles: int) -> None:
        super().__init__()
        self.enter = convolution(3, width, kernel=7)
        self.down1, self.down2 = convolution(width, 2 * width, stride=2), convolution(2 * width, 4 * width, stride=2)
        self.blocks = nn.ModuleList(Residual(4 * width, styles) for _ in range(blocks))
        self.up1, self.up2 = convolution(4 * width, 2 * width), convolution(2 * width, width)
        self.norms = nn.ModuleList(StyleNorm(channels * width, styles) for channels in (1, 2, 4, 2, 1))
        self.leave = convolution(width, 3, kernel=7)

    def forward(self, pixels: Tensor, styles: Tensor) -> Tensor:
        x = F.relu(self.norms[0](self.enter(pixels), styles))
        x = F.relu(self.norms[1](self.down1(x), styles))
        x = F.relu(self.norms[2](self.down2(x), styles))
        for block in self.blocks:
            x = block(x, styles)
        x = F.relu(self.norms[3](self.up1(larger(x)), styles))
        x = F.relu(self.norms[4](self.up2(larger(x)), styles))
        return pixels + self.leave(x)  # type: ignore[no-any-return]


class Critic(nn.Module):
    """Real or made, a number for each patch (B, 1, H / 8, W / 8) (Isola et al., 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, width, 4, 2, 1)
        self.inner = nn.ModuleList(nn.Conv2d(width << n, width << n + 1, 4, 2, 1) for n in range(2))
        self.leave = nn.Conv2d(4 * width, 1, 3, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        x = F.leaky_relu(self.enter(pixels), SLOPE)
        for layer in self.inner:
            x = F.leaky_relu(F.instance_norm(layer(x)), SLOPE)
        return self.leave(x)  # type: ignore[no-any-return]


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """He et al.'s weights (2015) for convolutions, zeros for biases; the last layer of a residual picture begins near zero."""
    for name, parameter in network.named_parameters():
        if parameter.ndim == 4:
            fan_in = parameter[0].numel()
            small = 0.1 if name.endswith("leave.weight") else 1.0
            nn.init.normal_(parameter, std=small * (2 / fan_in) ** 0.5, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
