"""A style model as ONNX graphs, for pictures whose sides are any multiples of 16.

AdaIN is two: the eye (`onnx/eye.onnx`), pixels (B, 3, H, W) to maps at strides 2 to 16, and the decoder (`onnx/decoder.onnx`) back from
maps. Between them the runtime restyles, so that a style picture goes through the same eye. The others are one network from a picture to a
picture (`onnx/network.onnx`), or two of them for translation there and back (`onnx/to0.onnx`, `onnx/to1.onnx`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from miaobi.engine import features
from miaobi.models.common import traced_graph
from miaobi.models.style.losses import STYLE_STAGES
from miaobi.models.style.methods import AdaIN, Cycle, Fast
from miaobi.models.style.networks import Decoder
from miaobi.models.style.runtime import DECODER, EYE, MAPS, NETWORK, TRANSLATORS

PROBE = (2, 3, 48, 64)  # a batch of noise that the graphs are compared on


class Eye(nn.Module):
    """What a picture's maps are."""

    def __init__(self) -> None:
        super().__init__()
        self.network = features.network()

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.stages(pixels)[:STYLE_STAGES])


class Drawing(nn.Module):
    """The decoder with its maps as inputs of their own."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *maps: Tensor) -> Tensor:
        return self.decoder(maps)  # type: ignore[no-any-return]


class Translating(nn.Module):
    """One way of a translation."""

    def __init__(self, network: Cycle, style: int) -> None:
        super().__init__()
        self.network, self.style = network, style

    def forward(self, pixels: Tensor) -> Tensor:
        return self.network(pixels, self.style)  # type: ignore[no-any-return]


def export(network: AdaIN | Fast | Cycle, folder: Path, formats: Sequence[str]) -> dict[str, dict[str, float]]:
    """Write the graphs of the network into the folder of the saved model, and compare them with torch.

    Returns for each format the largest errors, as shares of the largest number.

    Raises:
        UsageError: an unknown format.
        ArtifactError: a graph is too far off, so it is not kept.
        MissingExtra: the package `onnx` is not installed.
    """
    pixels = torch.rand(PROBE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    errors: dict[str, dict[str, float]] = {form: {} for form in formats}

    def write(module: nn.Module, name: str, inputs: Mapping[str, Tensor], outputs: Sequence[str] = ()) -> None:
        found = traced_graph.export(module, folder, name, inputs, formats=formats, outputs=outputs, any_size=True)
        for form, values in found.items():
            errors[form] |= values

    if isinstance(network, AdaIN):
        eye = Eye().eval()
        with torch.inference_mode():
            maps = dict(zip(MAPS, eye(pixels), strict=True))
        write(eye, EYE, {"pixels": pixels}, MAPS)
        write(Drawing(network.decoder), DECODER, maps)
    elif isinstance(network, Cycle):
        for style, name in enumerate(TRANSLATORS):
            write(Translating(network, style), name, {"pixels": pixels})
    else:
        write(network, NETWORK, {"pixels": pixels, "styles": torch.arange(len(pixels)) % network.num_styles})
    return errors
