"""Responses that may be asked for again: those that are being written in memory, all others in the library, each its owner's alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from miaobi.core.errors import MiaobiError
from miaobi.core.language import tr
from miaobi.core.types import Turn
from miaobi.serve.http import works
from miaobi.serve.http.errors import not_found
from miaobi.serve.http.wire.messages import Given

if TYPE_CHECKING:
    from miaobi.library.responses import Answer, Responses
    from miaobi.serve.http.state import State

PRUNE_SECONDS = 3600.0
T = TypeVar("T")
log = logging.getLogger("miaobi.serve")


@dataclass(slots=True)
class Record:
    """A response, whole or on its way, and the conversation up to it."""

    response: dict[str, Any]
    items: list[dict[str, Any]]
    turns: tuple[Turn, ...]
    given: Given
    owner: str = ""
    work: asyncio.Task[None] | None = None
    """Who writes it in the background."""
    cancelled: bool = False
    """Somebody asked for its end."""
    forgotten: bool = False

    @property
    def id(self) -> str:
        """What a client asks for it by."""
        return str(self.response["id"])

    def answer(self) -> Answer:
        """As the library keeps it."""
        from miaobi.library.responses import Answer

        return Answer(response=dict(self.response), asked=self.items, turns=self.turns, given=self.given)


class Kept:
    """The responses of one server."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._open: dict[str, Record] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._pruned = -PRUNE_SECONDS

    @classmethod
    def of(cls, state: State) -> Kept:
        """Those of a server's state."""
        found: Kept = state.own.setdefault("responses", cls(state))
        return found

    async def begin(self, record: Record) -> None:
        """One is written from now on; one in the background is in the library at once, so that its id is known whatever happens here."""
        record.owner = works.owner(self._state)
        self._open[record.id] = record
        if record.response["background"]:
            try:
                await self._library(lambda kept: kept.add(record.answer(), owner=record.owner, open=True))
            except BaseException:
                del self._open[record.id]
                raise

    async def end(self, record: Record) -> None:
        """It is as whole as it will be. It is kept although the client has left."""
        if record.id in self._open:
            ending = asyncio.create_task(self._end(record))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
            await asyncio.shield(ending)

    async def _end(self, record: Record) -> None:
        def write(kept: Responses) -> None:
            if record.forgotten:
                return
            if record.response["background"]:
                kept.close(record.answer())
            else:
                kept.add(record.answer(), owner=record.owner)
            if time.monotonic() - self._pruned > PRUNE_SECONDS:
                self._pruned = time.monotonic()
                kept.prune()

        try:
            await self._library(write)
        except Exception:  # the answer itself is whole, and its client is to have it
            log.exception("a response could not be kept")
        finally:
            self._open.pop(record.id, None)

    async def get(self, id: str) -> Record:
        """The response of that id.

        Raises:
            MiaobiError: 404: there is none, or it is somebody else's.
        """
        owner = works.owner(self._state)
        record = self._open.get(id)
        if record is not None and record.owner != owner:
            raise not_found("response", id)
        return record or _record(await self._library(lambda kept: kept.get(id, owner=owner)), owner)

    async def cancel(self, id: str) -> Record:
        """End one that is written in the background, here or by another server."""
        record = await self.get(id)
        if record.id not in self._open:
            return _record(await self._library(lambda kept: kept.cancel(id, owner=record.owner)), record.owner)
        record.cancelled = True
        await _stopped(record)
        if record.id in self._open:  # it had not begun
            record.response["status"] = "cancelled"
            await self.end(record)
        return record

    async def remove(self, id: str) -> None:
        """Forget one, and stop what is still written for it."""
        record = await self.get(id)
        record.forgotten = record.cancelled = True
        saved = record.id not in self._open or record.response["background"]
        await _stopped(record)
        self._open.pop(record.id, None)
        if saved:
            await self._library(lambda kept: kept.remove(id, owner=record.owner))

    @asynccontextmanager
    async def beating(self, record: Record) -> AsyncIterator[None]:
        """Tell the library again and again that a response is still written; its end may be wanted there by another server."""
        beating = asyncio.create_task(self._beat(record))
        try:
            yield
        finally:
            beating.cancel()

    async def _beat(self, record: Record) -> None:
        from miaobi.library.queue import BEAT_SECONDS

        wanted = True
        while wanted:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                wanted = await self._library(lambda kept: kept.beat(record.id))
            except MiaobiError:  # the database is away for a moment
                continue
        record.cancelled = True
        if record.work is not None:
            record.work.cancel()

    async def _library(self, do: Callable[[Responses], T]) -> T:
        from miaobi.library.responses import Responses

        return await asyncio.to_thread(lambda: do(Responses(self._state.library)))


def broken_off(record: Record) -> None:
    """What a response in the background says when the server was stopped before its end, and nobody had asked for that."""
    record.response["status"] = "failed"
    record.response["error"] = {"code": "server_error", "message": tr("the server was stopped while it wrote this")}


def _record(answer: Answer, owner: str) -> Record:
    given = {name: list(values) for name, values in answer.given.items()}
    return Record(
        response=dict(answer.response), items=[dict(item) for item in answer.asked], turns=tuple(answer.turns), given=given, owner=owner
    )


async def _stopped(record: Record) -> None:
    if record.work is not None and not record.work.done():
        record.work.cancel()
        await asyncio.gather(record.work, return_exceptions=True)
