"""One model in a process of its own: `python -m miaobi.serve.pool.worker`, frames on standard input and output.

Requests begin in their order, each in a thread of its own, which looks after every chunk whether it is still wanted. One begins when the
one before has ended, sits in a shared batch (`engine.sampling.shared`) or has stepped aside: so what can be computed together is, and what
nobody prepared for company stays alone. When the pool goes away, however it does, standard input ends and so does the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.language import speaking
from miaobi.core.types import Request
from miaobi.serve.pool import wire
from miaobi.serve.pool.ask import Ask

if TYPE_CHECKING:
    from miaobi.engine.load import Loaded
    from miaobi.engine.sampling.table import Table

CALLS = frozenset({"score", "embed_texts", "embed_pictures", "classify"})  # what `Pool.call` may ask of a model
MOST_THREADS = 256  # requests under way, most of which wait for room in the batch
MOST_BATCHES, LEAST_BATCH = 4, 256 << 20  # side by side, and the bytes of texts that each holds at least
TIDY_SECONDS = 10.0  # between two times that freed memory is given back
FIGURES_SECONDS = 0.5  # between two reports of memory and tokens
REST_SECONDS = 1.0  # without a request, after which what is free is given back too


class Worker:
    """The process's side: what is said to the pool, and what is under way."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._speaks = threading.Lock()
        self._wanted: set[int] = set()  # what is under way and not cancelled
        self._waiting: deque[tuple[Any, ...]] = deque()
        self._changed = threading.Condition()
        self._room = threading.Semaphore(MOST_THREADS)
        self._baton = threading.Semaphore(1)  # who has it may begin
        self._loaded: Loaded | None = None
        self._table: Table | None = None
        self._reported = 0.0
        self._tidied = self._ended = time.monotonic()

    def say(self, *message: Any) -> None:
        """One frame to the pool, whole."""
        frame = wire.pack(list(message))
        with self._speaks:
            self._out.write(frame)
            self._out.flush()

    def listen(self, source: BinaryIO) -> None:
        """Take what the pool says until it says nothing any more."""
        while head := source.read(wire.HEAD.size):
            said, rest = wire.sizes(head)
            kind, *values = wire.unpack(source.read(said), source.read(rest))
            if kind == "cancel":
                self._cancel(*values)
            elif kind == "load":
                self._load(*values)
            else:
                with self._changed:
                    self._waiting.append((kind, *values))
                    self._changed.notify()

    def work(self) -> None:
        """Begin what waits, for ever, and give memory back where nothing does."""
        while True:
            with self._changed:
                tidy = self._tidied >= self._ended and not self._wanted
                waits = self._changed.wait_for(lambda: self._waiting, timeout=None if tidy else REST_SECONDS)
            if not waits:
                self._rest()
                continue
            self._room.acquire()
            self._baton.acquire()  # only now: those who stepped aside want it back when nobody waits
            with self._changed:
                first = self._waiting.popleft() if self._waiting else ()  # what waited may have been cancelled
                self._wanted.update(first[1:2])
            if first:
                threading.Thread(target=self._one, args=(first[0], first[1], first[2:]), daemon=True).start()
            else:
                self._baton.release()
                self._room.release()

    def _load(self, folder: str, device: str, threads: int, cache_bytes: int) -> None:
        from miaobi.engine.load import load
        from miaobi.engine.sampling.table import Table

        try:
            batches = _batches(Path(folder), device, threads, cache_bytes)
            self._loaded = load(Path(folder), device=device, threads=1 if batches > 1 else threads or None)
            self._table = Table(cache_bytes=cache_bytes, prefix_bytes=cache_bytes // 8, batches=batches)
        except Exception as error:
            self.say("failed", _told(error))
            return
        self.say("loaded", resident_bytes())

    def _cancel(self, id: int) -> None:
        with self._changed:
            left = [waiting for waiting in self._waiting if waiting[1] != id]
            gone = len(left) < len(self._waiting)
            self._waiting = deque(left)
            self._wanted.discard(id)
        if gone:
            self.say("end", id, None)

    def _one(self, kind: str, id: int, values: Sequence[Any]) -> None:
        """One request or call, and how it ended."""
        from miaobi.engine.sampling.turns import Unwanted

        assert self._table is not None, "a model is loaded before it is asked"
        once = _Once(self._baton)
        error: MiaobiError | None = None
        try:
            self.say("began", id)
            with self._table.share(on_seat=once.release, is_wanted=lambda: id in self._wanted, aside=once.aside):
                if kind == "ask":
                    self._answer(id, *values)
                else:
                    self.say("result", id, self._call(*values))
        except Unwanted:
            pass
        except Exception as problem:
            error = _told(problem)
        with self._changed:
            self._wanted.discard(id)
            self._ended = time.monotonic()
        self._report()
        self.say("end", id, error)
        once.release()
        self._room.release()

    def _rest(self) -> None:
        """Give back what is free, once since the last request, when nothing has been under way for a while."""
        now = time.monotonic()
        with self._changed:
            rests = not self._wanted and self._ended > self._tidied and now - self._ended >= REST_SECONDS
        if rests:
            give_back()
            self._tidied = time.monotonic()
            self._report()

    def _report(self) -> None:
        """What this process holds and has done: when nothing is under way, and now and then."""
        now = time.monotonic()
        if (not self._wanted or now - self._reported > FIGURES_SECONDS) and self._table is not None:
            self._reported = now
            if now - self._tidied > TIDY_SECONDS:
                self._tidied = now
                give_back()
            self.say("figures", {"memory_bytes": resident_bytes(), **self._table.figures()})

    def _answer(self, id: int, ask: Ask, language: str) -> None:
        """Say the chunks of a request until it is no longer wanted."""
        assert self._loaded is not None, "a model is loaded before it is asked"
        assert ask.seed is not None, "the pool draws the seed"
        request = Request(turns=ask.turns, options=dict(ask.options), seed=ask.seed)
        with speaking(language):
            chunks = self._loaded.answer(request, given=ask.given, mark=ask.mark, watermark=ask.watermark, created=ask.created)
            with contextlib.closing(chunks):  # type: ignore[type-var]
                for chunk in chunks:
                    if id not in self._wanted:
                        return
                    self.say("chunk", id, chunk)

    def _call(self, method: str, arguments: Sequence[Any], language: str) -> Any:
        assert self._loaded is not None, "a model is loaded before it is asked"
        found = getattr(self._loaded.model, method, None) if method in CALLS else None
        if found is None:
            raise UsageError("{model} cannot be asked to {method}", model=self._loaded.card.name, method=method)
        with speaking(language):
            result = found(*arguments)
            return list(result) if isinstance(result, Iterator) else result


def _batches(folder: Path, device: str, threads: int, cache_bytes: int) -> int:
    """How many batches decode side by side, each in one thread: as many as there are cores, for a small model with room for each."""
    from miaobi.serve.pool.memory import fits_a_core

    cores = threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    room = cache_bytes // LEAST_BATCH
    return max(1, min(cores, MOST_BATCHES, room)) if fits_a_core(folder, device) else 1


class _Once:
    """Passes the baton on, however often it is told to."""

    def __init__(self, baton: threading.Semaphore) -> None:
        self._baton: threading.Semaphore | None = baton

    def release(self) -> None:
        """Let the next one begin."""
        baton, self._baton = self._baton, None
        if baton is not None:
            baton.release()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Let the next one begin for the length of the block, then wait for the baton again."""
        baton = self._baton
        if baton is None:
            yield
            return
        baton.release()
        try:
            yield
        finally:
            baton.acquire()


def _told(error: Exception) -> MiaobiError:
    """What the person reads; the traceback of what was not foreseen goes to the server's log."""
    if isinstance(error, MiaobiError):
        return error
    import traceback

    traceback.print_exception(error)
    if isinstance(error, MemoryError):
        return MiaobiError("the memory of this machine does not suffice for the request")
    return MiaobiError("unexpected: {kind}: {problem}", kind=type(error).__name__, problem=str(error)[:500])


def give_back() -> None:
    """Let go what is in cycles, and give what is free to the operating system: glibc keeps it otherwise."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """The memory that this process holds."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):  # not Linux: the estimate stays
        return 0


def main() -> None:
    """Serve until the pool goes away. What libraries print goes to standard error, so that no frame is broken."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the whole group; the pool tells when it is over
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    worker = Worker(out)
    threading.Thread(target=worker.work, daemon=True).start()
    with contextlib.suppress(OSError, ValueError):
        worker.listen(sys.stdin.buffer)
    os._exit(0)  # whatever is still being computed, nobody waits for it


if __name__ == "__main__":
    main()
