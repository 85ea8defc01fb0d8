"""The gate: who asks, whether a key opens this path, and whether the caller has asked too much.

Without any key the server is open to this machine alone. As soon as there is one, every path but `/health` wants one, whatever is there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

from miaobi.core.errors import DataError
from miaobi.serve.http import logs
from miaobi.serve.http.errors import Denied
from miaobi.serve.http.keys import CALLER, Caller
from miaobi.serve.http.plan import OPEN

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from miaobi.serve.http.plan import Plan
    from miaobi.serve.http.state import State

log = logging.getLogger("miaobi.serve")


class Gate:
    """Asks for keys and counts."""

    def __init__(self, app: ASGIApp, state: State, plan: Plan) -> None:
        self.app, self.state, self.plan = app, state, plan
        self.keyed = bool(state.keys) or not state.settings.is_local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a caller in, or raise 401, 403 or 429."""
        if scope["type"] != "http" or scope["path"] == OPEN:
            await self.app(scope, receive, send)
            return
        caller = self._caller(scope)
        logs.note_caller(scope, caller)
        place = self.plan.place(scope["path"])
        if place and place.scope and place.scope not in caller.scopes:
            raise Denied("this key is not for '{scope}'", status=403, scope=place.scope)
        with self.state.limits.admit(caller) as left:

            async def out(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableHeaders(scope=message).update(left)
                await send(message)

            token = CALLER.set(caller)
            try:
                await self.app(scope, receive, out)
            finally:
                CALLER.reset(token)

    def _caller(self, scope: Scope) -> Caller:
        """The key's owner or, on a server without keys, the address."""
        authorization = Headers(scope=scope).get("authorization", "")
        try:
            return self._known(scope, authorization)
        except DataError as problem:  # what is wrong with the file is nothing that a stranger has to know
            log.error("keys", exc_info=problem)
            raise Denied("the keys of this server cannot be read", status=503) from None

    def _known(self, scope: Scope, authorization: str) -> Caller:
        self.keyed = self.keyed or bool(self.state.keys)
        if not self.keyed:
            client = scope.get("client")
            return Caller(id=client[0] if client else "local")
        caller = self.state.keys.caller(authorization)
        if caller is None:
            raise _Unknown(scope["path"], given=bool(authorization))
        return caller


class _Unknown(Denied):
    """401. Browsers ask the person for the key where there are pages to see."""

    def __init__(self, path: str, *, given: bool) -> None:
        pages = not path.startswith("/v1")
        if given:
            super().__init__("this key is not known here, or has expired", status=401)
        else:
            super().__init__("a key is needed: send it as `Authorization: Bearer KEY`", status=401)
        self.headers = {"WWW-Authenticate": 'Basic realm="miaobi", charset="UTF-8"' if pages else "Bearer"}
