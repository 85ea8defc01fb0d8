"""The rows of one request on their way: what they have so far, how their next tokens are chosen, and what happens when they have them.

A run computes no logits and belongs to no loop: `tokens` drives one over a stepper of its own, `shared` many over one batch. The rows of
many runs choose in one call where their options agree; a row draws from its own generator, so nobody's tokens depend on who else is there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from miaobi.engine.sampling import choice, processors
from miaobi.engine.sampling.constraint import Constraint
from miaobi.engine.sampling.options import Decoding
from miaobi.engine.sampling.speculate import Lookup
from miaobi.engine.sampling.stepper import Array

Reason = Literal["stop", "length"]
Stop = Callable[[Sequence[int]], bool]
_ELSEWHERE = {"n", "max_tokens", "stop", "beams", "length_penalty", "early_stopping", "json_schema", "regex", "logprobs", "draft"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """The next token of a row. `logprob` is its natural-log probability by the model itself, before any processor; `top` the likeliest."""

    row: int
    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A row is complete: all its tokens without the end token, and their summed log-probability, the end token's included."""

    row: int
    reason: Reason
    tokens: tuple[int, ...]
    logprob: float


Event = Token | Finished
Chosen = tuple[int, float, tuple[tuple[int, float], ...]]  # a token, its log-probability, and the likeliest in its place


@dataclass(slots=True)
class Row:
    """One row. `history` is the prompt and what was generated."""

    index: int
    copy: int
    history: list[int]
    rng: np.random.Generator
    constraint: Constraint[Any] | None
    state: Any
    generated: list[int] = field(default_factory=list)
    logprob: float = 0.0

    @property
    def mask(self) -> np.ndarray | None:
        """What its constraint allows next."""
        return None if self.constraint is None else self.constraint.allowed(self.state)


class Run:
    """All rows of a request. `alternatives` likeliest tokens are told with each; a single row guesses up to `draft` tokens ahead.

    A `quiet` one tells of complete rows only: nobody is woken at each token who waits for the last.
    """

    def __init__(
        self,
        rows: list[Row],
        options: Decoding,
        *,
        end_tokens: frozenset[int],
        stop: Stop | None,
        alternatives: int = 0,
        draft: int = 0,
        quiet: bool = False,
    ) -> None:
        self.rows, self.options, self.end_tokens, self.alternatives, self.quiet = rows, options, end_tokens, alternatives, quiet
        self.staying: list[int] | None = None  # of the rows before the latest tokens, when some of them are complete
        self.draft = draft if len(rows) == 1 else 0
        self._stop = stop
        self._lookup = Lookup(rows[0].history) if self.draft else None
        self._alike: Hashable = (end_tokens, alternatives, *_choices(options))

    @property
    def alike(self) -> Hashable:
        """Runs in which this is equal may choose together."""
        return (self._alike, self._ranks)

    @property
    def tokens(self) -> list[int]:
        """The latest token of every row."""
        return [row.generated[-1] for row in self.rows]

    @property
    def _ranks(self) -> bool:
        """Whether the copies of a prompt begin with its first, second, … likeliest token now."""
        return self.options.temperature == 0 and self.options.n > 1 and not self.rows[0].generated

    def choose(self, logits: Array, rows: Sequence[Row]) -> list[Chosen]:
        """What follows in these rows, which need not be all of this run's, nor only its own.

        Raises:
            MiaobiError: the logits (rows, V) hold NaN or infinity, or processors and constraints leave no token.
        """
        raw, options = choice.single_precision(logits), self.options
        processed = processors.process(
            raw, [row.history for row in rows], [row.generated for row in rows], options, end_tokens=self.end_tokens
        )
        processed = processors.mask(processed, [row.mask for row in rows])
        choice.check(raw, processed)
        if options.temperature > 0:
            tokens = choice.draw(processed, options, [row.rng.random() for row in rows])
        elif self._ranks:
            tokens = choice.ranked(processed, [row.copy for row in rows])
        else:
            tokens = choice.likeliest(processed)
        top = choice.top_log_probabilities(raw, self.alternatives) if self.alternatives else [()] * len(rows)
        return list(zip(tokens, choice.log_probabilities(raw, tokens), top))

    def take(self, chosen: Sequence[Chosen]) -> list[Event]:
        """Append a token to every row. Those that are complete leave: then `staying` says which ones remain."""
        events: list[Event] = []
        staying: list[int] = []
        for position, (row, (token, logprob, top)) in enumerate(zip(self.rows, chosen, strict=True)):
            row.logprob += logprob
            reason = self._append(row, token)
            if token not in self.end_tokens and not self.quiet:
                events.append(Token(row=row.index, token=token, logprob=logprob, top=top))
            if reason is None:
                staying.append(position)
            else:
                events.append(Finished(row=row.index, reason=reason, tokens=tuple(row.generated), logprob=row.logprob))
        self.staying = staying if len(staying) < len(self.rows) else None
        if self.staying is not None:
            self.rows = [self.rows[position] for position in staying]
        return events

    def guess(self) -> list[int]:
        """What may follow the latest token of the only row."""
        assert self._lookup is not None, "a run that guesses nothing is not asked to"
        return self._lookup.guess(min(self.draft, self.options.max_tokens - len(self.rows[0].generated) - 1))

    def check(self, logits: Array, guesses: Sequence[int]) -> tuple[list[Event], int]:
        """Draw from logits (1 + guesses, V), until a draw is another than its guess; what happened, and how many guesses were right."""
        events: list[Event] = []
        for place in range(len(guesses) + 1):
            chosen = self.choose(logits[place : place + 1], self.rows)
            events += self.take(chosen)
            if not self.rows or guesses[place : place + 1] != [chosen[0][0]]:
                break
        return events, place

    def _append(self, row: Row, token: int) -> Reason | None:
        """The reason if the row is complete with this token."""
        if token in self.end_tokens:
            return "stop"
        row.generated.append(token)
        row.history.append(token)
        if self._lookup is not None:
            self._lookup.push(token)
        if row.constraint is not None:
            row.state = row.constraint.advance(row.state, token)
        if self._stop is not None and self._stop(row.generated):
            return "stop"
        return "length" if len(row.generated) >= self.options.max_tokens else None


def choose(logits: Array, runs: Sequence[Run], places: Sequence[Sequence[int]]) -> list[list[Chosen] | Exception]:
    """What follows in the rows of many runs, whose logits stand at `places`; what goes wrong in one run is that run's own."""
    groups: dict[Hashable, list[int]] = {}
    for number, run in enumerate(runs):
        groups.setdefault(run.alike, []).append(number)
    results: list[list[Chosen] | Exception] = [[]] * len(runs)
    for group in groups.values():
        try:
            rows = [row for number in group for row in runs[number].rows]
            chosen = runs[group[0]].choose(_taken(logits, [place for number in group for place in places[number]]), rows)
        except Exception as error:
            if len(group) == 1:
                results[group[0]] = error
                continue
            for number in group:  # nobody has drawn yet: the numbers come when all else is well
                results[number] = choose(logits, [runs[number]], [places[number]])[0]
            continue
        first = 0
        for number in group:
            results[number] = chosen[first : (first := first + len(runs[number].rows))]
    return results


def _choices(options: Decoding) -> tuple[Hashable, ...]:
    """The options on which a choice depends."""
    named = {name: getattr(options, name) for name in Decoding.model_fields if name not in _ELSEWHERE}
    return tuple(tuple(value.items()) if isinstance(value, dict) else value for value in named.values())


def _taken(logits: Array, places: list[int]) -> Array:
    """These rows of the logits, without a copy where they are the first ones."""
    return logits[: len(places)] if places == list(range(len(places))) else logits[places]
