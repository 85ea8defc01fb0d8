"""Procedural sound effects: nothing is learned, every sound is computed from its parameters and its seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.effects.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="effects",
    summary="sound effects by rule: rain, wind, stream, waves, thunder, fire, birds, crickets, bells, drums, clicks",
    outputs=frozenset({Modality.AUDIO}),
    verbs=frozenset({Verb.GENERATE}),
    model="miaobi.models.effects.model:Effects",
    schemas=_schemas,
)
