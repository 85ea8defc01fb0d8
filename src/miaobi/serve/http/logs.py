"""The journal: one line a request with its id, and whatever went wrong under the same id; no prompts unless asked, keys never.

The journal is the outermost of the house: it counts for the figures, and turns what nobody expected into a 500 that tells nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import re
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from starlette.datastructures import Headers, MutableHeaders

from miaobi.serve.http import errors
from miaobi.serve.http.keys import Caller
from miaobi.serve.http.metrics import OTHER

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from miaobi.serve.http.plan import Plan
    from miaobi.serve.http.state import State

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
LOGGERS = ("miaobi.serve", "uvicorn.error")
GONE_STATUS = 499  # as nginx counts clients that left
LONGEST_PROMPT = 10_000
MOST_LINES = 10_000  # that are not written yet
LAST_SECONDS = 1.0  # for the last lines, when the server has ended
GONE = "miaobi.gone"  # in the scope: the client left
SEEN = "miaobi.seen"  # in the scope: where the caller and the body are noted for the journal
_GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
log = logging.getLogger("miaobi.serve")


class Journal:
    """Gives each request its id, its line and its place in the figures."""

    def __init__(self, app: ASGIApp, state: State, plan: Plan) -> None:
        self.app, self.state, self.plan = app, state, plan

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Watch a request from its first byte to its last."""
        if scope["type"] != "http":
            await self.app(scope, receive, self._unless_told(send))
            return
        given = Headers(scope=scope).get("x-request-id", "")
        id = given if _GIVEN.fullmatch(given) else uuid.uuid4().hex
        token = REQUEST_ID.set(id)
        seen: dict[str, Any] = {"status": 0, "bytes": 0}
        scope[SEEN] = seen

        async def out(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = id
            seen["bytes"] += len(message.get("body", b""))
            await send(message)

        began = time.perf_counter()
        try:
            with self.state.figures.running.track_inprogress():
                await self._guarded(scope, receive, out, seen)
        finally:
            self._note(scope, seen, time.perf_counter() - began)
            REQUEST_ID.reset(token)

    def _unless_told(self, send: Send) -> Send:
        """What a life says, but no trace of an error that the person is told in words."""

        async def out(message: Message) -> None:
            await send({**message, "message": ""} if self.state.problem and message["type"] == "lifespan.startup.failed" else message)

        return out

    async def _guarded(self, scope: Scope, receive: Receive, out: Send, seen: dict[str, Any]) -> None:
        try:
            await self.app(scope, receive, out)
        except Exception as error:
            log.error("unexpected", exc_info=error)
            if not seen["status"]:
                await errors.send(error, scope, receive, out)

    def _note(self, scope: Scope, seen: dict[str, Any], seconds: float) -> None:
        """Count it and write its line."""
        gone = bool(scope.get(GONE)) or not seen["status"]
        if gone:
            self.state.figures.gone.inc()
        place = self.plan.place(scope["path"])
        status = seen["status"] or GONE_STATUS
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else OTHER
        self.state.figures.answered(place.template if place else OTHER, method, status, seconds)
        client = scope.get("client")
        line = {
            "method": scope["method"],
            "path": scope["path"][:500],
            "status": status,
            "seconds": round(seconds, 4),
            "bytes": seen["bytes"],
            "client": client[0] if client else "",
            "caller": seen.get("caller", ""),
        }
        log.info("request", extra={"fields": line | ({"gone": True} if gone else {}) | _prompt(seen)})


def note_caller(scope: Scope, caller: Caller) -> None:
    """Who asks, for the request's line."""
    scope.get(SEEN, {})["caller"] = caller.id


def note_body(scope: Scope, body: bytes) -> None:
    """What was asked, for a journal that keeps prompts."""
    scope.get(SEEN, {})["body"] = body[:LONGEST_PROMPT].decode(errors="replace")


def _prompt(seen: dict[str, Any]) -> dict[str, str]:
    return {"body": seen["body"]} if "body" in seen else {}


class _Lines(logging.Formatter):
    """One JSON object a line; control characters are escaped, so that no request can forge one."""

    def format(self, record: logging.LogRecord) -> str:
        line = _line(record)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _Words(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        line = _line(record)
        head = f"{line.pop('time')} {line.pop('level'):<7} {line.pop('message')}"
        rest = " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in line.items())
        return f"{head} {rest}".rstrip() + (f"\n{self.formatException(record.exc_info)}" if record.exc_info else "")


def _line(record: logging.LogRecord) -> dict[str, Any]:
    id = REQUEST_ID.get()
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    values = {"time": moment, "level": record.levelname.lower(), "message": record.getMessage()}
    return values | ({"id": id} if id else {}) | getattr(record, "fields", {})


@contextlib.contextmanager
def writing(how: str) -> Iterator[None]:
    """Write the journal to stderr for the length of the block: `json`, `text`, or `off` (then only what went wrong).

    A thread writes: a terminal that somebody stopped, or a pipe that nobody reads, would hold up every request otherwise.
    """
    lines: queue.Queue[str | None] = queue.Queue(MOST_LINES)
    writer = threading.Thread(target=_write, args=(lines, sys.stderr), daemon=True)
    target = _Beside(lines)
    target.setFormatter(_Words() if how == "text" else _Lines())
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.handlers[:], logger.propagate = [target], False
        logger.setLevel(logging.ERROR if how == "off" else logging.INFO if logger is loggers[0] else logging.WARNING)
    writer.start()
    try:
        yield
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before):
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
        with contextlib.suppress(queue.Full):
            lines.put(None, timeout=LAST_SECONDS)
        writer.join(LAST_SECONDS)


class _Beside(logging.Handler):
    """Hands on a record as a line; one that finds no room is lost."""

    def __init__(self, lines: queue.Queue[str | None]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Make the line here, where the request's id is known."""
        with contextlib.suppress(queue.Full):
            self.lines.put_nowait(self.format(record))


def _write(lines: queue.Queue[str | None], target: TextIO) -> None:
    while (line := lines.get()) is not None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            print(line, file=target, flush=True)
