"""Diffusion and rectified flow: pictures from noise, in pixels or latents, by class, text, style or a smaller picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.diffusion.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="diffusion",
    summary="pictures from noise: UNet or DiT, pixels or latents, by text (Chinese and English), class, style or a smaller picture",
    outputs=frozenset({Modality.IMAGE}),
    verbs=frozenset({Verb.TRAIN, Verb.GENERATE, Verb.EXPORT}),
    model="miaobi.models.diffusion.model:Diffusion",
    runtime="miaobi.models.diffusion.runtime:DiffusionRuntime",
    check="miaobi.models.diffusion.stored:check",
    schemas=_schemas,
    tiny={
        "size": 8,
        "width": 32,
        "layers": 2,
        "heads": 2,
        "conditions": ["text", "style"],
        "text_width": 32,
        "text_layers": 1,
        "tie": 0.01,
    },
    inputs=frozenset({"image", "mask"}),
    extra="train",
    packages=("torch",),
)
