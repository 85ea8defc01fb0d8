"""Diffusion over short clips: a picture moves, or a clip comes out of noise; steered by words and by the first frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.video.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="video",
    summary="short clips by diffusion: motion of a given picture, or frames in pixels or latents; by text (zh, en) and first frame",
    outputs=frozenset({Modality.VIDEO}),
    verbs=frozenset({Verb.TRAIN, Verb.GENERATE, Verb.EXPORT}),
    model="miaobi.models.video.model:Video",
    runtime="miaobi.models.video.runtime:VideoRuntime",
    schemas=_schemas,
    tiny={"size": 16, "frames": 4, "grid": 4, "width": 32, "layers": 1, "heads": 2, "text_width": 32, "text_layers": 1, "words": 200},
    inputs=frozenset({"image"}),
    extra="train",
    packages=("torch",),
)
