"""What a person may ask of a grammar (`Options`); the grammar's file is all the configuration there is (`Config`)."""

from __future__ import annotations

from pydantic import Field

from miaobi.core.schema import Schema


class Config(Schema):
    """Nothing: a grammar is written, not configured."""


class Options(Schema):
    """What a person may ask of a text."""

    form: str = Field("", max_length=64)
    """One of the forms that the grammar names (a wrong one lists them); by default its first."""
    slots: dict[str, str] = Field(default_factory=dict)
    """Fixed texts for rules or remembered names of the grammar: hero=Ada."""
    depth: int = Field(24, ge=1, le=100, strict=True)
    """How deep rules may lie in each other; recursion ends there."""
    candidates: int = Field(4, ge=1, le=256, strict=True)
    """So many texts are drawn; the one that takes up the most words of the prompt is kept."""
