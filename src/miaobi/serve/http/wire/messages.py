"""A conversation in OpenAI's shape becomes turns; pictures and sounds in it become what is given to the model.

What an assistant asked of a tool goes back to the model as most of them write it, between `<tool_call>` marks.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from miaobi.core.types import Turn
from miaobi.serve.http.errors import Denied
from miaobi.serve.http.media_url import fetch
from miaobi.serve.http.settings import Settings
from miaobi.serve.http.wire.fields import Body
from miaobi.serve.http.wire.tools import CLOSE, OPEN

Given = dict[str, list[bytes]]
MOST_MEDIA = 16


class TextPart(Body):
    """A stretch of text."""

    type: Literal["text", "refusal"]
    text: str | None = None
    refusal: str | None = None


class ImageUrl(Body):
    """Where a picture is; `data:` URLs always work."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Body):
    """A picture, for models that look at one."""

    type: Literal["image_url"]
    image_url: ImageUrl


class Sound(Body):
    """A recording in base64."""

    data: str
    format: str | None = Field(None, max_length=16)


class SoundPart(Body):
    """A recording, for models that listen to one."""

    type: Literal["input_audio"]
    input_audio: Sound


Part = Annotated[TextPart | ImagePart | SoundPart, Field(discriminator="type")]
Parts = str | Annotated[list[Part], Field(max_length=1024)]


class CalledFunction(Body):
    """What was asked of a function: JSON text."""

    name: str = Field(max_length=200)
    arguments: str


class ToolCall(Body):
    """A call that an assistant made."""

    id: str = Field(max_length=200)
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None


class Message(Body):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Parts | None = None
    name: str | None = Field(None, max_length=200)
    tool_calls: list[ToolCall] | None = Field(None, max_length=128)
    tool_call_id: str | None = Field(None, max_length=200)
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None
    reasoning_content: str | None = None


async def read(messages: Sequence[Message], settings: Settings) -> tuple[tuple[Turn, ...], Given]:
    """The turns, and what is given beside them.

    Raises:
        Denied: a message without content, too many pictures, or one that may not be fetched.
    """
    turns: list[Turn] = []
    given: Given = {}
    for number, message in enumerate(messages):
        where = f"messages.{number}.content"
        text = await _text(message.content, given, settings, where)
        if message.tool_calls:
            text = "\n".join(filter(None, (text, *(_called(call) for call in message.tool_calls))))
        elif message.content is None:
            raise Denied("this message has no content", status=400, param=where)
        role = "system" if message.role == "developer" else message.role
        turns.append(Turn(role=role, parts=(text,)))
    return tuple(turns), given


async def _text(content: Parts | None, given: Given, settings: Settings, where: str) -> str:
    """The words of a message; its media go to `given`."""
    if content is None or isinstance(content, str):
        return content or ""
    words: list[str] = []
    for number, part in enumerate(content):
        if isinstance(part, TextPart):
            words.append(part.text or part.refusal or "")
            continue
        if sum(map(len, given.values())) >= MOST_MEDIA:
            raise Denied("a request may bring {count} pictures and sounds", status=400, param=where, count=MOST_MEDIA)
        if isinstance(part, ImagePart):
            given.setdefault("image", []).append(await fetch(part.image_url.url, settings, param=f"{where}.{number}.image_url"))
        else:
            given.setdefault("sound", []).append(_sound(part.input_audio.data, f"{where}.{number}.input_audio"))
    return "\n".join(words)


def _sound(data: str, where: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise Denied("this is not base64", status=400, param=where) from None


def _called(call: ToolCall) -> str:
    return called_text(call.function.name, call.function.arguments)


def called_text(name: str, arguments: str) -> str:
    """A call as models write it: its arguments as JSON inside of JSON, not as text inside of it."""
    try:
        values = json.loads(arguments or "{}")
    except ValueError:
        values = arguments
    return f"{OPEN}\n{json.dumps({'name': name, 'arguments': values}, ensure_ascii=False)}\n{CLOSE}"


def plain(given: Given) -> dict[str, bytes | Sequence[bytes]]:
    """One picture is a picture, several are a list."""
    return {name: values[0] if len(values) == 1 else values for name, values in given.items()}
