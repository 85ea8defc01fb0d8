"""Where a remote model is (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from miaobi.core.schema import Schema


class Config(Schema):
    """An endpoint, as `remote.json` has it. The key is never in it."""

    url: str = Field(pattern=r"^https?://[!-?A-~]+$")
    """Where the routes begin: `http://127.0.0.1:11434/v1`."""
    model: str = Field(min_length=1, max_length=300)
    """What the model is called there."""
    key: str = Field("MIAOBI_REMOTE_KEY", pattern=r"^[A-Z][A-Z0-9_]*$")
    """The variable of the environment that holds the key, where the endpoint wants one."""


class Options(Schema):
    """What a person may ask. An option that is not set is not sent, so the endpoint's own default holds."""

    max_tokens: int = Field(1024, ge=1, le=1_000_000)
    """Longest answer, in tokens of the model."""
    temperature: float | None = Field(None, ge=0, le=10)
    """0 takes the likeliest token; above 1 is bolder, below 1 is safer."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Only the likeliest tokens that hold this much probability (Holtzman et al., 2020, arXiv:1904.09751)."""
    frequency_penalty: float | None = Field(None, ge=-10, le=10)
    """Taken off a token's logit for every time it was generated."""
    presence_penalty: float | None = Field(None, ge=-10, le=10)
    """Taken off a token's logit once it was generated."""
    stop: list[Annotated[str, StringConstraints(min_length=1, max_length=200)]] = Field(default_factory=list, max_length=16)
    """The text ends before the first of these."""
    tools: list[dict[str, Any]] = Field(default_factory=list, max_length=128)
    """Functions that the model may ask for, as OpenAI describes them; what it asks for is in the notes of the label."""
    json_schema: dict[str, Any] | None = None
    """The answer is JSON that follows this schema, if the endpoint can do that."""
    silence_seconds: float = Field(60, gt=0, le=3600)
    """How long the endpoint may say nothing before it is given up."""
    seconds: float = Field(600, gt=0, le=86_400)
    """How long a whole answer may take."""
    tries: int = Field(4, ge=1, le=20)
    """How often a request that the endpoint cannot take now is sent again, each time after a longer wait."""
