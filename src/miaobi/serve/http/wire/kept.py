"""Responses that may be asked for again: kept in memory, the oldest forgotten first, each for who asked for it alone."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from miaobi.core.types import Turn
from miaobi.serve.http.errors import not_found
from miaobi.serve.http.keys import CALLER
from miaobi.serve.http.wire.messages import Given

if TYPE_CHECKING:
    from miaobi.serve.http.state import State

MOST = 1000
MOST_BYTES = 64 << 20


@dataclass(slots=True)
class Record:
    """A response, whole or on its way, and the conversation up to it."""

    response: dict[str, Any]
    items: list[dict[str, Any]]
    turns: tuple[Turn, ...]
    given: Given
    caller: str = ""
    work: asyncio.Task[None] | None = None
    contents: list[Any] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """About what it takes."""
        words = sum(len(part) for turn in self.turns for part in turn.parts if isinstance(part, str))
        return 4096 + 4 * words + sum(len(data) for values in self.given.values() for data in values)


class Kept:
    """The responses of one server."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, Record] = OrderedDict()

    @classmethod
    def of(cls, state: State) -> Kept:
        """Those of a server's state."""
        found: Kept = state.own.setdefault("responses", cls())
        return found

    def add(self, record: Record) -> None:
        """Keep one; those that are still written are never forgotten."""
        record.caller = _caller()
        self._records[record.response["id"]] = record
        total = sum(one.bytes for one in self._records.values())
        for id, one in list(self._records.items()):
            if len(self._records) <= MOST and total <= MOST_BYTES:
                break
            if one is not record and (one.work is None or one.work.done()):
                del self._records[id]
                total -= one.bytes

    def get(self, id: str) -> Record:
        """The response of that id.

        Raises:
            Denied: there is none, or it is somebody else's.
        """
        found = self._records.get(id)
        if found is None or found.caller != _caller():
            raise not_found("response", id)
        return found

    def remove(self, id: str) -> None:
        """Forget one, and stop what is still written for it."""
        record = self.get(id)
        if record.work is not None:
            record.work.cancel()
        self._records.pop(id, None)

    def all(self) -> Sequence[Record]:
        """Every one, the oldest first."""
        return list(self._records.values())


def _caller() -> str:
    caller = CALLER.get()
    return caller.id if caller else ""
