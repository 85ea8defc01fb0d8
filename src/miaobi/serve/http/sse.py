"""Server-sent events: the one place where a stream is written, so that each has its heartbeat, its label and its end.

The label (`aigc`, GB 45438-2025) stands in the first and the last event that carry data. An error before the first event is an ordinary
error with its status; later, when the status is long sent, it is an event, and the stream ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi.responses import StreamingResponse

from miaobi.core.errors import MiaobiError
from miaobi.serve.http import errors
from miaobi.trust import aigc

if TYPE_CHECKING:
    from miaobi.serve.http.state import State

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # proxies pass each event on at once
HEARTBEAT = b": still here\n\n"
log = logging.getLogger("miaobi.serve")


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `name` is its type where a protocol has types; the last one that carries data says so, to get its label."""

    data: Mapping[str, Any]
    name: str = ""
    last: bool = False


async def stream(events: AsyncGenerator[Event], state: State, *, id: str, done: bool = True) -> StreamingResponse:
    """The events as a response. When the client goes, `events` is closed.

    Args:
        id: of the response; it is the label's ProduceID, which cannot be a hash of what is not made yet.
        done: whether `data: [DONE]` stands at the end, as chat and completions want it.

    Raises:
        MiaobiError: whatever `events` raises before its first event, if that is soon; so it gets a status of its own.
    """
    beat = state.settings.heartbeat_seconds
    first = asyncio.ensure_future(anext(events))
    try:
        await asyncio.wait({first}, timeout=beat)
        if first.done() and first.exception() and not isinstance(first.exception(), StopAsyncIteration):
            await first
    except BaseException:
        await _close(events, first)
        raise
    written = _written(events, first, label=aigc.implicit(id, by=aigc.producer()), beat=beat, done=done)
    return StreamingResponse(written, media_type="text/event-stream", headers=HEADERS)


async def _written(
    events: AsyncGenerator[Event], pending: asyncio.Future[Event], *, label: Mapping[str, str], beat: float, done: bool
) -> AsyncIterator[bytes]:
    """The bytes of the stream; `pending` is the event that is waited for."""
    fresh, named = True, False
    try:
        while True:
            await asyncio.wait({pending}, timeout=beat)
            if not pending.done():
                yield HEARTBEAT
                continue
            try:
                event = pending.result()
            except StopAsyncIteration:
                break
            except Exception as error:
                yield _error(error, label, named=named)
                break
            yield encode(event, label if fresh or event.last else None)
            fresh, named = False, bool(event.name)
            pending = asyncio.ensure_future(anext(events))
        if done:
            yield b"data: [DONE]\n\n"
    finally:
        await _close(events, pending)


async def _close(events: AsyncGenerator[Event], pending: asyncio.Future[Event]) -> None:
    """Stop what is waited for before closing: a generator that runs cannot be closed."""
    if not pending.done():
        pending.cancel()
    await asyncio.gather(pending, return_exceptions=True)
    await events.aclose()


def encode(event: Event, label: Mapping[str, str] | None = None) -> bytes:
    """One event on the wire. JSON has no bare line breaks, so its data is one line."""
    data = dict(event.data) if label is None or "aigc" in event.data else {**event.data, "aigc": dict(label)}
    name = f"event: {event.name}\n" if event.name else ""
    return f"{name}data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def _error(error: Exception, label: Mapping[str, str], *, named: bool) -> bytes:
    """The event of an error that came when the stream had begun; it has a type if the others had."""
    if not isinstance(error, MiaobiError) or errors.status_of(error) >= 500:
        log.error("stream failed", exc_info=error)
    return encode(Event(errors.body(error), name="error" if named else ""), label)
