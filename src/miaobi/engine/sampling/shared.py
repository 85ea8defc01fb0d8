"""Many requests, one batch: continuous batching (Yu et al., 2022, Orca), without a loop that knows of it.

Each request has a thread and a `Seat`. Either its rows are a `Run`, whose tokens the batch itself chooses for all seats at once: then one
thread computes step after step, and wakes the others when there is something for them, which it does not wait for them to take. Or the
request runs a loop of its own (beams), for which the seat looks like a stepper; who is then not there in time sits a step out (`turns`).
Newcomers read their prompts between two steps, long ones a stretch at a time, and what was read before is not read again (`prefix`).
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from miaobi.core.errors import UsageError
from miaobi.engine.sampling import turns
from miaobi.engine.sampling.prefix import PrefixCache
from miaobi.engine.sampling.run import Event, Run, choose
from miaobi.engine.sampling.speculate import Verifier, can_verify
from miaobi.engine.sampling.stepper import Array, Joinable, Stepper

if TYPE_CHECKING:
    from miaobi.engine.sampling.stepper import Kept

T = TypeVar("T")

MOST_ROWS = 128
STRETCH = 256  # tokens of prompts that are read between two steps
MOST_AHEAD = 64  # events that a thread has not taken yet: then its rows wait for it


def seat(stepper: Stepper, *, rows: int, columns: int) -> Stepper:
    """A seat at this thread's table for at most so many rows of at most so many tokens; the stepper itself where it cannot be shared.

    Raises:
        UsageError: so much would never fit into the memory.
    """
    place = turns.place()
    if place is None or not isinstance(stepper, Joinable) or stepper.weights is None:
        return stepper
    taken = place.table.batch(stepper).seat(rows, min(columns, stepper.context), is_wanted=place.is_wanted)
    place.on_seat()
    return taken


def distinct(prompts: Sequence[Sequence[int]]) -> tuple[list[tuple[int, ...]], list[int] | None]:
    """Each prompt once, and which of them every row begins with; None where that is its own."""
    numbers: dict[tuple[int, ...], int] = {}
    copies = [numbers.setdefault(tuple(prompt), len(numbers)) for prompt in prompts]
    return list(numbers), None if len(numbers) == len(copies) else copies


def until_left(stepper: Stepper, events: Generator[T, None, None]) -> Generator[T, None, None]:
    """The events; when they end or nobody wants them any more, the seat is free."""
    if not isinstance(stepper, Seat):
        return events
    return _left(stepper, events)


def _left(taken: Seat, events: Generator[T, None, None]) -> Generator[T, None, None]:
    try:
        yield from events
    finally:
        taken.leave()


@dataclass(slots=True, eq=False)
class _Row:
    """A row of the real stepper: where it is, what it has read, and what of its prompt it has still to read."""

    place: int
    tokens: list[int]
    rest: list[int] = field(default_factory=list)
    logits: Array = None


class Seat:
    """A request's own stepper, as it seems. Only the thread of the request calls it."""

    def __init__(self, batch: Batch, rows: int, columns: int, is_wanted: Callable[[], bool]) -> None:
        self.vocab_size = batch.vocab_size
        self.is_wanted = is_wanted
        self.num_bytes = rows * columns * batch.column_bytes
        self.most_rows = rows
        self.admitted = False
        self.rows: list[_Row] = []
        self.order: list[int] | None = None  # a reorder that the batch has still to follow
        self.prompts: list[list[int]] = []  # wanted: to start with these
        self.tokens: Sequence[int] | None = None  # wanted: to append these
        self.result: Array = None
        self.error: Exception | None = None
        self.missed = 0
        self.run: Run | None = None
        self.copies: list[int] | None = None  # which of the prompts each row of the run begins with
        self.events: deque[Event] = deque()  # of the run, for the thread
        self.over = False  # no events come any more
        self._batch = batch

    def follow(self, run: Run) -> Generator[Event, None, None]:
        """What happens to the rows of this run, which the batch decodes. Closing the generator takes them out."""
        prompts, self.copies = distinct([row.history for row in run.rows])
        self._batch.check(max(map(len, prompts)))
        self.run, self.prompts = run, [list(prompt) for prompt in prompts]
        try:
            while True:
                while self.events:
                    yield self.events.popleft()
                if self.over and not self.events:
                    return
                self._batch.wait_for(self)
        finally:
            self.leave()

    def go_on(self, events: Sequence[Event]) -> None:
        """These happened to the run: for the thread to take, and to the rows that remain."""
        assert self.run is not None
        self.tokens = self.run.tokens if self.run.rows else None
        if self.run.rows and self.run.staying is not None:
            self.reorder(self.run.staying)
        self.events.extend(events)
        self.over = not self.run.rows

    def start(self, prompts: Sequence[Sequence[int]]) -> Array:
        """Read the prompts together with whatever the others do."""
        if self.rows:
            self.order = []  # a second start forgets the first
        self._batch.check(max(map(len, prompts)))
        self.prompts = [list(prompt) for prompt in prompts]
        return self._batch.wait_for(self)

    def step(self, tokens: Sequence[int]) -> Array:
        """Append a token to each row, in one step with the others."""
        self._batch.check(1 + max(len(row.tokens) for row in self.rows))
        self.tokens = tokens
        return self._batch.wait_for(self)

    def reorder(self, rows: Sequence[int]) -> None:
        """Keep, drop or copy rows; done with the next step."""
        self.order = list(rows) if self.order is None else [self.order[row] for row in rows]

    def leave(self) -> None:
        """Give the rows up."""
        self._batch.seats.discard(self)
        self._batch.leave(self)

    @property
    def wants(self) -> bool:
        """Whether it waits for something: a run for events, or a loop for logits."""
        if self.run is not None:
            return not (self.events or self.over or self.error)
        return bool(self.prompts) or self.tokens is not None

    @property
    def ready(self) -> bool:
        """A loop is when it waits; a run always, unless its thread is far behind."""
        if self.run is not None:
            return not (self.over or self.error) and len(self.events) < MOST_AHEAD
        return self.wants

    @property
    def thinks(self) -> bool:
        """A loop does between two steps."""
        return self.run is None and not self.wants

    def settle(self, result: Array = None, error: Exception | None = None) -> None:
        """What it waited for."""
        self.prompts, self.tokens, self.result, self.error = [], None, result, error


class Batch(turns.Round[Seat]):
    """The real stepper and those who sit around it."""

    def __init__(self, stepper: Joinable, *, rows: int, cache_bytes: int, prefix_bytes: int) -> None:
        super().__init__()
        self.vocab_size, self.context, self.column_bytes = stepper.vocab_size, stepper.context, stepper.column_bytes
        self.figures = dict.fromkeys(("steps", "tokens", "prompt_tokens", "known_tokens", "seats"), 0)
        self.seats: weakref.WeakSet[Seat] = weakref.WeakSet()  # taken and not left, whether or not they have begun
        self._stepper = stepper
        self._verifies = can_verify(stepper)
        self._most_rows, self._cache_bytes = rows, cache_bytes
        self._prefixes = PrefixCache(prefix_bytes)
        self._rows: list[_Row] = []

    def seat(self, rows: int, columns: int, *, is_wanted: Callable[[], bool] = lambda: True) -> Seat:
        """A new seat. It waits at its start until there is room.

        Raises:
            UsageError: there never will be.
        """
        taken = Seat(self, rows, columns, is_wanted)
        if rows > self._most_rows or taken.num_bytes > self._cache_bytes:
            raise UsageError(
                "{rows} texts of up to {columns} tokens take {wanted} MB at once; {limit} MB and {most} texts are allowed. "
                "Ask for fewer, or for shorter ones",
                rows=rows,
                columns=columns,
                wanted=taken.num_bytes >> 20,
                limit=self._cache_bytes >> 20,
                most=self._most_rows,
            )
        self.seats.add(taken)
        return taken

    def check(self, length: int) -> None:
        """Refuse a text that would make the step fail for all.

        Raises:
            UsageError: it is longer than the model's context.
        """
        if length > self.context:
            raise UsageError(
                "a text of {length} tokens is longer than the model's context of {context}", length=length, context=self.context
            )

    # ---------------------------------------------------------------- a turn

    def _compute(self, here: Sequence[Seat], seated: Sequence[Seat], left: Sequence[Seat]) -> None:
        """Move the rows, read some of the new prompts, and make one step of the others."""
        self._arrange(seated, left)
        stepping = [seat for seat in here if seat.tokens is not None]
        self._read([seat for seat in here if seat.prompts])
        if len(stepping) == len(self._rows) == 1 and self._verifies and stepping[0].run is not None and stepping[0].run.draft:
            self._verify(stepping[0], stepping[0].run)
        elif stepping:
            self._step(stepping)

    def _admit(self) -> None:
        """Let those in who fit, in their order: nobody is passed by for being large."""
        free = self._cache_bytes - sum(seat.num_bytes for seat in self._guests if seat.admitted)
        rows = self._most_rows - sum(seat.most_rows for seat in self._guests if seat.admitted)
        for seat in self._guests:
            if seat.admitted or not seat.wants:
                continue
            if seat.num_bytes > free or seat.most_rows > rows:
                return
            seat.admitted = True
            free, rows = free - seat.num_bytes, rows - seat.most_rows
            self.figures["seats"] += 1

    def _fail(self, here: Sequence[Seat], error: Exception) -> None:
        """The stepper may have stopped anywhere: all that it held is lost, and everybody hears why."""
        self._stepper = self._stepper.fresh()
        self._rows, self._left = [], []
        for seat in self._guests:
            if seat.admitted:
                seat.rows, seat.order = [], None
                if seat.wants:
                    seat.settle(error=error)
                else:
                    seat.error = error

    def _end(self, left: Sequence[Seat]) -> None:
        """Give the memory back."""
        self._arrange((), left)

    def _arrange(self, seated: Sequence[Seat], left: Sequence[Seat]) -> None:
        """Take out the rows of those who left, and follow the others' reorders, in one move."""
        for seat in left:
            self._remember(seat)
        staying: list[_Row] = []
        for seat in seated:
            if seat.order is not None and seat.ready:  # a loop waits then, so nobody writes the order now
                seat.rows = _copied(seat.rows, seat.order)
                seat.order = None
            staying += [row for row in seat.rows if row.place >= 0]
        order: list[_Row | None] = [None] * len(staying)
        moving: list[_Row] = []
        for row in staying:
            if row.place < len(order) and order[row.place] is None:
                order[row.place] = row
            else:
                moving.append(row)
        arranged = [row if row is not None else moving.pop() for row in order]
        if len(arranged) != len(self._rows) or any(row.place != place for place, row in enumerate(arranged)):
            self._stepper.reorder([row.place for row in arranged])
        for place, row in enumerate(arranged):
            row.place = place
        self._rows = arranged

    def _remember(self, seat: Seat) -> None:
        """Keep what a row has read for requests that begin alike. Nobody goes on from a quiet run, of whose texts one is chosen."""
        if seat.run is not None and seat.run.quiet:
            return
        for row in seat.rows[:1]:
            if not row.rest and 0 <= row.place < len(self._rows) and self._prefixes.wants(row.tokens):
                self._prefixes.add(row.tokens, self._stepper.keep(row.place))

    def _read(self, here: Sequence[Seat]) -> None:
        """A stretch of the prompts of newcomers."""
        room = STRETCH
        for seat in here:
            if not seat.rows:
                seat.rows = [self._begin(prompt) for prompt in seat.prompts]
        for group in _alike([row for seat in here for row in seat.rows if row.place < 0]):
            if room > 0:
                room -= self._join(group[: max(1, room // len(group[0].rest[:STRETCH]))])
        for row in [row for seat in here for row in seat.rows if row.rest and row.place >= 0]:
            if room > 0:
                room -= self._extend(row, min(room, STRETCH))
        for seat in here:
            if all(row.place >= 0 and not row.rest for row in seat.rows):
                logits = _stacked([row.logits for row in seat.rows])
                for row in seat.rows:
                    row.logits = None
                self._have_read(seat, logits)

    def _have_read(self, seat: Seat, logits: Array) -> None:
        """All prompts of a seat are read: these logits follow them."""
        if seat.run is None:
            seat.settle(logits)
            return
        seat.prompts = []
        if seat.copies is not None:
            seat.order, logits = seat.copies, logits[seat.copies]
        self._choose(logits, [(seat, seat.run)], [range(len(seat.run.rows))])

    def _begin(self, prompt: list[int]) -> _Row:
        """A row for a prompt: with what is known of it, or none yet."""
        found: tuple[Kept, int] | None = self._prefixes.find(prompt)
        if found is None:
            return _Row(place=-1, tokens=[], rest=prompt)
        kept, length = found
        self._stepper.restore(kept, length)
        row = _Row(place=len(self._rows), tokens=prompt[:length], rest=prompt[length:])
        self._rows.append(row)
        self.figures["known_tokens"] += length
        return row

    def _join(self, rows: Sequence[_Row]) -> int:
        """Read the beginnings of new prompts together; how many tokens that were."""
        parts = [row.rest[:STRETCH] for row in rows]
        logits = self._stepper.join(parts)
        for number, (row, part) in enumerate(zip(rows, parts)):
            row.place, row.tokens, row.rest = len(self._rows), list(part), row.rest[STRETCH:]
            self._rows.append(row)
            row.logits = None if row.rest else _copy(logits, [number])
        count = sum(map(len, parts))
        self.figures["prompt_tokens"] += count
        return count

    def _extend(self, row: _Row, most: int) -> int:
        """Read a stretch more of a prompt."""
        part, row.rest = row.rest[:most], row.rest[most:]
        logits = self._stepper.extend(row.place, part)
        row.tokens += part
        row.logits = None if row.rest else _copy(logits, [0])
        self.figures["prompt_tokens"] += len(part)
        return len(part)

    def _step(self, here: Sequence[Seat]) -> None:
        """One token for each row of those who want one."""
        tokens: list[int | None] = [None] * len(self._rows)
        for seat in here:
            for row, token in zip(seat.rows, seat.tokens or (), strict=True):
                tokens[row.place] = token
                row.tokens.append(token)
        logits = self._stepper.step_some(tokens)
        self.figures["steps"] += 1
        self.figures["tokens"] += sum(len(seat.rows) for seat in here)
        for seat in here:
            if seat.run is None:
                seat.settle(_copy(logits, [row.place for row in seat.rows]))
        running = [(seat, seat.run) for seat in here if seat.run is not None]
        self._choose(logits, running, [[row.place for row in seat.rows] for seat, _ in running])

    def _choose(self, logits: Array, running: Sequence[tuple[Seat, Run]], places: Sequence[Sequence[int]]) -> None:
        """The next tokens of runs, whose logits stand at these places."""
        for (seat, run), chosen in zip(running, choose(logits, [run for _, run in running], places)):
            try:
                if isinstance(chosen, Exception):
                    raise chosen
                seat.go_on(run.take(chosen))
                if run.rows:
                    self.check(1 + max(len(row.tokens) for row in seat.rows))
            except Exception as error:  # of a constraint, or of the request: not of the others
                seat.settle(error=error)

    def _verify(self, seat: Seat, run: Run) -> None:
        """The token of the only row and guesses of what follows it, in one pass."""
        (row,), (token,) = seat.rows, run.tokens
        guesses = run.guess()[: self.context - len(row.tokens) - 1]
        assert isinstance(self._stepper, Verifier), "runs guess over such a stepper only"
        logits = self._stepper.verify([token, *guesses])
        right = 0
        try:
            events, right = run.check(logits, guesses)
        except Exception as error:
            seat.settle(error=error)
        else:
            seat.go_on(events)
        if right < len(guesses):
            self._stepper.forget(len(guesses) - right)
        row.tokens += [token, *guesses[:right]]
        self.figures["steps"] += 1
        self.figures["tokens"] += 1 + right


def _copied(rows: Sequence[_Row], order: Sequence[int]) -> list[_Row]:
    """The rows in this order; a row that comes twice is copied."""
    used: set[int] = set()
    result: list[_Row] = []
    for source in order:
        row = rows[source]
        result.append(_Row(place=row.place, tokens=list(row.tokens)) if source in used else row)
        used.add(source)
    return result


def _alike(rows: Sequence[_Row]) -> list[list[_Row]]:
    """Groups of prompts of about one length, so that little is computed for padding."""
    groups: dict[int, list[_Row]] = {}
    for row in rows:
        groups.setdefault(min(len(row.rest), STRETCH).bit_length(), []).append(row)
    return list(groups.values())


def _copy(logits: Array, rows: list[int]) -> Array:
    """Rows of the logits, which the next step does not overwrite."""
    return logits[rows]


def _stacked(logits: Sequence[Any]) -> Array:
    """Logits (1, V) one below the other."""
    if len(logits) == 1:
        return logits[0]
    if isinstance(logits[0], np.ndarray):
        return np.concatenate(logits)
    from array_api_compat import array_namespace

    return array_namespace(logits[0]).concat(logits)
