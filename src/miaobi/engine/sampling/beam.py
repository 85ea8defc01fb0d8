"""Beam search: several hypotheses of each prompt grow side by side and the likeliest complete ones win.

The rules are those of transformers' `generate(num_beams=...)`, hypothesis for hypothesis (tests/sampling/test_beam.py): candidates are the
best `2 · beams` continuations, one that ends counts only among the first `beams`, and complete hypotheses are ranked by log-probability
divided by length to the power of `length_penalty` (Wu et al., 2016, arXiv:1609.08144). Searches of several prompts share the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from array_api_compat import is_numpy_array

from miaobi.core.errors import MiaobiError
from miaobi.engine.sampling import choice, processors
from miaobi.engine.sampling.constraint import Constraint
from miaobi.engine.sampling.options import Decoding
from miaobi.engine.sampling.stepper import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Beam:
    """A running hypothesis. `score` sums processed log-probabilities, `logprobs` are the model's own."""

    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    score: float = 0.0
    state: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """A complete one. `logprobs` has one entry more than `tokens` when it ended with an end token."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float
    reason: Literal["stop", "length"]


@dataclass(slots=True)
class Search:
    """The search of one prompt: running beams, best first, and the best complete hypotheses, best first."""

    prompt: tuple[int, ...]
    constraint: Constraint[Any] | None
    running: list[Beam] = field(default_factory=list)
    complete: list[Hypothesis] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.running = [Beam(state=self.constraint.start() if self.constraint else None)]

    def masks(self) -> list[np.ndarray | None]:
        """What the constraint allows after each running beam."""
        return [self.constraint.allowed(beam.state) if self.constraint else None for beam in self.running]


@dataclass(frozen=True, slots=True, kw_only=True)
class BeamRules:
    """When a hypothesis ends and which ones are better: the same for all prompts of a batch."""

    options: Decoding
    end_tokens: frozenset[int]
    stop: Callable[[Sequence[int]], bool] | None = None

    def reason(self, tokens: Sequence[int], token: int) -> Literal["stop", "length"] | None:
        """Why the hypothesis is complete after `token`, which is the last of `tokens` unless it is an end token; None if it is not."""
        if token in self.end_tokens or (self.stop is not None and self.stop(tokens)):
            return "stop"
        return "length" if len(tokens) >= self.options.max_tokens else None

    def is_done(self, search: Search) -> bool:
        """Whether the running beams can no longer change the result, as far as `early_stopping` cares."""
        if len(search.complete) < self.options.beams or not search.running:
            return not search.running
        if self.options.early_stopping is True:
            return True
        length = len(search.running[0].tokens)
        if self.options.early_stopping == "never" and self.options.length_penalty > 0:
            length = self.options.max_tokens  # the longest text has the gentlest division
        hoped = search.running[0].score / float(length) ** self.options.length_penalty
        return bool(hoped <= search.complete[-1].score)


def advance(searches: Sequence[Search], raw: Array, rules: BeamRules) -> tuple[list[int], list[int]]:
    """One step: logits (rows, V) of all running beams → the source row and the new token of every beam that goes on.

    Raises:
        MiaobiError: NaN or infinity in the logits.
    """
    beams = [(search.prompt, beam) for search in searches for beam in search.running]
    logprobs = processors.log_softmax(raw)
    scores = processors.process(
        logprobs,
        [[*prompt, *beam.tokens] for prompt, beam in beams],
        [beam.tokens for _, beam in beams],
        rules.options,
        end_tokens=rules.end_tokens,
    )
    scores = processors.mask(scores, [mask for search in searches for mask in search.masks()])
    choice.check(raw, raw)  # a beam that the constraint leaves nothing dies out; only the model itself can be broken
    sources: list[int] = []
    first = 0
    for search in searches:
        last = first + len(search.running)
        sources += [first + source for source in _extend(search, scores[first:last], logprobs[first:last], rules)]
        first = last
    return sources, [beam.tokens[-1] for search in searches for beam in search.running]


def _extend(search: Search, scores: Array, logprobs: Array, rules: BeamRules) -> list[int]:
    """Grow one search by a token; returns which former beam each running one came from."""
    width = rules.options.beams
    candidates = _candidates(scores, [beam.score for beam in search.running], max(2, 1 + len(rules.end_tokens)) * width)
    running: list[Beam] = []
    sources: list[int] = []
    for rank, (score, source, token) in enumerate(candidates):
        before = search.running[source]
        tokens = before.tokens if token in rules.end_tokens else (*before.tokens, token)
        own = (*before.logprobs, float(logprobs[source, token]))
        reason = rules.reason(tokens, token)
        if reason is not None and rank < width:
            value = score / (len(before.tokens) + 1) ** rules.options.length_penalty
            search.complete.append(Hypothesis(tokens=tokens, logprobs=own, score=value, reason=reason))
        elif reason is None and len(running) < width:
            state = search.constraint.advance(before.state, token) if search.constraint else None
            running.append(Beam(tokens=tokens, logprobs=own, score=score, state=state))
            sources.append(source)
    search.complete = sorted(search.complete, key=lambda hypothesis: -hypothesis.score)[:width]
    search.running = running
    if rules.is_done(search):
        search.running, sources = [], []
    return sources


def _candidates(scores: Array, sums: Sequence[float], count: int) -> list[tuple[float, int, int]]:
    """The `count` best continuations over all beams, best first: total score, beam, token. Those ruled out are left off."""
    size = scores.shape[-1]
    if is_numpy_array(scores):
        flat = (scores + np.asarray(sums, dtype=scores.dtype)[:, None]).reshape(-1)
        count = min(count, flat.size)
        places = np.argpartition(flat, flat.size - count)[flat.size - count :]
        places = places[np.argsort(-flat[places], kind="stable")]
        values = flat[places].tolist()
    else:
        total = scores + scores.new_tensor(sums)[:, None]
        found = total.reshape(-1).topk(min(count, total.numel()))
        values, places = found.values.tolist(), found.indices
    return [(value, place // size, place % size) for value, place in zip(values, places.tolist()) if value > -float("inf")]


def best(search: Search, number: int) -> list[Hypothesis]:
    """The `number` best of a finished search.

    Raises:
        MiaobiError: the constraint left fewer.
    """
    if len(search.complete) < number:
        raise MiaobiError(
            "beam search found {found} texts that the constraint allows, not {number}. Ask for fewer, or for more beams",
            found=len(search.complete),
            number=number,
        )
    return search.complete[:number]
