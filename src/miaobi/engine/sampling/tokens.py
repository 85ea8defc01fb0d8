"""The decoding loop: prompts become tokens, one row each, over any stepper; streaming, batched and reproducible.

A row draws from its own random generator, so its tokens depend on its seed and never on what else is in the batch. Finished rows leave
the batch at once. Identical prompts (and the `n` copies of one) are read once and copied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array

from miaobi.core.errors import MiaobiError
from miaobi.engine.sampling import processors
from miaobi.engine.sampling.constraint import Constraint
from miaobi.engine.sampling.options import Sampling
from miaobi.engine.sampling.stepper import Array, Stepper

Reason = Literal["stop", "length"]
Stop = Callable[[Sequence[int]], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """The next token of a row. `logprob` is its natural-log probability by the model itself, before any processor."""

    row: int
    token: int
    logprob: float


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
    options: Sampling,
    *,
    end_tokens: Collection[int],
    seeds: Sequence[int],
    constraints: Sequence[Constraint[Any] | None] | None = None,
    stop: Stop | None = None,
) -> Iterator[Event]:
    """Continue every prompt `options.n` times; row `i * n + j` is copy j of prompt i.

    `seeds` and `constraints` have one entry for each row. `stop` sees a row's generated tokens after each one and ends the row when it
    returns True. At temperature 0 the copies of a prompt begin with its first, second, … likeliest token and go on greedily (Wang & Zhou,
    2024, arXiv:2402.10200), so they differ. With beams above 1 the copies are the n best hypotheses, best first, and the seeds are unused.

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
    return _loop(stepper, rows, options, frozenset(end_tokens), stop)


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


def _loop(stepper: Stepper, rows: list[_Row], options: Sampling, end_tokens: frozenset[int], stop: Stop | None) -> Iterator[Event]:
    logits = start(stepper, [row.history for row in rows])
    while True:
        staying: list[int] = []
        for position, (token, logprob) in enumerate(_choose(logits, rows, options, end_tokens)):
            row = rows[position]
            row.logprob += logprob
            reason = _advance(row, token, options, end_tokens, stop)
            if token not in end_tokens:
                yield Token(row=row.index, token=token, logprob=logprob)
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


def start(stepper: Stepper, prompts: Sequence[Sequence[int]]) -> Array:
    """Read the prompts, each distinct one once, and return logits (B, V) for all B of them."""
    numbers: dict[tuple[int, ...], int] = {}
    copies = [numbers.setdefault(tuple(prompt), len(numbers)) for prompt in prompts]
    logits = stepper.start(list(numbers))
    if copies == list(range(len(numbers))):
        return logits
    stepper.reorder(copies)
    return logits[copies]


def _advance(row: _Row, token: int, options: Sampling, end_tokens: frozenset[int], stop: Stop | None) -> Reason | None:
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


def _choose(raw: Array, rows: Sequence[_Row], options: Sampling, end_tokens: frozenset[int]) -> list[tuple[int, float]]:
    """The next token of every row and its log-probability by the model."""
    raw = single_precision(raw)
    logits = processors.process(raw, [row.history for row in rows], [row.generated for row in rows], options, end_tokens=end_tokens)
    logits = processors.mask(logits, [row.mask for row in rows])
    check(raw, logits)
    if options.temperature > 0:
        tokens = draw(processors.truncate(logits, options), [row.rng.random() for row in rows])
    elif rows[0].generated or options.n == 1:
        tokens = likeliest(logits)
    else:
        tokens = _branch(logits, [row.copy for row in rows])
    return list(zip(tokens, log_probabilities(raw, tokens)))


def single_precision(logits: Array) -> Array:
    """float32, without a copy where it is that already: half floats overflow in sums and doubles cost time."""
    xp = array_namespace(logits)
    return logits if logits.dtype == xp.float32 else xp.astype(logits, xp.float32)


def check(raw: Array, logits: Array) -> None:
    """Refuse logits that no token can be drawn from. The maximum alone tells: NaN wins every comparison of it.

    Raises:
        MiaobiError: NaN or infinity in the model's logits, or nothing left after the processors.
    """
    xp = array_namespace(logits)
    tops = xp.max(logits, axis=-1)
    if bool(xp.all(xp.isfinite(tops))):
        return
    if not bool(xp.all(xp.isfinite(xp.max(raw, axis=-1)))):
        raise MiaobiError("the model's output is not a number (NaN or infinity); its weights are damaged or its training diverged")
    raise MiaobiError(
        "no token can follow: the constraint, no_repeat_ngram, min_tokens and logit_bias together rule out all {size}",
        size=logits.shape[-1],
    )


def likeliest(logits: Array) -> list[int]:
    """The token with the highest logit in each row; the first of equals."""
    found: list[int] = array_namespace(logits).argmax(logits, axis=-1).tolist()
    return found


def _branch(logits: Array, ranks: Sequence[int]) -> list[int]:
    """The token of this rank in each row, 0 the likeliest; ranks begin again where tokens run out."""
    xp = array_namespace(logits)
    order = xp.argsort(logits, axis=-1, descending=True, stable=True)
    possible = xp.sum(xp.astype(logits > -float("inf"), xp.int64), axis=-1)
    return [int(order[row, rank % int(possible[row])]) for row, rank in enumerate(ranks)]


def draw(logits: Array, uniforms: Sequence[float]) -> list[int]:
    """One token for each row by inverting its cumulative distribution at `1 - uniform`, which is in (0, 1].

    With the target in (0, total] the first token that reaches it has a weight above 0, so no rounding can draw a token ruled out.
    """
    if is_numpy_array(logits):
        return [_draw_row(row, uniform) for row, uniform in zip(logits, uniforms)]
    xp = array_namespace(logits)
    reached = xp.cumulative_sum(xp.exp(logits - xp.max(logits, axis=-1, keepdims=True)), axis=-1)
    shares = xp.asarray([[1.0 - uniform] for uniform in uniforms], dtype=reached.dtype, device=device(logits))
    tokens: list[int] = xp.sum(xp.astype(reached < shares * reached[:, -1:], xp.int64), axis=-1).tolist()
    return tokens


def _draw_row(row: np.ndarray, uniform: float) -> int:
    left = np.flatnonzero(row > -np.inf)  # after a truncation a few of very many
    logits = row[left]
    reached = np.cumsum(np.exp(logits - logits.max()), dtype=np.float64)
    return int(left[np.searchsorted(reached, (1.0 - uniform) * reached[-1])])


def log_probabilities(raw: Array, tokens: Sequence[int]) -> list[float]:
    """The model's own natural-log probability of one token a row."""
    chosen = raw[list(range(len(tokens))), list(tokens)]
    values: list[float] = (chosen - processors.log_sum_exp(raw)[:, 0]).tolist()
    return values
