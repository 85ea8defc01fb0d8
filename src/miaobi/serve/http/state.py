"""What every route shares: the settings, the pool of models, the library and the figures. Routes take it as `state: Here`.

Routes ask models by `state.stream` and `state.collect`, which measure what the pool does for them.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request

from miaobi.core.types import Content
from miaobi.serve.hands import Hands
from miaobi.serve.http.chance import settled
from miaobi.serve.http.keys import CALLER, Keys
from miaobi.serve.http.limits import Limits
from miaobi.serve.http.metrics import Figures

if TYPE_CHECKING:
    from miaobi.core.errors import MiaobiError
    from miaobi.core.types import Chunk
    from miaobi.library.store import Library
    from miaobi.serve.http.plan import Plan
    from miaobi.serve.http.settings import Settings
    from miaobi.serve.pool import Ask, Pool


class State:
    """One server's belongings; `app.state.miaobi`."""

    def __init__(self, settings: Settings, *, pool: Pool, plan: Plan, library: Library | None = None) -> None:
        self.settings = settings
        self.plan = plan
        self.pool = pool
        self.figures = Figures(pool)
        self.keys = Keys(settings.keys)
        self.limits = Limits(settings.requests_per_minute)
        self.hands = Hands(settings.library)
        self.folder = Path.cwd()  # from which jobs look for models
        self.ready = False
        self.problem: MiaobiError | None = None
        """Why the server could not start."""
        self.own: dict[str, Any] = {}
        """What an area keeps for itself, by the area's name."""
        self._library = library
        self._opening = threading.Lock()

    @property
    def library(self) -> Library:
        """The library, opened when it is first needed. It is slow (a database): call it and its methods in a thread."""
        with self._opening:
            if self._library is None:
                from miaobi.library.store import Library

                self._library = Library.open(self.settings.library)
            return self._library

    async def stream(self, ask: Ask) -> AsyncGenerator[Chunk | Content]:
        """What `Pool.stream` gives, measured. Closing it stops the generation."""
        watch, failed = self.figures.watch(ask.model), None
        try:
            async with aclosing(self.pool.stream(settled(ask))) as chunks:
                async for chunk in chunks:
                    watch.see(chunk)
                    yield chunk
        except Exception as error:
            failed = error
            raise
        finally:
            watch.end(failed)
            if caller := CALLER.get():
                self.limits.spend(caller, watch.prompt + watch.generated)

    async def collect(self, ask: Ask) -> list[Content]:
        """All contents of one request, in their order."""
        async with aclosing(self.stream(ask)) as chunks:
            contents = [chunk async for chunk in chunks if isinstance(chunk, Content)]
        return sorted(contents, key=lambda content: content.label.index)

    def resume(self) -> None:
        """Go on with jobs of before; slow. A library in a folder that is not there yet has none, and is not made for that."""
        from miaobi.core.home import home
        from miaobi.library.queue import Queue
        from miaobi.library.store import FILE

        where = self.settings.library
        if "://" in where or (Path(where or home() / "library") / FILE).exists():
            self.hands.resume(Queue(self.library.database))

    def close(self) -> None:
        """Let jobs put down what they have, and the library go, if this server opened it."""
        self.hands.close()
        if self._library is not None:
            self._library.close()


async def state_of(request: Request) -> State:  # FastAPI calls one that is not `async` in a thread, at every request
    """The server's state, for `Depends`."""
    found: State = request.app.state.miaobi
    return found


Here = Annotated[State, Depends(state_of)]
