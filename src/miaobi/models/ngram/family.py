"""N-grams: a language model by counting, the baseline that every other one has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.ngram.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="ngram",
    summary="interpolated modified Kneser-Ney n-gram language model",
    outputs=frozenset({Modality.TEXT}),
    verbs=frozenset({Verb.FIT, Verb.GENERATE, Verb.SCORE}),
    model="miaobi.models.ngram.model:NGram",
    schemas=_schemas,
    tiny={"order": 3},
)
"""What the registry shows of this family; the model is imported on first use."""
