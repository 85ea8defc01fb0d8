"""Threads that want the same kind of thing computed, and get it together: the last one to come computes for all and wakes the others.

So nobody has to serve them, and who is alone pays for no change of threads. Who is not there in time is not waited for long, and after
a few times not at all until he comes back. `shared` decodes texts so, and `together` calls networks.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from miaobi.engine.sampling.table import Table

LEAST_PATIENCE, MOST_PATIENCE = 0.001, 0.05  # seconds that a turn waits for those who are not there yet
ABSENCES = 3  # so many turns missed in a row, and nobody waits for the guest until it comes back


class Unwanted(Exception):
    """Nobody waits any more for what was to be computed."""


class Guest(Protocol):
    """A request at a round. Only its own thread calls it; the others look at it while that thread waits."""

    admitted: bool  # there is room for it
    missed: int  # turns in a row
    error: Exception | None
    result: Any
    is_wanted: Callable[[], bool]

    @property
    def wants(self) -> bool:
        """Whether its thread waits for something."""
        ...

    @property
    def ready(self) -> bool:
        """Whether a turn can do something for it."""
        ...

    @property
    def thinks(self) -> bool:
        """Whether it is worth while to wait until it is ready."""
        ...

    def settle(self, result: Any = None, error: Exception | None = None) -> None:
        """What it waited for."""
        ...


G = TypeVar("G", bound=Guest)


class Round(Generic[G]):
    """Guests who take turns together. Whoever computes has `_busy`; everything else is under the lock.

    Each who waits has a bell of its own: only those are woken who have what they want, and one who takes the next turn.
    """

    def __init__(self) -> None:
        self._guests: list[G] = []
        self._left: list[G] = []  # since the last turn
        self._lock = threading.Lock()
        self._bells: dict[int, tuple[G, threading.Condition]] = {}  # of those who wait now
        self._busy = False
        self._gathering = 0.0  # since when someone waits for the others
        self._patience = LEAST_PATIENCE

    def wait_for(self, guest: G) -> Any:
        """Take turns with the others until the guest has what it wants."""
        bell = threading.Condition(self._lock)
        with self._lock:
            if guest not in self._guests:
                self._guests.append(guest)
            if guest.error is not None:
                guest.settle(error=guest.error)
            self._gathering = self._gathering or time.monotonic()
            guest.missed = 0
            self._bells[id(guest)] = guest, bell
            try:
                while guest.wants:
                    if self._busy:
                        bell.wait()
                    elif not guest.is_wanted():
                        guest.settle(error=Unwanted())
                    elif (patience := self._left_to_wait()) > 0:
                        bell.wait(patience)
                    elif not self._turn():
                        bell.wait(MOST_PATIENCE)
            finally:
                del self._bells[id(guest)]
                self._pass_on()
        error, guest.error = guest.error, None
        if error is not None:
            raise error
        return guest.result

    def leave(self, guest: G) -> None:
        """One guest less."""
        with self._lock:
            if guest not in self._guests:
                return
            self._guests.remove(guest)
            self._left.append(guest)
            self._clear()
            self._pass_on()

    def _left_to_wait(self) -> float:
        """For how long those who are not there yet are waited for, in seconds."""
        thinking = any(guest.thinks and guest.missed < ABSENCES for guest in self._guests if guest.admitted)
        return self._gathering + self._patience - time.monotonic() if thinking else 0.0

    def _turn(self) -> bool:
        """Compute once for everybody who is ready; whether anybody was.

        The lock is open meanwhile: others come and leave, and are seen in the next turn.
        """
        self._admit()
        seated = [guest for guest in self._guests if guest.admitted]
        here = [guest for guest in seated if guest.ready]
        for guest in seated:
            guest.missed += guest.thinks
        if not here:  # all wait for room, which those have who think
            return False
        left, self._left, self._busy = self._left, [], True
        self._lock.release()
        error: Exception | None = None
        try:
            began = time.monotonic()
            self._compute(here, seated, left)
            self._patience = min(MOST_PATIENCE, max(LEAST_PATIENCE, time.monotonic() - began))
        except Exception as problem:  # whatever it is, it belongs to those who asked
            error = problem
        finally:
            self._lock.acquire()
            self._busy = False
            self._gathering = time.monotonic() if any(guest.wants for guest in self._guests) else 0.0
        if error is not None:
            self._fail(here, error)
        self._clear()
        self._wake()
        return True

    def _wake(self) -> None:
        """Ring for those who have what they want, and for those whom nobody wants any more."""
        for guest, bell in self._bells.values():
            if guest.wants and not guest.is_wanted():
                guest.settle(error=Unwanted())
            if not guest.wants:
                bell.notify()

    def _pass_on(self) -> None:
        """Ring for one who takes the next turn."""
        if self._busy:
            return
        for guest, bell in self._bells.values():
            if guest.wants:
                bell.notify()
                return

    def _clear(self) -> None:
        """When nobody is there any more."""
        if not self._guests and not self._busy:
            left, self._left = self._left, []
            self._end(left)

    # what a round is for

    def _admit(self) -> None:
        """Let those in for whom there is room."""
        for guest in self._guests:
            guest.admitted = True

    def _compute(self, here: Sequence[G], seated: Sequence[G], left: Sequence[G]) -> None:
        """Do what can be done for those `here`, of all who are `seated`; some have `left` since the last turn. Without the lock."""
        raise NotImplementedError

    def _fail(self, here: Sequence[G], error: Exception) -> None:
        """The computation failed."""
        for guest in here:
            if guest.wants:
                guest.settle(error=error)

    def _end(self, left: Sequence[G]) -> None:
        """The last ones left."""


@dataclass(slots=True)
class Place:
    """What a request's thread brings along; `leaving` is called when the request ends."""

    table: Table
    on_seat: Callable[[], None]
    is_wanted: Callable[[], bool]
    aside: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    leaving: list[Callable[[], None]] = field(default_factory=list)


_PLACE: ContextVar[Place | None] = ContextVar("place", default=None)


def place() -> Place | None:
    """This thread's place at a table; None where nothing is shared."""
    return _PLACE.get()


def aside() -> contextlib.AbstractContextManager[None]:
    """Let others begin for the length of the block: what happens in it needs neither the model nor much of the machine."""
    taken = place()
    return taken.aside() if taken is not None else contextlib.nullcontext()


@contextlib.contextmanager
def placed(taken: Place) -> Iterator[None]:
    """Have this place for the length of the block."""
    token = _PLACE.set(taken)
    try:
        yield
    finally:
        _PLACE.reset(token)
        for leave in taken.leaving:
            leave()
