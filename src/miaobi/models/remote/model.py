"""A model elsewhere: the conversation goes to its endpoint, the answer streams back, and the label names the endpoint's model."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from miaobi.core.artifact import read_json, write_text
from miaobi.core.errors import DataError, UsageError
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Done, Media, Modality, Part, Piece, Request, Usage
from miaobi.models.remote.family import FAMILY
from miaobi.models.remote.schema import Config, Options
from miaobi.models.remote.wire import Call, Transport, events, send

FILE = "remote.json"
SENT = ("max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "stop", "tools")
LENGTH, FILTERED = "length", "content_filter"


class Remote:
    """Generates; whatever else it can do is the endpoint's affair."""

    def __init__(self, config: Config, *, name: str = "remote", transport: Transport = send) -> None:
        self.config, self.transport = config, transport
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The answer, streamed.

        Raises:
            UsageError: the endpoint refuses the request, or the network is not to be used.
            Unanswered: it does not answer.
            DataError: it answers rubbish.
        """
        options = Options.model_validate(dict(request.options))
        if os.environ.get("MIAOBI_OFFLINE"):
            raise UsageError(
                "{model} is at {url}, and the network is not to be used (MIAOBI_OFFLINE)", model=self.card.name, url=self.config.url
            )
        call = Call(
            url=f"{self.config.url.rstrip('/')}/chat/completions",
            body=self._body(request, options),
            key=os.environ.get(self.config.key, "").strip(),
            silence_seconds=options.silence_seconds,
            seconds=options.seconds,
            tries=options.tries,
        )
        answer = _Answer()
        found = events(call, self.transport)
        with contextlib.closing(found):  # type: ignore[type-var]
            for event in found:
                text = answer.take(event)
                if text:
                    yield Piece(part=text)
        yield Done(reason=LENGTH if answer.reason == LENGTH else "stop", usage=answer.usage, notes=answer.notes())

    def _body(self, request: Request, options: Options) -> dict[str, Any]:
        given = {name: value for name, value in options.model_dump().items() if name in SENT and value not in (None, [])}
        if options.json_schema is not None:
            form = {"name": "answer", "schema": options.json_schema, "strict": True}
            given["response_format"] = {"type": "json_schema", "json_schema": form}
        messages = [{"role": turn.role, "content": _content(turn.parts)} for turn in request.turns]
        asked = {"model": self.config.model, "messages": messages, "seed": request.seed % 2**31}
        return asked | given | {"stream": True, "stream_options": {"include_usage": True}}

    def save(self, folder: Path, /) -> None:
        """Write where the endpoint is; the key stays where it was."""
        write_text(folder / FILE, json.dumps(self.config.model_dump(), ensure_ascii=False, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The endpoint that `remote.json` names; nobody is asked yet.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        path = folder / FILE
        return cls(validate(Config, read_json(path), str(path)), name=folder.name)


class _Answer:
    """What the events of one answer add up to."""

    def __init__(self) -> None:
        self.reason, self.model, self.fingerprint = "", "", ""
        self.usage = Usage()
        self._tools: dict[int, dict[str, str]] = {}

    def take(self, event: Mapping[str, Any]) -> str:
        """The text that an event adds.

        Raises:
            DataError: it is of no known shape.
        """
        try:
            self.model = str(event.get("model") or self.model)
            self.fingerprint = str(event.get("system_fingerprint") or self.fingerprint)
            if usage := event.get("usage"):
                self.usage = Usage(prompt=int(usage.get("prompt_tokens") or 0), generated=int(usage.get("completion_tokens") or 0))
            text = ""
            for choice in event.get("choices") or ():
                said = choice.get("delta") or choice.get("message") or {}
                text += str(said.get("content") or choice.get("text") or "")
                for place, call in enumerate(said.get("tool_calls") or ()):
                    self._call(int(call.get("index", place)), call.get("function") or {})
                self.reason = str(choice.get("finish_reason") or self.reason)
            return text
        except (AttributeError, TypeError, ValueError) as error:
            raise DataError("the endpoint's answer has another shape than OpenAI's ({error})", error=error) from None

    def notes(self) -> dict[str, Any]:
        """What the label tells beside: who answered there, and which functions it asked for."""
        found: dict[str, Any] = {}
        if self.model:
            found["answered_by"] = self.model
        if self.fingerprint:
            found["system_fingerprint"] = self.fingerprint
        if self.reason == FILTERED:
            found["filtered"] = True
        if self._tools:
            found["tool_calls"] = [self._tools[place] for place in sorted(self._tools)]
        return found

    def _call(self, place: int, function: Mapping[str, Any]) -> None:
        """A function's name comes whole, its arguments letter by letter."""
        kept = self._tools.setdefault(place, {"name": "", "arguments": ""})
        kept["name"] += str(function.get("name") or "")
        kept["arguments"] += str(function.get("arguments") or "")


def _content(parts: tuple[Part, ...]) -> str | list[dict[str, Any]]:
    """Text as it is, pictures as data addresses beside it.

    Raises:
        UsageError: another medium.
    """
    if all(isinstance(part, str) for part in parts):
        return "\n".join(part for part in parts if isinstance(part, str))
    found: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, str):
            found += [{"type": "text", "text": part}] if part else []
        elif isinstance(part, Media) and part.modality is Modality.IMAGE:
            data = base64.b64encode(part.data).decode()
            found.append({"type": "image_url", "image_url": {"url": f"data:{part.mime};base64,{data}"}})
        else:
            raise UsageError("a remote model gets texts and pictures, not what is given here ({kind})", kind=part.modality)
    return found
