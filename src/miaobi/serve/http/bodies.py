"""What clients send, before a route sees it: its kind, its size, how long it takes, and whether it is JSON that can be walked safely.

JSON is read whole here (within limits that hold for all clients together) and checked once for every route: UTF-8, no NaN, no lone
surrogates, not too deep, not too many values. A form with files flows through and is only counted. From then on the client is watched: if
it goes before the answer is whole, whatever works for it is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, NoReturn

from starlette.datastructures import Headers

from miaobi.serve.http.errors import Denied
from miaobi.serve.http.logs import GONE, note_body

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from miaobi.serve.http.settings import Settings

TOGETHER = 16  # bodies of the greatest size that may be held at once
LARGE = 1 << 16  # from so many bytes on, JSON is checked beside the event loop
SEND_SECONDS = 60.0  # for a client to take the next stretch of an answer
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class Bodies:
    """Reads, checks and hands on; cancels for clients that left."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with a body that is in order."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        kind = self._kind(scope, headers)
        if kind == "multipart/form-data":
            await self._upload(scope, receive, send, headers)
            return
        self._declared(headers, self.settings.body_bytes)
        try:
            async with self._read(receive) as body:
                if kind == "application/json":
                    await self._check(body)
                    if self.settings.log_prompts:
                        note_body(scope, body)
                await _while_there(self.app, scope, _Replay(body, receive), send)
        except _Left:
            scope[GONE] = True

    def _kind(self, scope: Scope, headers: Headers) -> str:
        """The type of the body: JSON, a form with files, or empty where there is none."""
        length = headers.get("content-length", "0")
        if "transfer-encoding" not in headers and length in ("", "0"):
            return ""
        kind, _, parameters = headers.get("content-type", "").lower().partition(";")
        if headers.get("content-encoding", "identity") != "identity":
            raise Denied("a compressed body is not taken", status=415)
        charset = parameters.partition("charset=")[2].strip(' "')
        if kind.strip() not in ("application/json", "multipart/form-data") or charset not in ("", "utf-8", "utf8"):
            raise Denied("a body is application/json in UTF-8 or, with files, multipart/form-data", status=415)
        return kind.strip()

    def _declared(self, headers: Headers, most: int) -> None:
        """Refuse by what the client says that it will send."""
        if int(headers.get("content-length") or 0) > most:
            _too_large(most)

    @contextlib.asynccontextmanager
    async def _read(self, receive: Receive) -> AsyncIterator[bytes]:
        """The whole body, counted as held while the request lasts."""
        most, chunks, size = self.settings.body_bytes, [], 0
        try:
            async with _deadline(self.settings.body_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Left
                    chunk, more = message.get("body", b""), message.get("more_body", False)
                    size += len(chunk)
                    self.held += len(chunk)
                    chunks.append(chunk)
                    if size > most:
                        _too_large(most)
                    if self.held > TOGETHER * most:
                        raise Denied("the server holds too many large requests. Try again soon", status=429, retry_after=5.0)
            yield b"".join(chunks)
        finally:
            self.held -= size

    async def _check(self, body: bytes) -> None:
        """Raise 400 for JSON that no route should see."""
        if len(body) < LARGE:
            check_json(body, self.settings)
        else:
            await asyncio.to_thread(check_json, body, self.settings)

    async def _upload(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        """A form flows through; one that grows too large, or takes too long, ends in its error whatever the route makes of it."""
        settings = self.settings
        self._declared(headers, settings.upload_bytes)
        most, seconds = settings.upload_bytes, settings.body_seconds * max(1.0, settings.upload_bytes / settings.body_bytes)
        counted = _Counted(receive, most=most, until=asyncio.get_running_loop().time() + seconds)

        async def out(message: Message) -> None:
            if counted.problem is not None:
                raise counted.problem
            await send(message)

        await _while_there(self.app, scope, counted, out)


class _Left(Exception):
    """The client went before its request was whole."""


class _Replay:
    """Gives a body that was read, then waits for the client's leaving."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self.read = asyncio.Event()
        self.read.set()
        self.left = asyncio.Event()

    async def __call__(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def leave(self) -> None:
        """Return when the client has left."""
        await self.read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


class _Counted(_Replay):
    """Passes a body on as it comes, counting."""

    def __init__(self, receive: Receive, *, most: int, until: float) -> None:
        super().__init__(b"", receive)
        self.read.clear()
        self._most, self._until, self._size = most, until, 0
        self.problem: Denied | None = None

    async def __call__(self) -> Message:
        if self.read.is_set():
            await self.left.wait()
            return {"type": "http.disconnect"}
        try:
            async with _deadline(self._until - asyncio.get_running_loop().time()):
                message = await self._receive()
            self._size += len(message.get("body", b""))
            if self._size > self._most:
                _too_large(self._most)
        except Denied as problem:
            self.problem = problem
            raise
        if not message.get("more_body", False):
            self.read.set()
        return message


async def _while_there(app: ASGIApp, scope: Scope, receive: _Replay, send: Send) -> None:
    """Run the app, and cancel it when the client leaves before the answer is whole, or no longer takes what it is sent."""
    whole = False

    async def out(message: Message) -> None:
        nonlocal whole
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)
        except TimeoutError:  # it takes nothing any more: as good as gone
            leaving.cancel()
            await asyncio.Event().wait()
        whole = message["type"] == "http.response.body" and not message.get("more_body", False)

    working = asyncio.ensure_future(app(scope, receive, out))
    leaving = asyncio.ensure_future(receive.leave())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        receive.left.set()
        if not working.done() and not whole:
            scope[GONE] = True
            working.cancel()
            await asyncio.wait({working})
            return
        await working
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


def check_json(body: bytes, settings: Settings) -> None:
    """Raise 400 for what is no JSON, or JSON that would harm whoever walks it."""
    try:
        text = body.decode()
        brackets = text.count("[") + text.count("{")
        if brackets + text.count(",") > settings.json_values:
            raise Denied("the body has too many values; {count:,} are allowed", status=400, count=settings.json_values)
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        _too_deep(settings.json_depth)
    except UnicodeDecodeError:
        raise Denied("the body is not UTF-8", status=400) from None
    except ValueError as problem:
        raise Denied("the body is not JSON ({problem})", status=400, problem=problem) from None
    if brackets > settings.json_depth:
        _check_depth(value, settings.json_depth)
    if _SURROGATE.search(text) and not _is_unicode(value):
        raise Denied("the body holds half a character (a lone surrogate)", status=400)


def _check_depth(value: Any, most: int) -> None:
    """Level by level, so that nothing recurses."""
    level = [value]
    for _ in range(most + 1):
        level = [
            inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer) if isinstance(inner, dict | list)
        ]
        if not level:
            return
    _too_deep(most)


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _too_deep(most: int) -> NoReturn:
    raise Denied("the body is nested too deeply; {count} levels are allowed", status=400, count=most)


def _too_large(most: int) -> NoReturn:
    raise Denied("the body is too large; {count:,} bytes are allowed", status=413, count=most)


@contextlib.asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    """408 when the client takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Denied("the body took too long to arrive", status=408) from None
