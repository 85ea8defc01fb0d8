"""The parts of a diffusion model as graphs for the light runtime: the denoising network, and the two halves of a latent model's codec.

The text encoder needs none: it is a few matrices, which NumPy multiplies (`text_units.encode`). Eight bits take the ranges of their numbers
from pictures that the model draws on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from miaobi.core.errors import unknown
from miaobi.engine.sampling.denoise import denoiser, euler
from miaobi.engine.sampling.noise import Process
from miaobi.models.common import latent_codec, picture_graph
from miaobi.models.common.picture_nodes import Precision
from miaobi.models.diffusion.network import Network

DENOISER = "denoiser"
DRAWN, STEPS = 8, 6  # pictures, and steps of each, that the ranges are taken from
FORMATS = ("fp32", "fp16", "int8")


def write(network: Network, shape: tuple[int, int, int], folder: Path, *, formats: Sequence[str]) -> dict[str, dict[str, float]]:
    """Write the graphs below `folder` and compare each with torch; returns the largest errors by format.

    Args:
        shape: (C, H, W) of what is denoised.

    Raises:
        UsageError: an unknown format.
    """
    for form in formats:
        if form not in FORMATS:
            raise unknown("format", form, FORMATS)
    network = network.eval()
    samples = list(_samples(network, shape))
    found = picture_graph.export(
        network.backbone, folder, samples=samples, precisions=[cast("Precision", form) for form in formats], name=DENOISER
    )
    errors = {form: {f"{DENOISER}_error": error} for form, error in found.items()}
    if network.autoencoder is not None:
        latents = torch.from_numpy(samples[-1]["x"][:2])  # the last pictures that were drawn
        found_there = latent_codec.export(network.autoencoder, folder, latents)
        for form in formats:
            errors[form] |= found_there
    return errors


@torch.inference_mode()
def _samples(network: Network, shape: tuple[int, int, int]) -> Iterator[dict[str, Any]]:
    """What the network is shown while it draws: inputs at every step, under conditions drawn at random."""
    rng = np.random.default_rng(0)
    config = network.config
    text = None
    if network.text is not None:
        drawn = np.zeros((DRAWN, 4, 8), dtype=np.int64)
        drawn[1:, :, :2] = rng.integers(1, len(network.words) + 1, (DRAWN - 1, 4, 2))  # the first is told nothing
        text = network.read(torch.from_numpy(drawn))
    told = [None if t is None else torch.from_numpy(rng.integers(0, t.num_embeddings, DRAWN)) for t in (network.style, network.label)]
    vector, tokens = network.condition(text, *told)
    conditions = {name: part.numpy() for name, part in (("vector", vector), ("tokens", tokens)) if part is not None}
    x = rng.standard_normal((DRAWN, *shape), dtype=np.float32)
    low = [np.clip(rng.standard_normal((DRAWN, *shape), dtype=np.float32), -1, 1)] if config.upscale > 1 else []
    seen: list[dict[str, Any]] = []

    def predict(x: Any, time: float) -> Any:
        inputs = {"x": np.concatenate([x, *low], axis=1).astype(np.float32), "time": np.full(len(x), time, dtype=np.float32)}
        seen.append(inputs | conditions)
        tensors = {name: torch.from_numpy(values) for name, values in seen[-1].items()}
        return network.backbone(**tensors).numpy()

    for _ in euler(denoiser(predict, config.predict), x, Process(config.schedule).levels(STEPS)):
        pass
    yield from seen
