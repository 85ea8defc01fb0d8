"""Masked language models after BERT, by configuration: gaps, classes, tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.bert.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="bert",
    summary="masked language model (BERT): fills gaps, writes by unmasking, classifies and tags",
    outputs=frozenset({Modality.TEXT}),
    verbs=frozenset({Verb.TRAIN, Verb.GENERATE, Verb.SCORE, Verb.EXPORT}),
    model="miaobi.models.bert.model:Bert",
    runtime="miaobi.models.bert.runtime:BertRuntime",
    schemas=_schemas,
    tiny={"width": 32, "layers": 2, "heads": 2, "context": 64, "dropout": 0.0},
    metrics={
        "classification": "miaobi.engine.metrics.classification:classification",
        "pseudo_bits_per_character": "miaobi.engine.metrics.likelihood:pseudo_bits_per_character",
    },
    extra="train",
    packages=("torch",),
)
