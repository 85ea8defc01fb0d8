"""What all pages share: the models, the library, the line of jobs, the folder in which works lie, and what is being made just now.

A generation belongs to the room and not to the page that asked for it: whoever closes or reloads the page finds it going on. It ends when
somebody stops it, or when the server does. Everything made here is kept in the library.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.core.errors import MiaobiError
from miaobi.core.language import language, tr
from miaobi.core.types import Content, Done, Media, Piece, Progress

if TYPE_CHECKING:
    from miaobi.library.meaning import TextSpace
    from miaobi.library.queue import Queue
    from miaobi.library.store import Library
    from miaobi.serve.hands import Hands
    from miaobi.serve.http.state import State
    from miaobi.serve.pool import Ask

REMEMBERED = 200  # generations whose results a reloaded page still finds
LONGEST_WAIT = 10.0  # seconds between two looks of a page at what is being made, so that its connection shows signs of life


@dataclass(slots=True)
class Making:
    """One generation: what came so far, and whether it goes on."""

    id: str
    model: str
    prompt: str
    options: Mapping[str, Any] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    rejected: set[int] = field(default_factory=set)
    step: int = 0
    total: int = 0
    preview: Media | None = None
    kept: list[str] = field(default_factory=list)
    """Ids in the library, in the order in which they were done."""
    problem: str = ""
    stopped: bool = False
    """By a person, which is no mistake."""
    over: bool = False
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    task: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, chunk: object) -> None:
        """Take in a chunk."""
        if isinstance(chunk, Piece) and isinstance(chunk.part, str):
            self.texts[chunk.index] = self.texts.get(chunk.index, "") + chunk.part
        elif isinstance(chunk, Progress):
            self.step, self.total = chunk.step, chunk.total
            if isinstance(chunk.preview, Media):
                self.preview = chunk.preview
        elif isinstance(chunk, Done) and chunk.reason == "rejected":
            self.rejected.add(chunk.index)
        self.tell()

    def tell(self) -> None:
        """Wake everybody who looks on."""
        self.seconds = time.monotonic() - self.began
        self.changed.set()
        self.changed = asyncio.Event()

    async def watch(self, *, every: float = 0.12) -> AsyncIterator[Making]:
        """Yield whenever something has changed, at most so often, and once at the end."""
        while not self.over:
            changed = self.changed
            yield self
            await asyncio.sleep(every)
            if not self.over:
                try:
                    await asyncio.wait_for(changed.wait(), LONGEST_WAIT)
                except TimeoutError:
                    continue
        yield self


class Room:
    """A server's pool and library, and a folder in which jobs work."""

    def __init__(self, state: State, *, folder: Path | None = None) -> None:
        self.state, self.folder = state, folder or Path.cwd()
        self.makings: OrderedDict[str, Making] = OrderedDict()
        self.alone = threading.Lock()  # one thread at a time compares meanings

    @property
    def hands(self) -> Hands:
        """The server's processes that do jobs."""
        return self.state.hands

    @property
    def library(self) -> Library:
        """The library; slow, so pages call it in threads (Gradio does, for handlers that are not coroutines)."""
        return self.state.library

    @cached_property
    def queue(self) -> Queue:
        """The line of jobs."""
        from miaobi.library.queue import Queue

        return Queue(self.library.database)

    @cached_property
    def meaning(self) -> TextSpace:
        """Where texts of like meaning lie near each other.

        Raises:
            MissingExtra: the package is not installed.
        """
        from miaobi.library.meaning import TextSpace

        return TextSpace()

    @property
    def works(self) -> Path:
        """Where works of `create` and films lie, a folder each."""
        return self.folder / "works"

    def enqueue(self, kind: str, spec: Mapping[str, Any], *, name: str) -> str:
        """Put a job in line that works in the room's folder and speaks the page's language; returns its id.

        Raises:
            UsageError: a wrong value in its spec.
        """
        from miaobi.serve.kinds import checked

        settings = self.state.settings
        where = {"folder": str(self.folder), "device": settings.device, "threads": settings.threads or None, "language": language()}
        id = self.queue.add(kind, checked(kind, {**where, **spec}), name=name[:200])
        self.hands.begin(kind)
        return id

    # ------------------------------------------------------------------ generations

    def make(self, ask: Ask, *, prompt: str, parents: tuple[str, ...] = ()) -> Making:
        """Begin a generation."""
        making = Making(id=secrets.token_hex(6), model=ask.model, prompt=prompt, options=dict(ask.options))
        self.makings[making.id] = making
        while len(self.makings) > REMEMBERED:
            self.makings.popitem(last=False)
        making.task = asyncio.create_task(self._run(making, ask, parents))
        return making

    def stop(self, id: str) -> None:
        """End a generation; what is complete of it stays."""
        making = self.makings.get(id)
        if making is not None and making.task is not None:
            making.task.cancel()

    async def _run(self, making: Making, ask: Ask, parents: tuple[str, ...]) -> None:
        try:
            async with aclosing(self.state.stream(ask)) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, Content):
                        making.kept.append(await asyncio.to_thread(self.library.keep, chunk, origin="studio", parents=parents))
                        making.texts.pop(chunk.label.index, None)
                    making.note(chunk)
        except MiaobiError as error:
            making.problem = str(error)
        except asyncio.CancelledError:
            making.problem, making.stopped = tr("stopped"), True
        except Exception as error:
            import logging

            logging.getLogger("miaobi.studio").exception("a generation failed")
            making.problem = tr("unexpected: {kind}: {problem}", kind=type(error).__name__, problem=error)
        finally:
            making.over = True
            making.tell()

    async def close(self) -> None:
        """Stop whatever is being made."""
        running = [making.task for making in self.makings.values() if making.task is not None and not making.over]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
