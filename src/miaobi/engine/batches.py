"""Which records make which batch: a pure function of (seed, epoch), so a resumed run sees exactly the batches that it would have seen.

`shuffled` takes a fresh permutation each epoch; `bucketed` sorts by length inside large shuffled pools, which keeps padding small without
fixing the order; `packed` fills each batch up to `batch` rows of `context` model units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

POOL = 64  # batches sorted together: large enough for little padding, small enough to stay shuffled

Batching = Literal["shuffled", "bucketed", "packed"]


def epoch_batches(
    lengths: NDArray[np.int64], batch: int, *, batching: Batching, seed: int, epoch: int, context: int = 0
) -> list[NDArray[np.int64]]:
    """The batches of one epoch, as record indices.

    Args:
        lengths: (N,) length of each record in model units.
        batch: records a batch; rows a batch when packed.
        context: units a row holds (packed only).

    A last batch smaller than `batch` is dropped unless it is the only one: every step then weighs about the same.
    """
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(lengths))
    if batching == "packed":
        return _packed(order, np.minimum(lengths, context), batch * context)
    if batching == "bucketed":
        order = _sorted_pools(order, lengths, batch * POOL)
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    if len(batches) > 1 and len(batches[-1]) < batch:
        batches.pop()
    if batching == "bucketed":
        batches = [batches[index] for index in rng.permutation(len(batches))]
    return batches


def micro_batches(batch: NDArray[np.int64], micro: int | None) -> list[NDArray[np.int64]]:
    """A batch cut into parts that go through the network at once."""
    size = micro or len(batch)
    return [batch[start : start + size] for start in range(0, len(batch), size)]


def _sorted_pools(order: NDArray[np.int64], lengths: NDArray[np.int64], pool: int) -> NDArray[np.int64]:
    parts = [order[start : start + pool] for start in range(0, len(order), pool)]
    return np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts])


def _packed(order: NDArray[np.int64], lengths: NDArray[np.int64], capacity: int) -> list[NDArray[np.int64]]:
    """Cut the order wherever the running length passes a whole batch."""
    filled = np.cumsum(lengths[order])
    cuts: list[int] = []
    start = 0
    while start < len(order):
        base = filled[start - 1] if start else 0
        end = max(int(np.searchsorted(filled, base + capacity, side="right")), start + 1)
        cuts.append(end)
        start = end
    return list(np.split(order, cuts[:-1]))


class Batches:
    """The endless sequence of batches, by position: `at(step)` is the same whenever and wherever it is asked."""

    def __init__(self, lengths: Sequence[int] | NDArray[np.int64], batch: int, *, batching: Batching, seed: int, context: int = 0) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.batch, self.batching, self.seed, self.context = batch, batching, seed, context
        self._first = [0]  # the step at which each epoch begins
        self._epoch, self._batches = 0, self._make(0)

    def at(self, step: int) -> tuple[int, NDArray[np.int64]]:
        """(epoch, record indices) of step number `step`, counted from 0."""
        while step >= self._first[self._epoch] + len(self._batches):
            self._first = [*self._first[: self._epoch + 1], self._first[self._epoch] + len(self._batches)]
            self._epoch += 1
            self._batches = self._make(self._epoch)
        assert step >= self._first[self._epoch], "steps are asked in rising order"
        return self._epoch, self._batches[step - self._first[self._epoch]]

    def _make(self, epoch: int) -> list[NDArray[np.int64]]:
        return epoch_batches(self.lengths, self.batch, batching=self.batching, seed=self.seed, epoch=epoch, context=self.context)
