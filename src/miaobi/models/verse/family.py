"""Poems in fixed forms: classical Chinese verse whose form, rhyme and tones are constraints on decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.verse.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="verse",
    summary="classical Chinese poems: form, rhyme and tones kept by constraints on decoding",
    outputs=frozenset({Modality.TEXT}),
    verbs=frozenset({Verb.TRAIN, Verb.ADAPT, Verb.GENERATE, Verb.SCORE, Verb.EXPORT}),
    model="miaobi.models.verse.model:Verse",
    runtime="miaobi.models.verse.runtime:VerseRuntime",
    check="miaobi.models.verse.schema:check",
    schemas=_schemas,
    tiny={"width": 32, "layers": 2, "heads": 2, "context": 96, "min_count": 1},
    metrics={name: f"miaobi.models.verse.metrics:{name}" for name in ("form", "rhyme", "tone", "regular", "resampled")},
    extra="train",
    packages=("torch",),
)
