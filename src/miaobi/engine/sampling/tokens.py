"""The decoding loop: prompts become tokens, one row each, over any stepper; streaming, batched and reproducible.

A row draws from its own random generator, so its tokens depend on its seed and never on what else is in the batch. Finished rows leave
the batch at once. Identical prompts (and the `n` copies of one) are read once and copied.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from typing import Any

import numpy as np

from miaobi.core.errors import MiaobiError
from miaobi.engine.sampling import choice, shared
from miaobi.engine.sampling.beam import BeamRules, Hypothesis, Search, advance, best
from miaobi.engine.sampling.constraint import Constraint
from miaobi.engine.sampling.options import Decoding
from miaobi.engine.sampling.run import Event as Event
from miaobi.engine.sampling.run import Finished as Finished
from miaobi.engine.sampling.run import Row, Run
from miaobi.engine.sampling.run import Stop as Stop
from miaobi.engine.sampling.run import Token as Token
from miaobi.engine.sampling.speculate import Verifier, can_verify
from miaobi.engine.sampling.stepper import Array, Stepper


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
    quiet: bool = False,
) -> Generator[Event, None, None]:
    """Continue every prompt `options.n` times; row `i * n + j` is copy j of prompt i.

    `seeds` and `constraints` have one entry for each row. `stop` sees a row's generated tokens after each one and ends the row when it
    returns True. At temperature 0 the copies of a prompt begin with its first, second, … likeliest token and go on greedily (Wang & Zhou,
    2024, arXiv:2402.10200), so they differ. With beams above 1 the copies are the n best hypotheses, best first, and the seeds are unused.
    `alternatives` is how many of the likeliest tokens each event tells (none in a beam search). A single row over a `Verifier` guesses
    `draft` tokens ahead (`speculate`), which changes nothing but the time. `quiet` leaves out the single tokens, but for a beam search.

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
        row = Row(
            index=index,
            copy=index % options.n,
            history=list(prompts[index // options.n]),
            rng=np.random.default_rng(seed),
            constraint=constraint,
            state=constraint.start() if constraint else None,
        )
        rows.append(row)
    run = Run(rows, options, end_tokens=frozenset(end_tokens), stop=stop, alternatives=alternatives, draft=draft, quiet=quiet)
    if isinstance(stepper, shared.Seat):
        return stepper.follow(run)
    return _guessing(stepper, run) if run.draft and can_verify(stepper) else _loop(stepper, run)


def _loop(stepper: Stepper, run: Run) -> Generator[Event, None, None]:
    logits = start(stepper, [row.history for row in run.rows])
    while True:
        yield from run.take(run.choose(logits, run.rows))
        if not run.rows:
            return
        if run.staying is not None:
            stepper.reorder(run.staying)
        logits = stepper.step(run.tokens)


def _guessing(stepper: Verifier, run: Run) -> Generator[Event, None, None]:
    """`_loop` for one row: a pass reads the token that was drawn and guesses of what follows it."""
    yield from run.take(run.choose(start(stepper, [run.rows[0].history]), run.rows))
    while run.rows:
        guesses = run.guess()
        events, right = run.check(stepper.verify([*run.tokens, *guesses]), guesses)
        if right < len(guesses):
            stepper.forget(len(guesses) - right)
        yield from events


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
    distinct, copies = shared.distinct(prompts)
    logits = stepper.start(distinct)
    if copies is None:
        return logits
    stepper.reorder(copies)
    return logits[copies]
