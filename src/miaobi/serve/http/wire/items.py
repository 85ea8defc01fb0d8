"""The shapes of `/v1/responses`: what goes in, and the items that come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from miaobi.core.language import tr
from miaobi.core.types import TokenLogprob, Turn
from miaobi.engine.sampling.options import MAX_TOKENS, MOST_ALTERNATIVES
from miaobi.serve.http.chance import new_id
from miaobi.serve.http.errors import Denied
from miaobi.serve.http.media_url import fetch
from miaobi.serve.http.settings import Settings
from miaobi.serve.http.wire.fields import Body, Choice, Chosen, ChosenName, Drawn, Function, Name
from miaobi.serve.http.wire.messages import MOST_MEDIA, Given, called_text
from miaobi.serve.http.wire.tools import Toolbox

Status = Literal["in_progress", "completed", "incomplete"]
LOGPROBS = "message.output_text.logprobs"


class InputPart(Body):
    """A stretch of a message: text that somebody wrote, or a picture."""

    type: Literal["input_text", "output_text", "text", "refusal", "input_image"]
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: Literal["auto", "low", "high"] | None = None
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class Item(Body):
    """One thing of a conversation: a message, a call of a function, or what the function gave."""

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    id: str | None = Field(None, max_length=200)
    status: Status | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | Annotated[list[InputPart], Field(max_length=1024)] | None = None
    phase: str | None = None
    call_id: str | None = Field(None, max_length=200)
    name: str | None = Field(None, max_length=200)
    arguments: str | None = None
    output: str | Annotated[list[InputPart], Field(max_length=1024)] | None = None
    summary: list[Any] | None = None
    encrypted_content: str | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Item:
        needed = {"message": ("role", "content"), "function_call": ("name", "arguments"), "function_call_output": ("call_id", "output")}
        for name in needed.get(self.type, ()):
            if getattr(self, name) is None:
                raise ValueError(tr("an item of the type {type} has its {name}", type=self.type, name=name))
        return self


class ItemTool(Body):
    """A function that the model may ask for."""

    type: Literal["function"]
    name: Name
    description: str | None = Field(None, max_length=20_000)
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ItemChoice(Body):
    """The function that has to be asked for."""

    type: Literal["function"]
    name: Name


class TextFormat(Body):
    """Free text, any JSON object, or JSON that follows a schema."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: Name | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    description: str | None = Field(None, max_length=20_000)
    strict: bool | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> TextFormat:
        if (self.type == "json_schema") != (self.schema_ is not None):
            raise ValueError(tr("json_schema belongs to the type json_schema, and to no other"))
        return self

    @property
    def wanted(self) -> dict[str, Any] | None:
        """The schema to follow, if any."""
        return {"type": "object"} if self.type == "json_object" else self.schema_


class TextWish(Body):
    """The form of the answer's text."""

    format: TextFormat | None = None
    verbosity: str | None = Field(None, max_length=16)


class Reasoning(Body):
    """Hints that no model here takes."""

    effort: str | None = Field(None, max_length=16)
    summary: str | None = Field(None, max_length=16)
    generate_summary: str | None = Field(None, max_length=16)


class ResponseBody(Drawn):
    """A conversation, or what goes on from a response that was kept."""

    input: str | Annotated[list[Item], Field(max_length=4096)] = Field(default_factory=list)
    instructions: str | None = None
    previous_response_id: str | None = Field(None, max_length=200)
    max_output_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    top_logprobs: int | None = Field(None, ge=0, le=MOST_ALTERNATIVES)
    tools: list[ItemTool] | None = Field(None, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | ItemChoice | None = None
    text: TextWish | None = None
    truncation: Literal["auto", "disabled"] | None = None
    background: bool | None = None
    """Answer at once, and go on writing; `GET /v1/responses/{id}` tells how far it is."""
    store: bool | None = None
    """false forgets the response when it is sent; true puts its text into this server's library as well."""
    metadata: dict[str, str] | None = Field(None, max_length=16)
    include: list[str] | None = Field(None, max_length=16)
    reasoning: Reasoning | None = None
    max_tool_calls: int | None = Field(None, ge=1, le=128)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)

    @property
    def alternatives(self) -> int | None:
        """How many alternatives are told; None tells no log-probabilities."""
        if self.top_logprobs is None:
            return 0 if LOGPROBS in (self.include or ()) else None
        return self.top_logprobs

    def toolbox(self) -> Toolbox:
        """Its functions."""
        functions = (
            Function(name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict)
            for tool in self.tools or ()
        )
        choice: Choice | None = (
            Chosen(type="function", function=ChosenName(name=self.tool_choice.name))
            if isinstance(self.tool_choice, ItemChoice)
            else self.tool_choice
        )
        return Toolbox.of(functions, choice)

    def items(self) -> list[Item]:
        """The input as items."""
        return [Item(role="user", content=self.input)] if isinstance(self.input, str) else list(self.input)


async def read(items: Sequence[Item], settings: Settings) -> tuple[tuple[Turn, ...], Given]:
    """The turns of a conversation, and what is given beside them.

    Raises:
        Denied: a picture that may not be fetched, or too many.
    """
    turns: list[Turn] = []
    given: Given = {}
    for number, item in enumerate(items):
        where = f"input.{number}.content"
        if item.type == "function_call":
            turns.append(Turn(role="assistant", parts=(called_text(item.name or "", item.arguments or ""),)))
        elif item.type == "function_call_output":
            turns.append(Turn(role="tool", parts=(await _text(item.output, given, settings, where),)))
        elif item.type == "message" and item.role is not None:
            role = "system" if item.role == "developer" else item.role
            turns.append(Turn(role=role, parts=(await _text(item.content, given, settings, where),)))
    return tuple(turns), given


async def _text(content: str | Sequence[InputPart] | None, given: Given, settings: Settings, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    words = []
    for part in content:
        if part.type != "input_image":
            words.append(part.text or part.refusal or "")
            continue
        if sum(map(len, given.values())) >= MOST_MEDIA:
            raise Denied("a request may bring {count} pictures and sounds", status=400, param=where, count=MOST_MEDIA)
        given.setdefault("image", []).append(await fetch(part.image_url or "", settings, param=where))
    return "\n".join(words)


def asked(item: Item) -> dict[str, Any]:
    """An item as it is told to who asks what was asked: with an id, and its text as a list of parts."""
    values = {"id": item.id or new_id("item_"), **item.model_dump(exclude_none=True, exclude={"id"})}
    if isinstance(item.content, str):
        kind = "output_text" if item.role == "assistant" else "input_text"
        values["content"] = [{"type": kind, "text": item.content, **({"annotations": []} if kind == "output_text" else {})}]
    return values


def message(id: str, text: str, logprobs: Sequence[TokenLogprob], status: str) -> dict[str, Any]:
    """An answer's message."""
    return {"id": id, "type": "message", "status": status, "role": "assistant", "content": [text_part(text, logprobs)]}


def text_part(text: str, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
    """The text of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": [told(entry) for entry in logprobs]}


def told(entry: TokenLogprob) -> dict[str, Any]:
    """A log-probability as responses have it."""
    return {**_entry(entry), "top_logprobs": [_entry(other) for other in entry.top]}


def _entry(entry: TokenLogprob) -> dict[str, Any]:
    return {"token": entry.token, "logprob": entry.logprob, "bytes": list(entry.bytes)}
