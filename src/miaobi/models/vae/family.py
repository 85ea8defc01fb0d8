"""Variational autoencoders: normal latents (VAE, β-VAE), a codebook with a learned prior (VQ-VAE), or plain latents for diffusion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.vae.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="vae",
    summary="variational autoencoder of pictures (VAE, beta-VAE, VQ-VAE); also the latent codec of diffusion",
    outputs=frozenset({Modality.IMAGE}),
    verbs=frozenset({Verb.TRAIN, Verb.GENERATE, Verb.SCORE, Verb.EXPORT}),
    model="miaobi.models.vae.model:VAE",
    runtime="miaobi.models.vae.runtime:VAERuntime",
    schemas=_schemas,
    tiny={"size": 8, "channels": 3, "patch": 2, "widths": [8, 16], "latent": 4, "vector": True, "refine": 0, "likelihood": "logistic"},
    inputs=frozenset({"image"}),
    extra="train",
    packages=("torch",),
)
