"""Generative adversarial networks (Goodfellow et al., 2014): dense, DCGAN, and residual with R3GAN's loss; with classes by choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.gan.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="gan",
    summary="generative adversarial network of pictures (dense, DCGAN, R3GAN), by class where there are classes",
    outputs=frozenset({Modality.IMAGE}),
    verbs=frozenset({Verb.TRAIN, Verb.GENERATE, Verb.EXPORT}),
    model="miaobi.models.gan.model:GAN",
    runtime="miaobi.models.gan.runtime:GANRuntime",
    schemas=_schemas,
    tiny={"size": 8, "channels": 3, "widths": [8, 16], "latent": 8, "gamma": 0.1},
    extra="train",
    packages=("torch",),
)
