"""The parts of a diffusion model as graphs for the light runtime: the denoising network, and the two halves of a latent model's codec.

The text encoder needs none: it is a few matrices, which NumPy multiplies (`text_units.encode`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from miaobi.models.common.traced_graph import export
from miaobi.models.diffusion.network import Network, condition_width

DENOISER, ENCODER, DECODER = "denoiser", "encoder", "decoder"


class _Predicting(nn.Module):
    """The denoising network with the inputs that it has, in order."""

    def __init__(self, network: Network, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.names = network, tuple(names)

    def forward(self, *values: Tensor) -> Tensor:
        given = dict(zip(self.names, values, strict=True))
        prediction: Tensor = self.network(given["x"], given["time"], given.get("vector"), given.get("tokens"), given.get("low"))
        return prediction


class _Encoding(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        assert self.network.autoencoder is not None
        return self.network.autoencoder.encode(pixels)[0]


class _Decoding(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, latents: Tensor) -> Tensor:
        assert self.network.autoencoder is not None
        return self.network.autoencoder.decode(latents)


def write(network: Network, shape: tuple[int, int, int], folder: Path, *, formats: Sequence[str]) -> dict[str, dict[str, float]]:
    """Write the graphs below `folder` and compare each with torch; returns the largest errors by format.

    Args:
        shape: (C, H, W) of what is denoised.
    """
    network = network.eval()
    generator = torch.Generator().manual_seed(0)
    inputs = _example(network, shape, generator)
    errors: dict[str, dict[str, float]] = {form: {} for form in formats}
    parts: list[tuple[nn.Module, str, Mapping[str, Tensor]]] = [(_Predicting(network, list(inputs)), DENOISER, inputs)]
    if network.autoencoder is not None:
        own = network.autoencoder.config
        pixels = torch.rand((2, own.channels, own.size, own.size), generator=generator) * 2 - 1
        parts += [(_Encoding(network), ENCODER, {"pixels": pixels}), (_Decoding(network), DECODER, {"latents": inputs["x"]})]
    for module, name, given in parts:
        for form, found in export(module, folder, name, given, formats=formats).items():
            errors[form] |= found
    return errors


def _example(network: Network, shape: tuple[int, int, int], generator: torch.Generator) -> dict[str, Tensor]:
    """Inputs of two pictures."""
    config = network.config
    inputs = {"x": torch.randn((2, *shape), generator=generator), "time": torch.tensor([0.3, 0.8])}
    if network.text is not None or network.style is not None or network.label is not None:
        inputs["vector"] = torch.randn((2, condition_width(config)), generator=generator)
    if network.text is not None and config.text_tokens:
        inputs["tokens"] = torch.randn((2, config.text_tokens, condition_width(config)), generator=generator)
    if config.upscale > 1:
        inputs["low"] = torch.randn((2, *shape), generator=generator)
    return inputs
