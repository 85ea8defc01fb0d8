"""Rules: texts from a grammar of templates that a person writes; nothing is learned, and every text is what the rules allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.rules.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="rules",
    summary="texts from a grammar of templates with weights, agreement and rhyme",
    outputs=frozenset({Modality.TEXT}),
    verbs=frozenset({Verb.GENERATE}),
    model="miaobi.models.rules.model:Rules",
    check="miaobi.models.rules.model:check",
    schemas=_schemas,
)
"""What the registry shows of this family; the model is imported on first use."""
