"""What one process shares among its requests: batches for each set of weights that decodes, a circle for each network that is called.

A batch computes in one thread at a time. Where a step of many rows takes as long a row as one of few, because the weights fit into a core's
caches, two smaller batches of one thread each keep two cores at work: one computes while the other chooses tokens, in Python.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator

from miaobi.engine.sampling import turns
from miaobi.engine.sampling.shared import MOST_ROWS, Batch
from miaobi.engine.sampling.stepper import Joinable
from miaobi.engine.sampling.together import Circle

KNOWN_TEXTS = 8  # of the longest kind, whose beginnings are kept at most


class Table:
    """The batches and circles of one process. `share` puts the requests of a thread at it."""

    def __init__(self, *, rows: int = MOST_ROWS, cache_bytes: int = 1 << 30, prefix_bytes: int = 64 << 20, batches: int = 1) -> None:
        self.rows, self.cache_bytes, self.prefix_bytes, self.batches = rows, cache_bytes, prefix_bytes, batches
        self._batches: dict[Hashable, list[Batch]] = {}
        self._circles: dict[Hashable, Circle] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def share(
        self,
        *,
        on_seat: Callable[[], None] = lambda: None,
        is_wanted: Callable[[], bool] = lambda: True,
        aside: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> Iterator[None]:
        """Let what is computed in this thread be computed together with that of others; `on_seat` hears when it begins to be.

        Who waits for its turn asks now and then whether it `is_wanted`, and raises `Unwanted` when it is not. What others need not wait
        for happens within `aside`.
        """
        with turns.placed(turns.Place(self, on_seat, is_wanted, aside)):
            yield

    def batch(self, stepper: Joinable) -> Batch:
        """The batch of these weights with the fewest seats; the first of equals, where what was read is known."""
        with self._lock:
            found = self._batches.get(stepper.weights)
            if found is None:
                found = self._batches[stepper.weights] = [self._new(stepper) for _ in range(self.batches)]
            return min(found, key=lambda batch: len(batch.seats))

    def _new(self, stepper: Joinable) -> Batch:
        known = min(self.prefix_bytes, KNOWN_TEXTS * stepper.context * stepper.column_bytes)
        return Batch(stepper.fresh(), rows=self.rows, cache_bytes=self.cache_bytes // self.batches, prefix_bytes=known // self.batches)

    def circle(self, key: Hashable) -> Circle:
        """The circle of this network and these shapes."""
        with self._lock:
            return self._circles.setdefault(key, Circle())

    def figures(self) -> dict[str, int]:
        """What was done: seats taken, steps, tokens, prompt tokens read and those known already; calls of networks, and their rows."""
        counted = [batch.figures for batches in list(self._batches.values()) for batch in batches]
        counted += [circle.figures for circle in list(self._circles.values())]
        totals: dict[str, int] = {}
        for figures in counted:
            for name, value in figures.items():
                totals[name] = totals.get(name, 0) + value
        return totals
