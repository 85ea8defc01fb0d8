"""A script at the very top of every page: Gradio adds what it is given as `head` only when its own code runs, and that is too late for the
language, which that code asks the browser for once, and for the colours, which would flash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOP = b"<head>"


class Early:
    """An app whose HTML pages begin with `code`. Pages are asked for uncompressed, so that they can be changed on their way."""

    def __init__(self, app: ASGIApp, code: str) -> None:
        self.app, self.code = app, code.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; what a browser opens as a page is changed."""
        if scope["type"] != "http" or "text/html" not in Headers(scope=scope).get("accept", ""):
            await self.app(scope, receive, send)
            return
        plain = {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]}
        await self.app(plain, receive, _Page(send, self.code).take)


class _Page:
    """The answer to one request, held back until it is whole if it is a page."""

    def __init__(self, send: Send, code: bytes) -> None:
        self.send, self.code = send, code
        self.start: Message | None = None
        self.body = bytearray()

    async def take(self, message: Message) -> None:
        """A part of the answer."""
        if message["type"] == "http.response.start" and Headers(raw=message["headers"]).get("content-type", "").startswith("text/html"):
            self.start = message
            return
        if self.start is None:
            await self.send(message)
            return
        self.body += message.get("body", b"")
        if message.get("more_body"):
            return
        page = bytes(self.body).replace(TOP, TOP + self.code, 1)
        MutableHeaders(raw=self.start["headers"])["content-length"] = str(len(page))
        await self.send(self.start)
        await self.send({"type": "http.response.body", "body": page})
