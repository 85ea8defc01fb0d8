"""What the tools work with: the pool of models, the library, the line of jobs, and one folder that files come from and go to.

Unusual: an agent may be talked into anything by what it reads, so files are read and written below one folder only, links followed before
that is checked, and no file is ever written over.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from miaobi.core.errors import MiaobiError, UsageError, unknown
from miaobi.core.language import tr
from miaobi.core.schema import Schema
from miaobi.serve.hands import Hands

if TYPE_CHECKING:
    from miaobi.core.types import Content
    from miaobi.library.meaning import TextSpace
    from miaobi.library.queue import Job, Queue
    from miaobi.library.store import Library
    from miaobi.serve.pool import Pool, Served

WAIT_SECONDS = 50.0  # clients give up after a minute when they hear nothing
LONGEST_WAIT = 3600.0
Tell = Callable[[str], Awaitable[None]]  # a line about how far it is
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a tool gives back: plain values, and contents that the agent may look at."""

    values: Mapping[str, Any]
    contents: tuple[Content, ...] = ()


@dataclass
class Bench:
    """One agent's place of work."""

    pool: Pool
    folder: Path
    library_at: str = ""
    hands: Hands = field(init=False)
    alone: threading.Lock = field(default_factory=threading.Lock)  # one thread at a time compares meanings

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self.hands = Hands(self.library_at)

    @cached_property
    def library(self) -> Library:
        """The library, opened when it is first needed; slow, so tools use it in threads."""
        from miaobi.library.store import Library

        return Library.open(self.library_at)

    @cached_property
    def meaning(self) -> TextSpace:
        """Where texts of like meaning lie near each other.

        Raises:
            MissingExtra: the package is not installed.
        """
        from miaobi.library.meaning import TextSpace

        return TextSpace()

    @cached_property
    def queue(self) -> Queue:
        """The line of jobs."""
        from miaobi.library.queue import Queue

        return Queue(self.library.database)

    def inside(self, name: str) -> Path:
        """The path that a name means in the folder.

        Raises:
            UsageError: it leads out of the folder.
        """
        if "\0" in name:
            raise UsageError("a path holds no NUL")
        try:
            path = (self.folder / name).resolve()
        except (OSError, RuntimeError) as error:
            raise UsageError("{path} is no path: {problem}", path=name, problem=error) from None
        if path != self.folder and self.folder not in path.parents:
            raise UsageError("{path} is outside of {folder}, the only folder that these tools touch", path=name, folder=self.folder)
        return path

    def existing(self, name: str) -> Path:
        """The file of that name in the folder.

        Raises:
            UsageError: there is none, or it is outside.
        """
        path = self.inside(name)
        if not path.is_file():
            raise UsageError("there is no file at {path}", path=self.shown(path))
        return path

    def fresh(self, name: str) -> Path:
        """A path in the folder where nothing is yet.

        Raises:
            UsageError: something is there, or it is outside.
        """
        path = self.inside(name)
        if path.exists():
            raise UsageError("{path} exists already; choose another name", path=self.shown(path))
        return path

    def confine(self, value: object, base: Path | None = None) -> None:
        """Refuse values in which a text names something that lies outside, seen from `base` (by default from the folder).

        Raises:
            UsageError: one does.
        """
        for text in texts(value):
            path = (base or self.folder) / text
            if is_there(path):
                self.inside(str(path))

    def free(self, stem: str, suffix: str) -> Path:
        """`stem.suffix` in the folder, or with a number when that is taken."""
        number = 1
        while (path := self.folder / (f"{stem}{suffix}" if number == 1 else f"{stem}.{number}{suffix}")).exists():
            number += 1
        return path

    def shown(self, path: Path) -> str:
        """A path as the agent names it."""
        return str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else str(path)

    # ---------------------------------------------------------------- jobs

    async def enqueue(self, kind: str, spec: Mapping[str, Any], *, name: str) -> str:
        """Put a job of the folder in line, and see that somebody does it; returns its id."""
        from miaobi.serve.kinds import checked

        def put() -> str:
            return self.queue.add(kind, checked(kind, {"folder": str(self.folder), **spec}), name=name[:200])

        id = await asyncio.to_thread(put)
        await asyncio.to_thread(self.hands.begin, kind)
        return id

    async def follow(self, id: str, seconds: float, tell: Tell) -> Job:
        """Watch a job, telling its progress, until it is over or so many seconds have passed."""
        from miaobi.library.queue import State

        until, said = time.monotonic() + seconds, ""
        while True:
            job = await asyncio.to_thread(self.queue.get, id)
            if (line := progress_line(job)) != said:
                said = line
                await tell(line)
            if job.state not in (State.QUEUED, State.RUNNING, State.LOST) or time.monotonic() >= until:
                return job
            await asyncio.sleep(LOOK_SECONDS)

    async def done(self, kind: str, spec: Mapping[str, Any], *, name: str, seconds: float, tell: Tell) -> Answer:
        """Put a job in line and wait for it so long; it goes on without us.

        Raises:
            MiaobiError: it has failed.
        """
        id = await self.enqueue(kind, spec, name=name)
        return job_answer(await self.follow(id, seconds, tell))

    async def close(self) -> None:
        """Let jobs and the library go."""
        await asyncio.to_thread(self.hands.close)
        if "library" in vars(self):
            self.library.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool. `reads` says that it changes nothing."""

    name: str
    summary: str
    schema: type[Schema]
    run: Callable[[Bench, Any, Tell], Awaitable[Answer]]
    reads: bool = False


class Wait(Schema):
    """How long an answer is waited for."""

    wait_seconds: float = Field(WAIT_SECONDS, ge=0, le=LONGEST_WAIT)
    """How long to wait; what takes longer goes on as a job, which `job` follows."""


def texts(value: object) -> Iterator[str]:
    """Every text in plain values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from texts(inner)


def is_there(path: Path) -> bool:
    """Whether something lies at a path, which may be none."""
    try:
        return path.exists()
    except (OSError, ValueError):  # text that can be no path
        return False


def model_of(bench: Bench, name: str) -> Served:
    found = {one.name: one for one in bench.pool.models()}
    if name not in found:
        raise unknown("model", name, found)
    return found[name]


def job_answer(job: Job) -> Answer:
    """A job as plain values.

    Raises:
        MiaobiError: it has failed.
    """
    from miaobi.library.queue import State

    if job.state is State.FAILED:
        raise MiaobiError("the job {id} has failed: {error}", id=job.id, error=job.error)
    return Answer(values=job_values(job))


def progress_line(job: Job) -> str:
    """How far a job is, in one line."""
    if not job.progress:
        return tr(str(job.state))
    total = f"/{job.progress['total']}" if job.progress.get("total") else ""
    return f"{tr(str(job.progress['phase']))} {job.progress['done']}{total} {job.progress.get('detail', '')}".strip()


def job_values(job: Job) -> dict[str, Any]:
    """What an agent needs of a job."""
    names = ("id", "kind", "name", "priority", "progress", "result", "error", "created", "started", "ended")
    return {"state": str(job.state), **{name: getattr(job, name) for name in names if getattr(job, name) not in ("", {})}}
