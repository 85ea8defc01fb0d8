"""A call that reports its steps as an iterator that can be closed: the work runs in a thread and ends at its next step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, Generic, TypeVar

T = TypeVar("T")
S = TypeVar("S")
Report = Callable[[S], None]


class Stopped(Exception):
    """Raised inside the work when nobody listens any more."""


class Watched(Generic[S, T]):
    """Iterate over what `work` reports; afterwards `result` is what it returned. An error of the work is raised in the iteration."""

    result: T

    def __init__(self, work: Callable[[Report[S]], T]) -> None:
        self._work = work

    def __iter__(self) -> Iterator[S]:
        queue: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        closed = Event()

        def report(value: S) -> None:
            if closed.is_set():
                raise Stopped
            queue.put(("step", value))

        def run() -> None:
            try:
                queue.put(("result", self._work(report)))
            except BaseException as error:
                queue.put(("error", error))

        thread = Thread(target=run, daemon=True)
        thread.start()
        try:
            while True:
                kind, value = queue.get()
                if kind == "error":
                    raise value
                if kind == "result":
                    self.result = value
                    return
                yield value
        finally:
            closed.set()
            thread.join()
