"""Transformers that read one text and write another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.seq2seq.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="seq2seq",
    summary="Transformer encoder-decoder: summary, rewriting, translation, title to text and text to title",
    outputs=frozenset({Modality.TEXT}),
    verbs=frozenset({Verb.TRAIN, Verb.GENERATE, Verb.SCORE, Verb.EXPORT}),
    model="miaobi.models.seq2seq.model:Seq2Seq",
    runtime="miaobi.models.seq2seq.runtime:Seq2SeqRuntime",
    schemas=_schemas,
    tiny={"width": 32, "layers": 1, "heads": 2, "context": 64, "dropout": 0.0, "source": "{title}"},
    extra="train",
    packages=("torch",),
)
