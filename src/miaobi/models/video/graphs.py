"""The parts of a video model as graphs for the light runtime: the denoiser, and the two halves of the codec of a model of latents.

The text encoder needs none: it is a few matrices, which NumPy multiplies (`text_units.encode`). Eight bits are a way to store the weights;
the codec, through which every frame goes, is always kept in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from miaobi.models.common import latent_codec, traced_graph
from miaobi.models.video.network import Network

DENOISER = "denoiser"


def write(network: Network, folder: Path, *, formats: Sequence[str]) -> dict[str, dict[str, float]]:
    """Write the graphs below `folder` and compare each with torch; returns the largest errors by format.

    Raises:
        UsageError: an unknown format.
        ArtifactError: a graph is too far off, so it is not kept.
    """
    errors = traced_graph.export(network.denoiser, folder, DENOISER, _samples(network), formats=formats)
    if network.autoencoder is not None:
        latents = torch.randn((2, *network.shape), generator=torch.Generator().manual_seed(0))
        found = latent_codec.export(network.autoencoder, folder, latents)
        for form in formats:
            errors[form] |= found
    return errors


def _samples(network: Network) -> Mapping[str, Tensor]:
    """What the denoiser is asked: two clips at two times, one with its first frame and one without."""
    config, generator = network.config, torch.Generator().manual_seed(0)
    return {
        "x": torch.randn((2, config.frames, *network.shape), generator=generator),
        "time": torch.tensor([0.3, 0.8]),
        "vector": torch.randn((2, config.width), generator=generator),
        "first": torch.rand((2, config.channels, config.size, config.size), generator=generator) * 2 - 1,
        "given": torch.tensor([1.0, 0.0]),
    }
