"""Uvicorn as the house wants it: a socket that says why it cannot be had, slow senders that are let go, requests that may end first.

Unusual: uvicorn waits for the head of a request for ever, so a thousand clients that send a letter a minute would hold every connection;
`Connection` gives each head a time, also on a connection that is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from miaobi.core.errors import Busy, MiaobiError, UsageError
from miaobi.serve.http import logs
from miaobi.serve.http.guard import check_origins
from miaobi.serve.http.keys import Keys

if TYPE_CHECKING:
    from fastapi import FastAPI

    from miaobi.serve.http.settings import Settings

KEPT_SECONDS = 20  # an idle connection
LARGEST_HEAD = 64 << 10
BACKLOG = 1024


def check(settings: Settings) -> None:
    """Refuse what would be unsafe or cannot work, before anything is started.

    Raises:
        UsageError: an address that others reach and no key, `*` as origin and no key, half a certificate.
    """
    keyed = bool(Keys(settings.keys))
    if not settings.is_local and not keyed:
        raise UsageError(
            "at {host} others can reach this server, so it needs a key. Make one first: miaobi serve keys add", host=settings.host
        )
    check_origins(settings.origins, keyed=keyed)
    if bool(settings.certificate) != bool(settings.certificate_key):
        raise UsageError("TLS takes both --certificate and --certificate-key")


def bind(settings: Settings) -> socket.socket:
    """The socket that the server listens on; port 0 is any that is free.

    Raises:
        Busy: another program has it.
        UsageError: no such address here, or a port that one may not have.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # unnamed, asyncio would not switch off Nagle's 40 ms
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((settings.host, settings.port))
        found.listen(BACKLOG)
    except OSError as error:
        found.close()
        if isinstance(error, PermissionError):
            problem = "the port {port} needs the rights of an administrator; choose one from 1024 on"
            raise UsageError(problem, port=settings.port) from None
        if error.errno in (98, 48, 10048):  # in use: Linux, macOS, Windows
            raise Busy("the port {port} is taken by another program; choose one with --port", port=settings.port) from None
        raise UsageError("'{host}' is no address of this machine ({problem})", host=settings.host, problem=error) from None
    return found


def run(app: FastAPI, settings: Settings, *, on_ready: Callable[[str], None] = lambda url: None) -> None:
    """Serve until told to stop (Ctrl-C, SIGTERM); requests under way may end in `grace_seconds`.

    Raises:
        MiaobiError: see `check` and `bind`; or the certificate cannot be read.
    """
    with bind(settings) as listener, logs.writing(settings.log):
        server = prepare(app, settings, listener, on_ready=on_ready)
        with contextlib.suppress(SystemExit):  # so uvicorn tells that it could not start
            server.run(sockets=[listener])
        if problem := app.state.miaobi.problem:
            raise problem
        if not server.started:
            raise MiaobiError("the server could not start; the lines above say why")


def prepare(app: FastAPI, settings: Settings, listener: socket.socket, *, on_ready: Callable[[str], None]) -> uvicorn.Server:
    """The server on a socket that is bound, not yet running; `on_ready` is told its address."""
    check(settings)
    host, port = listener.getsockname()[:2]
    url = f"{'https' if settings.certificate else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
    return _Server(_config(app, settings), lambda: on_ready(url))


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    class Timed(Connection):
        head_seconds = settings.header_seconds

    config = uvicorn.Config(
        app,
        http=Timed,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        limit_concurrency=settings.connections,
        timeout_keep_alive=KEPT_SECONDS,
        timeout_graceful_shutdown=max(1, round(settings.grace_seconds)),
        h11_max_incomplete_event_size=LARGEST_HEAD,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.certificate_key,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise UsageError("the certificate {path} cannot be used ({problem})", path=settings.certificate, problem=error) from None
    return config


class Connection(H11Protocol):
    """One client's connection. Each head of a request has to be whole in time, or the connection is closed."""

    head_seconds = 10.0
    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, error: Exception | None) -> None:
        self._stop()
        super().connection_lost(error)

    def _watch(self) -> None:
        """Let the time run while a head is waited for; uvicorn's own clock runs between two requests."""
        if self.conn.their_state is not h11.IDLE:
            self._stop()
        elif self._clock is None:
            self._clock = self.loop.call_later(self.head_seconds, self.transport.close)

    def _stop(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


class _Server(uvicorn.Server):
    """Says when it is ready."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:  # a second Ctrl-C: nobody waits for requests any more, but the workers are still told to go
            await self.lifespan.shutdown()
