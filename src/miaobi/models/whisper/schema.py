"""What a recogniser is made of (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from miaobi.core.schema import Schema


class Config(Schema):
    """Which files the packages bring, by their hashes."""

    parts: tuple[str, ...] = Field(min_length=1)
    """SHA-256 of the pieces of `model.bin`, one a package."""
    files: dict[str, str]
    """SHA-256 of the other files, all in the first package."""
    rate: int = Field(16_000, ge=8000)
    """Samples a second that it hears."""


class Options(Schema):
    """What a person may ask. The sound is the part `sound` of the request; the prompt, if any, is what went before (names, spelling)."""

    language: str = Field("", pattern="^([a-z]{2,3})?$")
    """The language that is spoken, such as zh or en; empty finds out."""
    task: Literal["transcribe", "translate"] = "transcribe"
    """Write what is said, or what it means in English."""
    script: Literal["simplified", "heard"] = "simplified"
    """Chinese in simplified characters, or in those that the model happens to write."""
    times: bool = True
    """Put the time of every word into the notes of the label; without it those of the sentences only, which is quicker."""
    silences: bool = True
    """Leave out stretches in which nobody speaks, where the model would make up words."""
    beams: int = Field(5, ge=1, le=20)
    """How many hypotheses are followed; 1 is quickest."""
