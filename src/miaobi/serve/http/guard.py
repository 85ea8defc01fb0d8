"""The outer wall: which Host and Origin may speak at all, which paths are none, and the headers that keep browsers safe.

A page of another site can make a person's browser call 127.0.0.1, and can let its own name point there (DNS rebinding). So the Host has to
be one of ours and the Origin the same as the Host, or one that was allowed; this holds for every method.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from miaobi.core.errors import MiaobiError
from miaobi.core.language import language, speaking
from miaobi.serve.http import errors
from miaobi.serve.http.errors import Denied
from miaobi.serve.http.settings import LOOPBACK

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from miaobi.serve.http.plan import Plan
    from miaobi.serve.http.settings import Settings

METHODS = "GET, POST, PUT, PATCH, DELETE"
EXPOSED = "Retry-After, X-Request-Id, X-RateLimit-Limit-Requests, X-RateLimit-Remaining-Requests"
PREFLIGHT_SECONDS = 600
ACTIVE = ("text/html", "application/xhtml", "image/svg", "text/xml", "application/xml", "application/pdf")  # a browser would run these
SAFE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cross-origin-resource-policy": "same-origin"}


class Guard:
    """Lets requests of our own pages and of programs through."""

    def __init__(self, app: ASGIApp, settings: Settings, plan: Plan) -> None:
        self.app, self.plan = app, plan
        self.local = settings.is_local
        self.hosts = {name.lower() for name in (*LOOPBACK, settings.host, *settings.hosts)}
        self.origins = {origin.lower().rstrip("/") for origin in settings.origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, pass on, and put the headers on whatever is answered."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # nothing here speaks it
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "").lower()
        allowed = bool(origin) and self._is_allowed(origin)

        async def out(message: Message) -> None:
            if message["type"] == "http.response.start":
                _dress(MutableHeaders(scope=message), scope["path"], origin if allowed else "")
            await send(message)

        with speaking(_language(headers)):
            try:
                self._check(scope, headers)
                if allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                    await _preflight(headers)(scope, receive, out)
                    return
                await self.app(scope, receive, out)
            except MiaobiError as error:  # raised by the house before a route was reached
                await errors.send(error, scope, receive, out)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Raise what is wrong with the address, the sender's page or the path."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise Denied(
                "this server does not answer to the name '{host}'; it can be allowed with --allow-host", status=403, host=host[:200]
            )
        origin = headers.get("origin")
        if origin is not None and not self._is_allowed(origin.lower()) and not _is_same(origin, host):
            raise Denied("pages of '{origin}' may not call this server; they can be allowed with --origin", status=403, origin=origin[:200])
        foreign = headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate"
        if origin is None and foreign:
            raise Denied("pages of other sites may not call this server", status=403)
        raw = b"" if self.plan.is_mounted(scope["path"]) else scope.get("raw_path") or b""  # another app's paths may be encoded
        if is_tricky(raw, scope["path"]):
            raise Denied("this path is not a plain one", status=400)

    def _is_ours(self, host: str) -> bool:
        """Whether the Host header names this server: a name that was allowed or, where the network may reach it, any address in numbers."""
        name = _name(host)
        if name in self.hosts and name:
            return True
        return not self.local and _is_address(name)

    def _is_allowed(self, origin: str) -> bool:
        return origin in self.origins or ("*" in self.origins and origin != "null")


def is_tricky(raw: bytes, path: str) -> bool:
    """Whether a path tries to leave its place: dots, backslashes, drives, control characters, in any disguise."""
    if any(code in raw.lower() for code in (b"%2f", b"%5c", b"%00", b"%25", b"//")):
        return True
    if any(letter < " " or letter in "\\\x7f" or "\ud800" <= letter <= "\udfff" or letter == "\ufffd" for letter in path):
        return True
    return any(step in (".", "..") or step[1:2] == ":" for step in path.split("/"))


def _dress(headers: MutableHeaders, path: str, origin: str) -> None:
    """Headers of every answer. What a browser would run is only ever downloaded from the API's paths."""
    for name, value in SAFE.items():
        headers.setdefault(name, value)
    kind = headers.get("content-type", "").lower()
    if path.startswith("/v1") and kind.startswith(ACTIVE):
        headers.setdefault("content-disposition", "attachment")
        headers["content-security-policy"] = "sandbox; default-src 'none'"
    if path.startswith("/v1"):
        headers.setdefault("cache-control", "no-store")
    if origin:
        headers["access-control-allow-origin"] = origin
        headers["access-control-expose-headers"] = EXPOSED
        headers["cross-origin-resource-policy"] = "cross-origin"
    headers.add_vary_header("Origin")


def _preflight(headers: Headers) -> Response:
    """The answer to a browser that asks whether its page may call."""
    given = {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": headers.get("access-control-request-headers", "authorization, content-type"),
        "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
    }
    return Response(status_code=204, headers=given)


def _name(host: str) -> str:
    """The name or address in a Host header, without its port."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".") if host.count(":") <= 1 else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_same(origin: str, host: str) -> bool:
    """Whether a page was served by this very server; a proxy may have changed http to https, so the scheme does not count."""
    scheme, separator, rest = origin.lower().partition("://")
    return bool(separator) and scheme in ("http", "https") and _with_port(rest, scheme) == _with_port(host.strip().lower(), scheme)


def _with_port(host: str, scheme: str) -> str:
    """The host with the port that its scheme means where it names none."""
    has_port = host.rpartition("]")[2].count(":") == 1 if host.startswith("[") else ":" in host
    return host if has_port else f"{host}:{443 if scheme == 'https' else 80}"


def _language(headers: Headers) -> str:
    """The language that the client prefers, if it is one of ours and says so; else that of the server."""
    first = headers.get("accept-language", "").strip().lower()[:2]
    return first if first in ("en", "zh") else language()


def check_origins(origins: Iterable[str], *, keyed: bool) -> None:
    """Refuse at the start what would open the server to every page.

    Raises:
        UsageError: `*` without keys, or what is no origin.
    """
    from miaobi.core.errors import UsageError

    for origin in origins:
        if origin == "*":
            if not keyed:
                raise UsageError("--origin '*' lets every web page call this server; make a key first: miaobi serve keys add")
            continue
        scheme, separator, host = origin.partition("://")
        if scheme not in ("http", "https") or not separator or not host or "/" in host.rstrip("/") or "@" in host:
            raise UsageError("--origin takes an origin such as https://app.example, not '{origin}'", origin=origin)
