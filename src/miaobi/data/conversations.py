"""Rows that are conversations or preferences, in the shapes that people publish them in, as records.

`messages` (role and content), `prompt` with `completion`, Alpaca (`instruction`, `input`, `output`) and ShareGPT (`conversations` of `from`
and `value`) become `meta["messages"]`; `prompt`, `chosen`, `rejected` stay three. The record's text is what was said, for statistics and
duplicates. A row that has a `text` is a text, whatever stands beside it, unless `data.source.fields` names one of these keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from miaobi.core.types import Record
from miaobi.data.records import Dropped

CUT = "miaobi_cut"  # the key of meta of a text that its teacher did not end: where it was cut is not learned
BAD = "bad_conversation"  # why a row is dropped; such rows are counted
SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
ROLES = {
    **{name: name for name in (SYSTEM, USER, ASSISTANT, "tool")},
    **dict.fromkeys(("human", "prompter"), USER),
    **dict.fromkeys(("gpt", "chatgpt", "bot", "model"), ASSISTANT),
    "developer": SYSTEM,
    "function": "tool",
    "observation": "tool",
}
KEYS = frozenset({"messages", "conversations", "prompt", "completion", "instruction", "input", "output", "chosen", "rejected", "system"})
_PLAIN = (str, int, float, bool)
Message = dict[str, str]


class _Bad(Exception):
    """What is wrong with a row."""


def record_of(row: Mapping[str, Any], place: str, fields: Mapping[str, str]) -> Record | Dropped | None:
    """The record of a row; `Dropped` when it is a malformed conversation, None when it is none at all."""
    named = {name: key for name, key in fields.items() if name in KEYS} if "text" not in fields else {}
    row = {**row, **{name: row[key] for name, key in named.items() if key in row}} if named else row
    if not named and (fields or isinstance(row.get("text"), str)):
        return None
    shapes = [(wanted, read) for wanted, read in _SHAPES if not named or named.keys() & set(wanted)]
    read = next((read for wanted, read in shapes if all(name in row for name in wanted)), None)
    if read is None:
        return Dropped(BAD, f"it has none of the keys that were named: {', '.join(named)}", place) if named else None
    try:
        said, meta = read(row)
    except _Bad as error:
        return Dropped(BAD, str(error), place)
    beside = {str(key): value for key, value in row.items() if key not in KEYS and key != "id" and isinstance(value, _PLAIN)}
    wanted_id = row.get("id")
    name = str(wanted_id) if isinstance(wanted_id, str | int) and wanted_id != "" else place
    return Record(id=name, parts=("\n".join(said),), meta={**beside, **meta})


def _of_messages(row: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    return _conversation(row["messages"] if "messages" in row else row["conversations"], row)


def _of_pair(row: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """A prompt, a text or turns already, and what completes it."""
    return _conversation([*_turns(row["prompt"], "prompt"), *_turns(row["completion"], "completion", role=ASSISTANT)], row)


def _of_alpaca(row: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """An instruction, perhaps with what it is about, and earlier rounds as pairs."""
    about = row.get("input") or ""
    asked = "\n\n".join(filter(None, (_text(row["instruction"], "instruction"), _text(about, "input"))))
    turns: list[Message] = []
    for number, pair in enumerate(row.get("history") or [], start=1):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise _Bad(f"round {number} of history is no pair")
        turns += [{"role": USER, "content": _text(pair[0], "history")}, {"role": ASSISTANT, "content": _text(pair[1], "history")}]
    turns += [{"role": USER, "content": asked}, {"role": ASSISTANT, "content": _text(row["output"], "output")}]
    return _conversation(turns, row)


def _of_preference(row: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """The prompt, as text or turns, and the last answer of either side."""
    chosen, rejected = (_turns(row[name], name, role=ASSISTANT) for name in ("chosen", "rejected"))
    asked = _turns(row["prompt"], "prompt") if row.get("prompt") is not None else chosen[:-1]
    if not asked:
        raise _Bad("there is no prompt")
    better, worse = chosen[-1]["content"], rejected[-1]["content"]
    if not better.strip() or not worse.strip():
        raise _Bad("an answer is empty")
    if better == worse:
        raise _Bad("chosen and rejected are the same")
    options = row.get("options")
    if any(message["role"] == ASSISTANT for message in asked[-1:]):
        raise _Bad("the prompt ends with an answer")
    meta = {"prompt": asked, "chosen": better, "rejected": worse, "options": dict(options) if isinstance(options, Mapping) else {}}
    return [asked[-1]["content"], better], meta


def _conversation(turns: Any, row: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Checked turns, a system turn before them where the row has one apart."""
    messages = _turns(_listed(turns) if isinstance(turns, str) else turns, "messages")
    if isinstance(row.get("system"), str) and row["system"].strip() and (not messages or messages[0]["role"] != SYSTEM):
        messages.insert(0, {"role": SYSTEM, "content": row["system"]})
    answers = [number for number, message in enumerate(messages) if message["role"] == ASSISTANT]
    if not answers:
        raise _Bad("the assistant says nothing")
    empty = next((number for number in answers if not messages[number]["content"].strip()), None)
    if empty is not None:
        raise _Bad(f"turn {empty + 1}: the assistant's answer is empty")
    return [message["content"] for message in messages], {"messages": messages}


def _listed(text: str) -> Any:
    """Turns that stand as JSON in a text, as a table has them."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _Bad("messages is a text, and no JSON of turns") from None


def _turns(value: Any, name: str, *, role: str = USER) -> list[Message]:
    """Turns of a role and a content; a plain text is one turn of `role`."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list | tuple) or not value:
        raise _Bad(f"{name} is neither text nor a list of turns")
    return [_turn(turn, number) for number, turn in enumerate(value, start=1)]


def _turn(turn: Any, number: int) -> Message:
    if not isinstance(turn, Mapping):
        raise _Bad(f"turn {number} is no object")
    speaker = turn.get("role", turn.get("from"))
    if speaker not in ROLES:
        raise _Bad(f"turn {number}: unknown role {speaker!r}"[:200])
    content = turn.get("content", turn.get("value"))
    if isinstance(content, Sequence) and not isinstance(content, str):  # parts, of which only texts can be learned
        texts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        content = "\n".join(texts) if all(isinstance(text, str) for text in texts) else None  # type: ignore[arg-type]
    if not isinstance(content, str):
        raise _Bad(f"turn {number} has no text")
    return {"role": ROLES[speaker], "content": content}


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _Bad(f"{name} is no text")
    return value


Read = Callable[[Mapping[str, Any]], tuple[list[str], dict[str, Any]]]
_SHAPES: tuple[tuple[tuple[str, ...], Read], ...] = (
    (("chosen", "rejected"), _of_preference),
    (("messages",), _of_messages),
    (("conversations",), _of_messages),
    (("prompt", "completion"), _of_pair),
    (("instruction", "output"), _of_alpaca),
)
