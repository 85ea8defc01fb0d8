"""Calls of one network by several requests, put into one where their shapes agree: pictures at different steps share an evaluation.

The caller vouches that a row's result does not depend on the other rows.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from miaobi.engine.sampling import turns
from miaobi.engine.sampling.stepper import Array

MOST_ROWS = 16  # of one call
MOST_GUESTS = 8  # requests side by side, each of which holds its pictures

Feeds = Mapping[str, Array]


def together(network: Hashable, compute: Callable[[Feeds], Array], feeds: Feeds) -> Array:
    """`compute(feeds)` of arrays (B, ...) by name, in one call with other requests to the same network.

    Where nothing is shared it is called at once.
    """
    place = turns.place()
    if place is None:
        return compute(feeds)
    shapes = tuple((name, tuple(array.shape[1:]), str(array.dtype)) for name, array in sorted(feeds.items()))
    circle = place.table.circle((network, shapes))
    caller = circle.caller(place)
    caller.feeds, caller.compute = feeds, compute
    return circle.wait_for(caller)


class Caller:
    """A request that calls a network again and again."""

    def __init__(self, is_wanted: Callable[[], bool]) -> None:
        self.is_wanted = is_wanted
        self.admitted = False
        self.missed = 0
        self.error: Exception | None = None
        self.result: Array = None
        self.feeds: Feeds | None = None
        self.compute: Callable[[Feeds], Array] | None = None

    @property
    def wants(self) -> bool:
        """Whether it waits for a result."""
        return self.feeds is not None

    @property
    def ready(self) -> bool:
        """Whenever it wants something."""
        return self.wants

    @property
    def thinks(self) -> bool:
        """Between two calls."""
        return not self.wants

    def settle(self, result: Array = None, error: Exception | None = None) -> None:
        """The result, or what went wrong."""
        self.feeds, self.result, self.error = None, result, error

    @property
    def rows(self) -> int:
        """How many rows it wants computed."""
        return 0 if self.feeds is None else int(next(iter(self.feeds.values())).shape[0])


class Circle(turns.Round[Caller]):
    """The requests that call one network with arrays of the same shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.figures = {"calls": 0, "rows": 0}
        self._callers: dict[int, Caller] = {}

    def caller(self, place: turns.Place) -> Caller:
        """The caller of this request; the next request may begin once this one is among the others."""
        found = self._callers.get(id(place))
        if found is not None:
            return found
        found = self._callers[id(place)] = Caller(place.is_wanted)
        place.leaving.append(lambda: self._forget(place))
        if len(self._callers) < MOST_GUESTS:
            place.on_seat()
        return found

    def _forget(self, place: turns.Place) -> None:
        self.leave(self._callers.pop(id(place)))

    def _compute(self, here: Sequence[Caller], seated: Sequence[Caller], left: Sequence[Caller]) -> None:
        """As many as fit into a call, until all have theirs."""
        waiting = list(here)
        while waiting:
            group = [waiting.pop(0)]
            while waiting and sum(caller.rows for caller in group) + waiting[0].rows <= MOST_ROWS:
                group.append(waiting.pop(0))
            self._call(group)

    def _call(self, group: Sequence[Caller]) -> None:
        """One call; each caller gets its rows of the result."""
        sizes = [caller.rows for caller in group]
        feeds: list[Any] = [caller.feeds for caller in group]
        compute = group[0].compute
        assert compute is not None, "a caller says what is to be computed"
        result = compute(feeds[0] if len(group) == 1 else {name: _joined([feed[name] for feed in feeds]) for name in feeds[0]})
        self.figures["calls"] += 1
        self.figures["rows"] += sum(sizes)
        first = 0
        for caller, size in zip(group, sizes):
            caller.settle(result[first : first + size])
            first += size


def _joined(arrays: Sequence[Array]) -> Array:
    """Arrays (B, ...) one below the other."""
    from array_api_compat import array_namespace

    return array_namespace(arrays[0]).concat(arrays)
