"""Beam search returns, hypothesis for hypothesis, what transformers' `generate(num_beams=...)` returns."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from miaobi.core.errors import MiaobiError
from miaobi.engine.sampling.constraint import OneOf
from miaobi.engine.sampling.options import Sampling
from miaobi.engine.sampling.tokens import Finished, Token, decode

PROMPTS = [[3, 4, 5], [7, 2, 9]]
VARIANTS = [
    (length_penalty, early_stopping, beams, as_numpy)
    for (length_penalty, early_stopping), beams, as_numpy in itertools.product(
        [(1.0, False), (1.0, True), (1.0, "never"), (0.0, False), (2.0, "never"), (2.0, True), (-1.0, False), (-1.0, "never")],
        (2, 4),
        (True, False),
    )
]


@pytest.mark.parametrize(("length_penalty", "early_stopping", "beams", "as_numpy"), VARIANTS)
@pytest.mark.parametrize("extra", [{}, {"repetition_penalty": 1.3, "no_repeat_ngram": 2, "min_tokens": 3}])
def test_agrees_with_transformers(
    gpt2: Any, recomputing: Any, length_penalty: float, early_stopping: Any, beams: int, as_numpy: bool, extra: dict[str, Any]
) -> None:
    import torch

    options = Sampling(beams=beams, n=beams, max_tokens=9, length_penalty=length_penalty, early_stopping=early_stopping, **extra)
    prompts = torch.tensor(PROMPTS)
    expected = gpt2.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        do_sample=False,
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=9,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
        repetition_penalty=options.repetition_penalty,
        no_repeat_ngram_size=options.no_repeat_ngram,
        min_new_tokens=options.min_tokens or None,
    )
    events = decode(recomputing(gpt2, as_numpy=as_numpy), PROMPTS, options, end_tokens=[0], seeds=[0] * 2 * beams)
    found = {event.row: list(event.tokens) for event in events if isinstance(event, Finished)}
    assert [found[row] for row in range(2 * beams)] == [list(itertools.takewhile(bool, row)) for row in expected[:, 3:].tolist()]


def test_prompts_of_unequal_length_find_what_they_find_alone(gpt2: Any, recomputing: Any) -> None:
    prompts = [[3], [7, 2, 9, 4, 1], [5, 5]]
    options = Sampling(beams=3, max_tokens=8)
    together = collect(recomputing(gpt2, as_numpy=True), prompts, options)
    alone = [collect(recomputing(gpt2, as_numpy=True), [prompt], options)[0] for prompt in prompts]
    assert [event.tokens for event in together] == [event.tokens for event in alone]
    np.testing.assert_allclose([event.logprob for event in together], [event.logprob for event in alone], rtol=1e-5)


def test_wide_beams_find_the_likeliest_text(bigrams: Any) -> None:
    """With as many beams as there are continuations nothing is pruned, so exhaustive enumeration must agree."""
    stepper = bigrams(4, seed=3)
    table = stepper.start([[token] for token in range(4)]).astype(np.float64)
    logprobs = table - np.log(np.exp(table).sum(axis=1, keepdims=True))
    texts = itertools.product(range(1, 4), repeat=3)  # token 0 would end; it is ruled out
    total = {text: sum(logprobs[a, b] for a, b in itertools.pairwise((2, *text))) for text in texts}
    likeliest = sorted(total, key=lambda text: -total[text])[:5]
    found = collect(stepper, [[2]], Sampling(beams=27, n=5, max_tokens=3, min_tokens=3, length_penalty=0.0))
    assert [event.tokens for event in found] == likeliest
    np.testing.assert_allclose([event.logprob for event in found], [total[text] for text in likeliest], rtol=1e-5)


def test_tokens_of_a_hypothesis_come_before_its_end(bigrams: Any) -> None:
    events = list(decode(bigrams(9), [[1], [2]], Sampling(beams=4, n=2, max_tokens=5), end_tokens=[0], seeds=range(4)))
    for row in range(4):
        own = [event for event in events if event.row == row]
        assert isinstance(own[-1], Finished)
        assert tuple(event.token for event in own[:-1] if isinstance(event, Token)) == own[-1].tokens
    scores = [
        event.logprob / (len(event.tokens) + (event.reason == "stop")) for event in events if isinstance(event, Finished) and event.row < 2
    ]
    assert scores == sorted(scores, reverse=True)


def test_a_constraint_holds_in_every_hypothesis(bigrams: Any) -> None:
    sequences = [[4, 5, 6], [4, 7], [8]]
    constraint = OneOf(sequences, vocab_size=9, end_token=0)
    found = collect(bigrams(9), [[1]], Sampling(beams=4, n=3, max_tokens=9), constraints=[constraint] * 3)
    assert sorted(event.tokens for event in found) == sorted(map(tuple, sequences))
    assert {event.reason for event in found} == {"stop"}
    with pytest.raises(MiaobiError, match="found 3 texts that the constraint allows, not 4"):
        collect(bigrams(9), [[1]], Sampling(beams=4, n=4, max_tokens=9), constraints=[constraint] * 4)


def test_a_broken_model_is_named(bigrams: Any) -> None:
    stepper = bigrams(9)
    stepper.start([[1]])[:] = np.nan
    stepper._table[:] = np.nan
    with pytest.raises(MiaobiError, match="not a number"):
        collect(stepper, [[1]], Sampling(beams=2))


def collect(stepper: Any, prompts: list[list[int]], options: Sampling, **more: Any) -> list[Finished]:
    """The finished rows in order."""
    events = decode(stepper, prompts, options, end_tokens=[0], seeds=[0] * len(prompts) * options.n, **more)
    return sorted((event for event in events if isinstance(event, Finished)), key=lambda event: event.row)
