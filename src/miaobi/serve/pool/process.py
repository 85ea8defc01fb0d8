"""The pool's end of a process with one model: start it, load, ask, cancel, and notice when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from miaobi.core.shelf import Known
from miaobi.core.types import Piece
from miaobi.serve.pool import wire
from miaobi.serve.pool.ask import WorkerLost

GRACE_SECONDS = 1.5  # after which a generation that nobody wants and that will not stop takes its process along


class News:
    """What happens to a request, for one task to hear.

    A text that is written more quickly than it is heard is heard in longer pieces: a client that takes its time costs little, and a busy
    server says less often more.
    """

    def __init__(self) -> None:
        self._told: deque[tuple[str, Any]] = deque()
        self._some = asyncio.Event()

    def tell(self, what: str, value: Any) -> None:
        """Something happened."""
        last = self._told[-1][1] if self._told else None
        if isinstance(value, Piece) and isinstance(last, Piece) and (joined := _joined(last, value)) is not None:
            self._told[-1] = (what, joined)
        else:
            self._told.append((what, value))
        self._some.set()

    async def hear(self) -> tuple[str, Any]:
        """What happened next."""
        while not self._told:
            self._some.clear()
            await self._some.wait()
        return self._told.popleft()


def _joined(first: Piece, second: Piece) -> Piece | None:
    """Two stretches of one text as one; None for what is not that."""
    if first.index != second.index or not isinstance(first.part, str) or not isinstance(second.part, str):
        return None
    return Piece(part=first.part + second.part, index=first.index, logprobs=first.logprobs + second.logprobs)


@dataclass(slots=True, eq=False)
class Running:
    """A request or call in a process.

    `news` are ("began", None), ("chunk" or "result", value) …, then ("end", error or None), or ("lost", whether it had begun).
    """

    id: int
    news: News = field(default_factory=News)
    began: bool = False
    cancelled: bool = False


class Process:
    """One model in one process. `on_change` is called whenever a request begins or ends, and `on_death` once, when it died unasked."""

    def __init__(self, known: Known, estimate: int, *, on_change: Callable[[], None], on_death: Callable[[Process], None]) -> None:
        self.model, self.folder, self.source, self.bytes = known.name, known.folder, known.source, estimate
        self.loaded = False
        self.ended = False
        self.used = self.made = time.monotonic()
        self.running: dict[int, Running] = {}
        self.figures: Mapping[str, Any] = {}
        self._on_change, self._on_death = on_change, on_death
        self._numbers = itertools.count(1)
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._child: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self, device: str, threads: int, cache_bytes: int) -> None:
        """Start the process and load the model.

        Raises:
            MiaobiError: the model cannot be loaded.
        """
        session = {} if sys.platform == "win32" else {"start_new_session": True}
        command = (sys.executable, "-m", "miaobi.serve.pool.worker")
        pipe = asyncio.subprocess.PIPE
        environment = {"MALLOC_ARENA_MAX": "2"} | os.environ  # a thread a request would leave glibc with a heap for each
        self._child = await asyncio.create_subprocess_exec(
            *command,
            stdin=pipe,
            stdout=pipe,
            env=environment,
            **session,  # type: ignore[arg-type]
        )
        self._reader = asyncio.create_task(self._read(self._child))
        self._say("load", str(self.folder), device, threads, cache_bytes)
        await asyncio.shield(self._ready)

    @property
    def pid(self) -> int:
        """The number of the operating system's process; 0 before it starts."""
        return self._child.pid if self._child else 0

    @property
    def idle(self) -> bool:
        """Whether nobody waits for it."""
        return self.loaded and not self.running

    def begin(self, kind: str, *values: Any) -> Running:
        """Hand over a request (`ask`) or a call."""
        running = Running(next(self._numbers))
        if self.ended:  # between the moment when it was chosen and now
            running.news.tell("lost", False)
            return running
        self.running[running.id] = running
        self.used = time.monotonic()
        self._say(kind, running.id, *values)
        return running

    def cancel(self, running: Running) -> None:
        """Stop a request, now that nobody wants it; it is over when the process says so."""
        if running.id not in self.running or running.cancelled:
            return
        running.cancelled = True
        self._say("cancel", running.id)
        asyncio.get_running_loop().call_later(GRACE_SECONDS, self._lose_patience, running)

    async def stop(self) -> None:
        """End the process; its requests are told that it is lost."""
        self._stopping = True
        self.kill()  # it owns nothing that must be put in order
        if self._reader is not None:
            await self._reader

    def kill(self) -> None:
        """End it from outside, as a crash would."""
        if self._child is None or self._child.returncode is not None:
            return
        if sys.platform == "win32":
            self._child.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child.pid, signal.SIGKILL)  # asyncio's own `kill` may reap the process behind its back

    def _lose_patience(self, running: Running) -> None:
        """A step that goes on for seconds cannot be interrupted; alone in its process, the process can."""
        if running.id in self.running and all(other.cancelled for other in self.running.values() if other.began):
            self.kill()

    def _say(self, *message: Any) -> None:
        if self._child is not None and self._child.stdin is not None and not self.ended:
            self._child.stdin.write(wire.pack(list(message)))

    async def _read(self, child: asyncio.subprocess.Process) -> None:
        """Hear the process until it ends."""
        assert child.stdout is not None
        try:
            while True:
                said, rest = wire.sizes(await child.stdout.readexactly(wire.HEAD.size))
                message = wire.unpack(await child.stdout.readexactly(said), await child.stdout.readexactly(rest))
                self._hear(*message)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.kill()
            self._end()
        await child.wait()

    def _hear(self, kind: str, *values: Any) -> None:
        if kind == "loaded":
            self.loaded, self.bytes = True, max(values[0], 0) or self.bytes
            self._ready.set_result(None)
        elif kind == "failed":
            self._stopping = True  # a model that cannot be loaded is not tried again by itself
            self._ready.set_exception(values[0])
        elif kind == "figures":
            self.figures = values[0]
            self.bytes = int(self.figures.get("memory_bytes") or self.bytes)
        else:
            self._tell(kind, *values)

    def _tell(self, kind: str, id: int, *values: Any) -> None:
        running = self.running.get(id)
        if running is None:
            return
        running.began |= kind == "began"
        running.news.tell(kind, values[0] if values else None)
        if kind == "end":
            del self.running[id]
            self.used = time.monotonic()
        if kind in ("began", "end"):
            self._on_change()

    def _end(self) -> None:
        """The process is no more."""
        self.ended, self.loaded = True, False
        for running in self.running.values():
            running.news.tell("lost", running.began)
        self.running.clear()
        if not self._ready.done():
            self._ready.set_exception(WorkerLost(self.model))
            self._ready.exception()  # whoever waited for it may be gone
        self._on_change()
        if not self._stopping:
            self._on_death(self)
