"""The pool: who is asked, where, and when. One process a model; what does not fit into the memory makes the longest unused one go.

A request waits until its process takes it up. So many may wait; more are told when to come back (`Overloaded`). A process that dies is
replaced at once: what it worked on ends in `WorkerLost`, what only waited for it goes to the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any, cast

from miaobi.core.errors import MiaobiError, unknown
from miaobi.core.families import Family, family
from miaobi.core.language import language, speaking
from miaobi.core.shelf import Known, list_models
from miaobi.core.types import Card, Chunk, Content, Request
from miaobi.serve.pool import memory
from miaobi.serve.pool.ask import Ask, Overloaded, PoolSettings, Served, TooLarge, WorkerLost
from miaobi.serve.pool.process import Process, Running

if TYPE_CHECKING:
    from miaobi.core.protocols import Model

log = logging.getLogger("miaobi.pool")

LISTED_SECONDS = 2.0  # how long the list of models on the disk is believed
DEATHS, DEATHS_SECONDS = 3, 60.0  # a model whose process dies so often in so short a time is loaded again only when it is asked
ATTEMPTS = 3  # processes that a request may wait for in vain
LONGEST_WAIT = 60.0  # what a client is told at most
LONG = 1 << 16  # characters of a request from which on it is checked beside the event loop


@dataclasses.dataclass(slots=True)
class Counts:
    """What happened since the pool started."""

    asked: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    refused: int = 0
    lost: int = 0
    loads: int = 0
    evictions: int = 0
    restarts: int = 0


class Pool:
    """Models for many requests. `async with Pool(Options()) as pool: await pool.collect(Ask.of("poet", "中秋月夜"))`."""

    def __init__(self, settings: PoolSettings) -> None:
        self.settings = settings
        self.counts = Counts()
        self._processes: dict[str, Process] = {}
        self._starting: dict[str, asyncio.Task[Process]] = {}
        self._facts: dict[str, _Facts] = {}  # by the hash of the model's files
        self._listed: tuple[float, dict[str, Known]] = (-LISTED_SECONDS, {})
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._deaths: dict[str, deque[float]] = {}
        self._waiting = 0
        self._seconds = 1.0  # what a request takes, as the latest ones did
        self._budget = 0
        self._open = False

    async def __aenter__(self) -> Pool:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Measure the memory and load the models that are kept.

        Raises:
            MiaobiError: one of them is unknown or cannot be loaded.
        """
        self._budget = memory.budget_bytes(self.settings.memory_bytes)
        self._open = True
        await asyncio.to_thread(self._shelf)
        for name in self.settings.keep:
            await self._process(name)

    async def close(self) -> None:
        """End every process; requests under way end in `WorkerLost`."""
        self._open = False
        for task in [*self._starting.values(), *self._tasks]:
            task.cancel()
        await asyncio.gather(*self._starting.values(), *self._tasks, return_exceptions=True)
        await asyncio.gather(*(process.stop() for process in self._processes.values()))
        self._processes.clear()

    # ---------------------------------------------------------------- asking

    async def stream(self, ask: Ask) -> AsyncGenerator[Chunk | Content]:
        """What the model makes, as it makes it. Closing the generator stops the generation.

        Raises:
            UsageError: an unknown model, a wrong option, a request that is too large.
            Overloaded: too many wait already.
            WorkerLost: the process died.
            MiaobiError: whatever the model says is wrong.
        """
        with self._admitted() as place:  # before anything is looked at: who is refused should cost next to nothing
            seed = secrets.randbits(31) if ask.seed is None else ask.seed
            ask = dataclasses.replace(ask, options=dict(ask.options), seed=seed)
            if sum(len(part) for turn in ask.turns for part in turn.parts if isinstance(part, str)) < LONG:
                _check(self._known(ask.model), ask)  # takes a fraction of what a thread takes to begin
            else:
                await asyncio.to_thread(lambda: _check(self._known(ask.model), ask))
            async with contextlib.aclosing(self._running(place, ask.model, "ask", ask, language())) as news:
                async for chunk in news:
                    yield chunk

    async def collect(self, ask: Ask) -> list[Content]:
        """All contents of a request, in their order; the errors are those of `stream`."""
        async with contextlib.aclosing(self.stream(ask)) as chunks:
            contents = [chunk async for chunk in chunks if isinstance(chunk, Content)]
        return sorted(contents, key=lambda content: content.label.index)

    async def call(self, model: str, method: str, *arguments: Any) -> Any:
        """What a method of the model gives (`score`, `embed`, `classify`), computed in its process.

        Raises:
            UsageError: an unknown model, or one that cannot do this.
        """
        with self._admitted() as place:
            self._known(model)
            async with contextlib.aclosing(self._running(place, model, "call", method, arguments, language())) as news:
                results = [result async for result in news]
        return results[-1]

    async def _running(self, place: _Place, model: str, kind: str, *values: Any) -> AsyncGenerator[Any]:
        """Hand the request over and give its news; one that had not begun when its process died goes to the next process."""
        self.counts.asked += 1
        began = time.monotonic()
        process: Process | None = None
        running: Running | None = None
        try:
            for attempt in itertools.count(1):
                process = await self._process(model)
                running = process.begin(kind, *values)
                while True:
                    what, value = await running.news.hear()
                    if what == "began":
                        place.leave()
                    elif what in ("end", "lost"):
                        break
                    else:
                        yield value
                if what == "lost" and (value or attempt == ATTEMPTS or not self._open):
                    self.counts.lost += 1
                    raise WorkerLost(model)
                if what == "lost":
                    continue
                if value is not None:
                    self.counts.failed += 1
                    raise value
                self.counts.done += 1
                self._seconds += 0.1 * (time.monotonic() - began - self._seconds)
                return
        finally:
            if process is not None and running is not None and running.id in process.running:
                self.counts.cancelled += 1
                process.cancel(running)

    @contextlib.contextmanager
    def _admitted(self) -> Iterator[_Place]:
        """A place among those that wait, kept until the request is taken up, or for the length of the block."""
        if self._waiting >= max(1, self.settings.queue):
            self.counts.refused += 1
            at_work = sum(running.began for process in self._processes.values() for running in process.running.values())
            raise Overloaded(min(LONGEST_WAIT, self._seconds * self._waiting / max(1, at_work)))
        place = _Place(self)
        try:
            yield place
        finally:
            place.leave()

    # ---------------------------------------------------------------- models

    def models(self) -> list[Served]:
        """Every model that can be asked."""
        return [self._served(known) for known in self._shelf().values()]

    def model(self, name: str) -> Served | None:
        """The model of that name; None where none can be asked."""
        known = self._shelf().get(name)
        return None if known is None else self._served(known)

    def _served(self, known: Known) -> Served:
        facts, process = self._facts_of(known), self._processes.get(known.name)
        kind, loaded = facts.family, process is not None and process.loaded
        return Served(
            name=known.name,
            family=known.family,
            outputs=kind.outputs,
            verbs=kind.verbs,
            loaded=loaded,
            bytes=process.bytes if process is not None and loaded else facts.estimate,
            context=facts.context,
            created=facts.created,
            inputs=kind.inputs,
            licence=known.licence,
        )

    def _shelf(self) -> dict[str, Known]:
        """The models on the disk that are served, by name."""
        when, found = self._listed
        if time.monotonic() - when > LISTED_SECONDS:
            served = self.settings.models
            found = {known.name: known for known in list_models() if (not served or known.name in served) and self._is_whole(known)}
            self._listed = (time.monotonic(), found)
        return found

    def _known(self, model: str) -> Known:
        """The model of that name: no path and no address means one, however it is written."""
        shelf = self._shelf()
        if model not in shelf:
            raise unknown("model", str(model)[:200], shelf)
        return shelf[model]

    def _is_whole(self, known: Known) -> bool:
        """Whether it is all there: one that is being removed is not, and one of a family that was uninstalled."""
        try:
            return bool(self._facts_of(known))
        except (MiaobiError, OSError):
            return False

    def _facts_of(self, known: Known) -> _Facts:
        """What its files say, read once."""
        if known.source not in self._facts:
            self._facts[known.source] = _Facts(
                family=family(known.family),
                estimate=memory.estimate_bytes(known.folder, self.settings.device),
                context=memory.context_of(known.folder),
                created=int(known.folder.stat().st_mtime),
            )
        return self._facts[known.source]

    # ---------------------------------------------------------------- processes

    async def _process(self, model: str) -> Process:
        """The process of a model, started if there is none, or if it holds what the model was before it was trained again."""
        process = self._processes.get(model)
        if process is not None and process.idle and process.source != self._known(model).source:
            await self._evict(process)
            process = None
        if process is not None and process.loaded:
            return process
        task = self._starting.get(model)
        if task is None:
            task = self._starting[model] = asyncio.create_task(self._start(model))
            task.add_done_callback(lambda done: (self._starting.pop(model, None), done.cancelled() or done.exception()))
        return await asyncio.shield(task)  # who leaves does not stop the load for others

    async def _start(self, model: str) -> Process:
        known = self._known(model)
        estimate = self._facts_of(known).estimate
        await self._make_room(model, estimate)
        process = Process(known, estimate, on_change=self._change, on_death=self._replace)
        self._processes[model] = process
        self.counts.loads += 1
        try:
            await process.start(self.settings.device, self.settings.threads, memory.cache_bytes(self._budget))
        except BaseException:
            self._processes.pop(model, None)
            await process.stop()
            raise
        self._change()
        return process

    async def _make_room(self, model: str, estimate: int) -> None:
        """Let unused models go until this one fits; wait for one to be unused where all are at work.

        Raises:
            TooLarge: it does not fit, whichever go.
        """
        fixed = sum(process.bytes for name, process in self._processes.items() if name in self.settings.keep)
        if estimate + fixed > self._budget:
            raise TooLarge(
                "{model} takes about {wanted} MB; the models of this server may take {budget} MB together",
                model=model,
                wanted=estimate >> 20,
                budget=self._budget >> 20,
            )
        while not self._fits(estimate):
            idle = [one for name, one in self._processes.items() if one.idle and name not in self.settings.keep]
            if idle:
                await self._evict(min(idle, key=lambda process: process.used))
                continue
            async with self._changed:
                await self._changed.wait()

    def _fits(self, estimate: int) -> bool:
        room = not self.settings.workers or len(self._processes) < self.settings.workers
        return not self._processes or (room and estimate + sum(process.bytes for process in self._processes.values()) <= self._budget)

    async def _evict(self, process: Process) -> None:
        self._processes.pop(process.model, None)
        self.counts.evictions += 1
        await process.stop()

    def _replace(self, process: Process) -> None:
        """A process died: start another, unless it keeps dying."""
        if self._processes.get(process.model) is process:
            del self._processes[process.model]
        log.warning("the process of %s died", process.model)
        deaths = self._deaths.setdefault(process.model, deque(maxlen=DEATHS))
        deaths.append(time.monotonic())
        often = len(deaths) == DEATHS and deaths[-1] - deaths[0] < DEATHS_SECONDS
        if self._open and not often:
            self.counts.restarts += 1
            self._spawn(self._process(process.model))

    def _spawn(self, work: Any) -> None:
        """Do something beside; what goes wrong is told to whoever asks for the model next."""

        async def quietly() -> None:
            with contextlib.suppress(MiaobiError):
                await work

        task = asyncio.create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _change(self) -> None:
        """Wake those who wait for a model to be unused."""
        if not self._starting:
            return

        async def wake() -> None:
            async with self._changed:
                self._changed.notify_all()

        self._spawn(wake())

    # ---------------------------------------------------------------- figures

    def status(self) -> dict[str, Any]:
        """What there is and what happened, as plain values."""
        requests = [running for process in self._processes.values() for running in process.running.values()]
        return {
            "waiting": self._waiting,
            "running": sum(running.began and not running.cancelled for running in requests),
            "queue": self.settings.queue,
            "memory_bytes": sum(process.bytes for process in self._processes.values()),
            "budget_bytes": self._budget,
            **dataclasses.asdict(self.counts),
            "models": {name: _figures(process) for name, process in self._processes.items()},
        }


class _Place:
    """One request's place among those that wait, given up once."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self._left = pool, False
        pool._waiting += 1

    def leave(self) -> None:
        """Begin, or go."""
        if not self._left:
            self._left = True
            self._pool._waiting -= 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What the files of a model say: its family, what it takes in memory, its longest text, when it was written."""

    family: Family
    estimate: int
    context: int
    created: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Named:
    """As much of a model as the check of its options needs."""

    card: Card


def _check(known: Known, ask: Ask) -> None:
    """Find what is wrong with a request before it waits for a process."""
    from miaobi.engine.generate import resolve
    from miaobi.engine.load import with_given

    kind = family(known.family)
    card = Card(family=known.family, name=known.name, outputs=kind.outputs, verbs=kind.verbs)
    request = Request(turns=ask.turns, options=ask.options, seed=ask.seed if ask.seed is not None else 0)
    with speaking(language()):
        resolve(cast("Model", _Named(card)), request)
    if not set(ask.given) <= kind.inputs:
        with_given(kind, request, ask.given)  # raises


def _figures(process: Process) -> dict[str, Any]:
    began = sum(running.began for running in process.running.values())
    return {
        "loaded": process.loaded,
        "pid": process.pid,
        "memory_bytes": process.bytes,
        "running": began,
        "waiting": len(process.running) - began,
        **process.figures,
    }
