"""Functions that a model may ask for: how they are told to it, how it is made to ask for one, and how its asking is found in its text.

Open models write a call as JSON, most of them between `<tool_call>` marks (Hermes, Qwen), some bare. A call that has to be made
(`tool_choice`) is written under a schema, so its arguments are valid whatever the model is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from miaobi.serve.http.chance import new_id
from miaobi.serve.http.errors import Denied

if TYPE_CHECKING:
    from miaobi.serve.http.wire.fields import Choice, Function

OPEN, CLOSE = "<tool_call>", "</tool_call>"
NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}
MOST_HELD = 1 << 20  # characters of a text that may still turn out to be a call


@dataclass(frozen=True, slots=True)
class Call:
    """A call that the model wants made. `arguments` is JSON text."""

    name: str
    arguments: str
    id: str = field(default_factory=lambda: new_id("call_"))


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The functions of one request, and which of them have to be asked for."""

    functions: tuple[Function, ...] = ()
    forced: bool = False

    @classmethod
    def of(cls, functions: Iterable[Function], choice: Choice | None) -> Toolbox:
        """Those that the choice leaves.

        Raises:
            Denied: it names one that is not there, or wants a call without any.
        """
        known = tuple(functions)
        names = [function.name for function in known]
        if len(set(names)) < len(names):
            raise Denied("two functions have the same name", status=400, param="tools")
        if choice in (None, "auto"):
            return cls(known)
        if choice == "none":
            return cls()
        if not isinstance(choice, str) and choice is not None:
            known = tuple(function for function in known if function.name == choice.function.name)
        if not known:
            raise Denied("tool_choice wants a function that is not among the tools", status=400, param="tool_choice")
        return cls(known, forced=True)

    @property
    def names(self) -> frozenset[str]:
        """What may be asked for."""
        return frozenset(function.name for function in self.functions)

    def described(self) -> list[dict[str, Any]]:
        """As chat templates take them."""
        return [
            {
                "type": "function",
                "function": {
                    "name": function.name,
                    "description": function.description or "",
                    "parameters": function.parameters or NO_ARGUMENTS,
                },
            }
            for function in self.functions
        ]

    def schema(self) -> dict[str, Any]:
        """What a text that is one call of any of them follows."""
        calls, own = [], {}
        for number, function in enumerate(self.functions):
            place = f"tool_{number}"
            own[place] = _moved(function.parameters or NO_ARGUMENTS, f"#/$defs/{place}")
            properties = {"name": {"const": function.name}, "arguments": {"$ref": f"#/$defs/{place}"}}
            calls.append({"type": "object", "properties": properties, "required": ["name", "arguments"], "additionalProperties": False})
        return {"anyOf": calls, "$defs": own}


def _moved(schema: Any, place: str) -> Any:
    """The schema with its references as they are when it stands at `place` of another one."""
    if isinstance(schema, list):
        return [_moved(inner, place) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(inner, place) for key, inner in schema.items()}
    target = schema.get("$ref")
    if isinstance(target, str) and target.startswith("#"):
        moved["$ref"] = place + target[1:]
    return moved


class Reader:
    """Parts a text, as it streams, into what is said and the calls in it."""

    def __init__(self, toolbox: Toolbox) -> None:
        self._names = toolbox.names
        self._whole = toolbox.forced  # the text is one call and nothing else
        self._begun = False
        self._after = False  # a call: line breaks behind it are only layout
        self._held = ""

    def push(self, text: str) -> tuple[str, list[Call]]:
        """What is certain to be said, and the calls that are complete."""
        if not self._names:
            return text, []
        self._held += text
        if not self._begun and not self._whole:
            first = self._held.lstrip()[:1]
            self._whole = first in ("{", "[") and bool(first)
            self._begun = bool(first)
        if (self._whole and len(self._held) < MOST_HELD) or not self._begun:
            return "", []
        return self._marked()

    def finish(self) -> tuple[str, list[Call]]:
        """The rest: a bare call, one whose end mark was forgotten, or just words."""
        rest, self._held = self._held, ""
        inner = rest.strip().removeprefix(OPEN)
        calls = self._calls(inner) if self._whole or inner != rest.strip() else []
        return ("", calls) if calls else (rest, [])

    def _marked(self) -> tuple[str, list[Call]]:
        said, calls = "", list[Call]()
        while True:
            if self._after:
                self._held = self._held.lstrip("\n")
                self._after = not self._held
            before, mark, after = self._held.partition(OPEN)
            if not mark:
                keep = next((size for size in range(min(len(OPEN) - 1, len(before)), 0, -1) if before.endswith(OPEN[:size])), 0)
                self._held = before[len(before) - keep :]
                return said + before[: len(before) - keep], calls
            said += before
            inner, end, rest = after.partition(CLOSE)
            if not end and len(after) < MOST_HELD:
                self._held = mark + after
                return said, calls
            found = self._calls(inner)
            calls += found
            said += "" if found else mark + inner + end
            self._held, self._after = rest, bool(found)

    def _calls(self, text: str) -> list[Call]:
        """The calls that a JSON text is; none if it is anything else."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            return []
        found = [self._call(value) for value in (values if isinstance(values, list) else [values])]
        return [call for call in found if call is not None] if all(found) else []

    def _call(self, value: Any) -> Call | None:
        value = value.get("function", value) if isinstance(value, dict) else value
        if not isinstance(value, dict) or value.get("name") not in self._names:
            return None
        arguments = value.get("arguments", value.get("parameters", {}))
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        return Call(value["name"], text)


def described(calls: Sequence[Call], *, first: int = 0, streamed: bool = False) -> list[dict[str, Any]]:
    """Calls in chat's shape; in a stream each has its number."""
    return [
        {
            **({"index": first + number} if streamed else {}),
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for number, call in enumerate(calls)
    ]
