"""The decoding loop: prompts become tokens, one row each, over any stepper; streaming, batched and reproducible.

A row draws from its own random generator, so its tokens depend on its seed and never on what else is in the batch. Finished rows leave
the batch at once. Identical prompts (and the `n` copies of one) are read once and copied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from miaobi.core.errors import MiaobiError
from miaobi.engine.sampling import choice, processors, shared
from miaobi.engine.sampling.beam import BeamRules, Hypothesis, Search, advance, best
from miaobi.engine.sampling.constraint import Constraint
from miaobi.engine.sampling.options import Decoding
from miaobi.engine.sampling.speculate import Lookup, Verifier
from miaobi.engine.sampling.stepper import Array, Stepper

Reason = Literal["stop", "length"]
Stop = Callable[[Sequence[int]], bool]


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


def decode(
    stepper: Stepper,
    prompts: Sequence[Sequence[int]],
    options: Decoding,
    *,
    end_tokens: Collection[int],
    seeds: Sequence[int],
    constraints: Sequence[Constraint[Any] | None] | None = None,
    stop: Stop | None = None,
    alternatives: int = 0,
    draft: int = 0,
) -> Generator[Event, None, None]:
    """Continue every prompt `options.n` times; row `i * n + j` is copy j of prompt i.

    `seeds` and `constraints` have one entry for each row. `stop` sees a row's generated tokens after each one and ends the row when it
    returns True. At temperature 0 the copies of a prompt begin with its first, second, … likeliest token and go on greedily (Wang & Zhou,
    2024, arXiv:2402.10200), so they differ. With beams above 1 the copies are the n best hypotheses, best first, and the seeds are unused.
    `alternatives` is how many of the likeliest tokens each event tells (none in a beam search). A single row over a `Verifier` guesses
    `draft` tokens ahead (`speculate`), which changes nothing but the time.

    Raises:
        MiaobiError: the logits hold NaN or infinity, or processors and constraints leave no token.
    """
    num_rows = len(prompts) * options.n
    assert len(seeds) == num_rows, "one seed for each row"
    assert constraints is None or len(constraints) == num_rows, "one constraint for each row"
    assert all(len(prompt) for prompt in prompts), "a prompt has at least one token"
    if any(token >= stepper.vocab_size for token in options.logit_bias):
        raise MiaobiError(
            "logit_bias names token {token}; the last one is {last}", token=max(options.logit_bias), last=stepper.vocab_size - 1
        )
    num_seated = len(prompts) * max(options.n, options.beams)
    stepper = shared.seat(stepper, rows=num_seated, columns=max(map(len, prompts), default=0) + options.max_tokens)
    if options.beams > 1:
        rules = BeamRules(options=options, end_tokens=frozenset(end_tokens), stop=stop)
        return shared.until_left(stepper, _beams(stepper, prompts, options, constraints, rules))
    rows = []
    for index, seed in enumerate(seeds):
        constraint = constraints[index] if constraints else None
        row = _Row(
            index=index,
            copy=index % options.n,
            history=list(prompts[index // options.n]),
            rng=np.random.default_rng(seed),
            constraint=constraint,
            state=constraint.start() if constraint else None,
        )
        rows.append(row)
    if draft and len(rows) == 1 and isinstance(stepper, Verifier):
        return _guessing(stepper, rows[0], options, frozenset(end_tokens), stop, alternatives, draft)
    return shared.until_left(stepper, _loop(stepper, rows, options, frozenset(end_tokens), stop, alternatives))


@dataclass(slots=True)
class _Row:
    """One row on its way. `history` is the prompt and what was generated."""

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
        return None if self.constraint is None else self.constraint.allowed(self.state)


def _loop(
    stepper: Stepper, rows: list[_Row], options: Decoding, end_tokens: frozenset[int], stop: Stop | None, alternatives: int
) -> Generator[Event, None, None]:
    logits = start(stepper, [row.history for row in rows])
    while True:
        staying: list[int] = []
        chosen = _choose(logits, rows, options, end_tokens)
        top = choice.top_log_probabilities(choice.single_precision(logits), alternatives) if alternatives else [()] * len(rows)
        for position, (token, logprob) in enumerate(chosen):
            row = rows[position]
            row.logprob += logprob
            reason = _advance(row, token, options, end_tokens, stop)
            if token not in end_tokens:
                yield Token(row=row.index, token=token, logprob=logprob, top=top[position])
            if reason is None:
                staying.append(position)
            else:
                yield Finished(row=row.index, reason=reason, tokens=tuple(row.generated), logprob=row.logprob)
        if not staying:
            return
        if len(staying) < len(rows):
            stepper.reorder(staying)
            rows = [rows[position] for position in staying]
        logits = stepper.step([row.generated[-1] for row in rows])


def _guessing(
    stepper: Verifier, row: _Row, options: Decoding, end_tokens: frozenset[int], stop: Stop | None, alternatives: int, draft: int
) -> Generator[Event, None, None]:
    """`_loop` for one row: a pass reads the token that was drawn and guesses of what follows it, until a draw is another than the guess."""
    lookup, guesses = Lookup(row.history), list[int]()
    logits = start(stepper, [row.history])  # (1 + guesses, V)
    while True:
        top = choice.top_log_probabilities(choice.single_precision(logits), alternatives) if alternatives else [()] * len(logits)
        for place in range(len(guesses) + 1):
            ((token, logprob),) = _choose(logits[place : place + 1], [row], options, end_tokens)
            row.logprob += logprob
            reason = _advance(row, token, options, end_tokens, stop)
            if token not in end_tokens:
                yield Token(row=row.index, token=token, logprob=logprob, top=top[place])
            if reason is not None:
                yield Finished(row=row.index, reason=reason, tokens=tuple(row.generated), logprob=row.logprob)
                return
            lookup.push(token)
            if guesses[place : place + 1] != [token]:
                break
        if place < len(guesses):
            stepper.forget(len(guesses) - place)
        guesses = lookup.guess(min(draft, options.max_tokens - len(row.generated) - 1))
        logits = stepper.verify([token, *guesses])


def _beams(
    stepper: Stepper,
    prompts: Sequence[Sequence[int]],
    options: Decoding,
    constraints: Sequence[Constraint[Any] | None] | None,
    rules: BeamRules,
) -> Generator[Event, None, None]:
    """Beam search; the n best hypotheses of a prompt come as soon as its search is done."""
    searches = []
    for index, prompt in enumerate(prompts):
        searches.append(Search(prompt=tuple(prompt), constraint=constraints[index * options.n] if constraints else None))
    logits = start(stepper, prompts)
    open_searches = list(enumerate(searches))
    while open_searches:
        sources, tokens = advance([search for _, search in open_searches], choice.single_precision(logits), rules)
        for index, search in open_searches:
            if not search.running:
                for rank, hypothesis in enumerate(best(search, options.n)):
                    yield from _events(index * options.n + rank, hypothesis)
        open_searches = [(index, search) for index, search in open_searches if search.running]
        if open_searches:
            stepper.reorder(sources)
            logits = stepper.step(tokens)


def _events(row: int, hypothesis: Hypothesis) -> Iterator[Event]:
    for token, logprob in zip(hypothesis.tokens, hypothesis.logprobs):
        yield Token(row=row, token=token, logprob=logprob)
    yield Finished(row=row, reason=hypothesis.reason, tokens=hypothesis.tokens, logprob=sum(hypothesis.logprobs))


def start(stepper: Stepper, prompts: Sequence[Sequence[int]]) -> Array:
    """Read the prompts, each distinct one once, and return logits (B, V) for all B of them."""
    numbers: dict[tuple[int, ...], int] = {}
    copies = [numbers.setdefault(tuple(prompt), len(numbers)) for prompt in prompts]
    logits = stepper.start(list(numbers))
    if copies == list(range(len(numbers))):
        return logits
    stepper.reorder(copies)
    return logits[copies]


def _advance(row: _Row, token: int, options: Decoding, end_tokens: frozenset[int], stop: Stop | None) -> Reason | None:
    """Append the token to its row; the reason if the row is complete."""
    if token in end_tokens:
        return "stop"
    row.generated.append(token)
    row.history.append(token)
    if row.constraint is not None:
        row.state = row.constraint.advance(row.state, token)
    if stop is not None and stop(row.generated):
        return "stop"
    return "length" if len(row.generated) >= options.max_tokens else None


def _choose(raw: Array, rows: Sequence[_Row], options: Decoding, end_tokens: frozenset[int]) -> list[tuple[int, float]]:
    """The next token of every row and its log-probability by the model."""
    raw = choice.single_precision(raw)
    logits = processors.process(raw, [row.history for row in rows], [row.generated for row in rows], options, end_tokens=end_tokens)
    logits = processors.mask(logits, [row.mask for row in rows])
    choice.check(raw, logits)
    if options.temperature > 0:
        tokens = choice.draw(logits, options, [row.rng.random() for row in rows])
    elif rows[0].generated or options.n == 1:
        tokens = choice.likeliest(logits)
    else:
        tokens = choice.ranked(logits, [row.copy for row in rows])
    return list(zip(tokens, choice.log_probabilities(raw, tokens)))
