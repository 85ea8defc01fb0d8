"""What the bodies of text requests have in common. Unknown keys are errors; hints that change no answer are taken and have no effect."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from miaobi.core.language import tr
from miaobi.engine.sampling.options import MAX_TOKENS, MOST_ALTERNATIVES

Stop = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]


class Body(BaseModel):
    """A part of a request. Numbers are numbers: neither text nor true and false become one."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=(), populate_by_name=True)


class Hints(Body):
    """What OpenAI's clients may send along and what changes nothing here."""

    user: str | None = Field(None, max_length=512)
    safety_identifier: str | None = Field(None, max_length=512)
    prompt_cache_key: str | None = Field(None, max_length=512)
    prompt_cache_retention: str | None = Field(None, max_length=64)
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    parallel_tool_calls: bool | None = None


class Drawn(Hints):
    """How the text is drawn. Each is passed to the model's family, which has the last word; absent ones are as the family has them."""

    model: str = Field(min_length=1, max_length=200)
    temperature: float | None = Field(None, ge=0, le=10)
    top_p: float | None = Field(None, gt=0, le=1)
    stream: bool | None = None
    options: dict[str, Any] = Field(default_factory=dict, max_length=100)
    """Options of the model's family by their own names, such as {"form": "七绝"} of poet; `GET /v1/models` names the family."""


class Counted(Drawn):
    """What chat and completions have in common."""

    n: int | None = Field(None, ge=1, le=64)
    stop: Stop | list[Stop] | None = Field(None, max_length=200)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    max_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    frequency_penalty: float | None = Field(None, ge=-10, le=10)
    presence_penalty: float | None = Field(None, ge=-10, le=10)
    logit_bias: dict[str, float] | None = Field(None, max_length=1024)
    stream_options: StreamOptions | None = None


class StreamOptions(Body):
    """Whether the last event tells what the answer cost."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Function(Body):
    """A function that the model may ask for."""

    name: Name
    description: str | None = Field(None, max_length=20_000)
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: Function


class ChosenName(Body):
    """The name of a function that has to be asked for."""

    name: Name


class Chosen(Body):
    """The function that has to be asked for."""

    type: Literal["function"]
    function: ChosenName


Choice = Literal["none", "auto", "required"] | Chosen


class SchemaFormat(Body):
    """A schema that the answer follows, whatever the model would like to write."""

    name: Name
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = Field(None, max_length=20_000)
    strict: bool | None = None


class ResponseFormat(Body):
    """Free text, any JSON object, or JSON that follows a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFormat | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError(tr("'{path}' is missing", path="json_schema"))
        if self.type != "json_schema" and self.json_schema is not None:
            raise ValueError(tr("json_schema belongs to the type json_schema, and to no other"))
        return self

    @property
    def wanted(self) -> dict[str, Any] | None:
        """The schema to follow, if any."""
        if self.json_schema is not None:
            return self.json_schema.schema_
        return {"type": "object"} if self.type == "json_object" else None


class LogProbs(Body):
    """Chat's two fields about log-probabilities."""

    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MOST_ALTERNATIVES)

    @model_validator(mode="after")
    def _together(self) -> LogProbs:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError(tr("top_logprobs needs logprobs to be true"))
        return self

    @property
    def alternatives(self) -> int | None:
        """How many alternatives are told; None tells no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None


Counted.model_rebuild()
