"""What an open model is made of (`Config`, for one with random weights) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from pydantic import Field, field_validator

from miaobi.core.language import tr
from miaobi.core.schema import Schema
from miaobi.engine.sampling.options import Sampling


class Config(Schema):
    """Random weights in the shape of an open model."""

    architecture: str = "llama"
    """What `model_type` says in the model's `config.json`."""
    values: dict[str, Any] = Field(default_factory=dict)
    """What else `config.json` says, by transformers' names; their defaults are often large."""
    context: int = Field(512, ge=8, le=131072)
    """The most tokens that it learns from at once."""


class Options(Sampling):
    """What a person may ask. A checkpoint with a chat template gets the whole conversation through it; another goes on with the text."""

    temperature: float = Field(0.7, ge=0, le=10)
    """0 takes the likeliest token; above 1 is bolder, below 1 is safer."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Only the likeliest tokens that hold this much probability (Holtzman et al., 2020, arXiv:1904.09751)."""
    tools: list[dict[str, Any]] = Field(default_factory=list, max_length=128)
    """Functions that the model may ask for, as JSON: name, description and parameters; its chat template has to know tools."""
    thinking: bool | None = None
    """Whether a model that can think before it answers does so; by default as its chat template has it."""
    raw: bool = False
    """Go on with the prompt as it is, without the chat template."""
    window: Literal["refuse", "slide"] = "refuse"
    """What happens with a prompt longer than the model reads: an error, or its oldest turns (and then words) are left out."""
    today: str = Field(default_factory=lambda: date.today().isoformat())
    """The date that a chat template tells the model, if it tells one: YYYY-MM-DD."""

    @field_validator("today")
    @classmethod
    def _is_a_date(cls, value: str) -> str:
        try:
            return date.fromisoformat(value).isoformat() if value else ""
        except ValueError:
            raise ValueError(tr("a date such as 2026-02-01 is wanted")) from None
