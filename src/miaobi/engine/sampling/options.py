"""The options of every family that generates tokens; a family subclasses `Sampling`, overrides defaults and adds its own.

`Decoding` is for tokens of any kind; `Sampling` adds what only a text has: a schema or an expression to follow, log-probabilities.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from miaobi.core.language import tr
from miaobi.core.schema import Schema

MAX_TOKENS = 65_536
MOST_ALTERNATIVES = 20
MOST_SCHEMA_CHARACTERS, MOST_REGEX_CHARACTERS = 200_000, 4_000
_SAMPLED = ("temperature", "top_k", "top_p", "min_p", "typical_p")  # beam search draws nothing, so these contradict it


class Decoding(Schema):
    """How the next token is chosen. The defaults draw from the model's own distribution. `processors.process` has the order."""

    n: int = Field(1, ge=1, le=64)
    """How many different contents."""
    max_tokens: int = Field(256, ge=1, le=MAX_TOKENS)
    """Longest generation, in tokens of the model."""
    min_tokens: int = Field(0, ge=0, le=MAX_TOKENS)
    """No end before so many tokens."""
    temperature: float = Field(1.0, ge=0, le=10)
    """0 takes the likeliest token; above 1 is bolder, below 1 is safer."""
    top_k: int = Field(0, ge=0, le=10_000_000)
    """Only the k likeliest tokens; 0 is off."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Only the likeliest tokens that hold this much probability (Holtzman et al., 2020, arXiv:1904.09751)."""
    min_p: float = Field(0.0, ge=0, lt=1)
    """Only tokens at least this likely compared with the likeliest (Nguyen et al., 2024, arXiv:2407.01082)."""
    typical_p: float = Field(1.0, gt=0, le=1)
    """Only tokens of nearly expected surprise that hold this much probability (Meister et al., 2023, arXiv:2202.00666)."""
    repetition_penalty: float = Field(1.0, ge=0.1, le=10)
    """Above 1, tokens of the prompt and the text so far become less likely (Keskar et al., 2019, arXiv:1909.05858)."""
    frequency_penalty: float = Field(0.0, ge=-10, le=10)
    """Taken off a token's logit for every time it was generated."""
    presence_penalty: float = Field(0.0, ge=-10, le=10)
    """Taken off a token's logit once it was generated."""
    no_repeat_ngram: int = Field(0, ge=0, le=64)
    """No run of so many tokens occurs twice; 0 is off."""
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] = Field(default_factory=dict, max_length=1024)
    """Added to the logits of these token numbers."""
    stop: list[Annotated[str, StringConstraints(min_length=1, max_length=200)]] = Field(default_factory=list, max_length=16)
    """The text ends before the first of these."""
    beams: int = Field(1, ge=1, le=64)
    """Above 1: beam search, which returns the `n` likeliest of so many hypotheses instead of drawing."""
    length_penalty: float = Field(1.0, ge=-10, le=10)
    """Beam search divides a hypothesis' log-probability by its length to this power: above 0 favours long ones."""
    early_stopping: bool | Literal["never"] = False
    """Beam search ends when `beams` hypotheses are complete (true), when a better one is unlikely (false) or impossible ("never")."""

    @field_validator("temperature")
    @classmethod
    def _zero_or_usable(cls, value: float) -> float:
        if 0 < value < 0.01:
            raise ValueError(tr("a temperature is 0 (take the likeliest token) or at least 0.01"))
        return value

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _token_numbers(cls, value: Any) -> Any:
        if isinstance(value, dict) and any(isinstance(key, bool) or isinstance(bias, bool) for key, bias in value.items()):
            raise ValueError(tr("logit_bias maps token numbers to numbers"))
        return value

    @model_validator(mode="after")
    def _no_contradiction(self) -> Decoding:
        if self.min_tokens > self.max_tokens:
            raise ValueError(tr("min_tokens {low} is above max_tokens {high}", low=self.min_tokens, high=self.max_tokens))
        if any(token < 0 for token in self.logit_bias):
            raise ValueError(tr("logit_bias maps token numbers to numbers"))
        if self.beams > 1:
            if self.n > self.beams:
                raise ValueError(tr("{n} texts from {beams} beams: n can be at most the number of beams", n=self.n, beams=self.beams))
            given = [name for name in _SAMPLED if self._chosen(name)]
            if given:
                raise ValueError(tr("beam search draws nothing, so {names} cannot be set with beams above 1", names=", ".join(given)))
        return self

    def _chosen(self, name: str) -> bool:
        """Whether the person set this option to something else than the family's default (a replayed label repeats defaults)."""
        value = getattr(self, name)
        return name in self.model_fields_set and value != type(self).model_fields[name].default and (name, value) != ("temperature", 0)


class Sampling(Decoding):
    """How the next token of a text is chosen, and what the text must follow: a JSON schema or a regular expression, guaranteed."""

    json_schema: dict[str, Any] | None = None
    """The text is JSON that follows this schema: an object, or its JSON text (needs the extra `grammar`)."""
    regex: str = Field("", max_length=MOST_REGEX_CHARACTERS)
    """The whole text matches this regular expression, of Rust's syntax (needs the extra `grammar`)."""
    logprobs: int | None = Field(None, ge=0, le=MOST_ALTERNATIVES)
    """Tell the log-probability of every token, and of so many of the likeliest in its place."""

    draft: int = Field(0, ge=0, le=64)
    """Guess so many tokens from what stands there already and check them in one pass: the same text, sooner where it repeats itself."""

    @field_validator("json_schema", mode="before")
    @classmethod
    def _parsed(cls, value: Any) -> Any:
        text = value if isinstance(value, str) else ""
        try:
            value = (json.loads(text) if text.strip() else None) if isinstance(value, str) else value
            size = len(text or json.dumps(value))
        except (ValueError, TypeError, RecursionError):
            raise ValueError(tr("this is not JSON")) from None
        if size > MOST_SCHEMA_CHARACTERS:
            raise ValueError(tr("a schema may have {most} characters", most=MOST_SCHEMA_CHARACTERS))
        return value

    @model_validator(mode="after")
    def _one_grammar(self) -> Sampling:
        if self.json_schema is not None and self.regex:
            raise ValueError(tr("a text follows json_schema or regex, not both"))
        if self.beams > 1 and self.logprobs:
            raise ValueError(tr("beam search compares whole texts: it tells no alternatives, so logprobs can be 0 or left out"))
        return self
