"""Every processor is the function of that name in transformers, for numpy and torch alike, and never writes into its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers.generation.logits_process as reference

from miaobi.engine.sampling import processors
from miaobi.engine.sampling.options import Sampling

B, V = 3, 211
HISTORY = np.random.default_rng(1).integers(0, V, size=(B, 40))
HISTORY[:, 20:24] = HISTORY[:, 36:40]  # the last four tokens came up before, so n-grams repeat
END = [5, 7]


def logits(seed: int) -> np.ndarray:
    """Normal logits; some tokens are ruled out already."""
    values = (np.random.default_rng(seed).normal(size=(B, V)) * 3).astype(np.float32)
    values[0, :50] = -np.inf
    return values


PAIRS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "temperature": (lambda x: processors.temperature(x, 0.7), reference.TemperatureLogitsWarper(0.7)),
    "top_k": (lambda x: processors.top_k(x, 12), reference.TopKLogitsWarper(12)),
    "top_k larger than V": (lambda x: processors.top_k(x, 1000), reference.TopKLogitsWarper(1000)),
    "top_p": (lambda x: processors.top_p(x, 0.9), reference.TopPLogitsWarper(0.9)),
    "top_p small": (lambda x: processors.top_p(x, 1e-4), reference.TopPLogitsWarper(1e-4)),
    "top_p large": (lambda x: processors.top_p(x, 0.999), reference.TopPLogitsWarper(0.999)),
    "min_p": (lambda x: processors.min_p(x, 0.05), reference.MinPLogitsWarper(0.05)),
    "typical": (lambda x: processors.typical(x, 0.8), reference.TypicalLogitsWarper(0.8)),
    "typical large": (lambda x: processors.typical(x, 0.99), reference.TypicalLogitsWarper(0.99)),
    "repetition_penalty": (
        lambda x: processors.repetition_penalty(x, HISTORY.tolist(), 1.3),
        reference.RepetitionPenaltyLogitsProcessor(1.3),
    ),
    "no_repeat_ngram": (lambda x: processors.no_repeat_ngram(x, HISTORY.tolist(), 3), reference.NoRepeatNGramLogitsProcessor(3)),
    "no_repeat_ngram of one": (lambda x: processors.no_repeat_ngram(x, HISTORY.tolist(), 1), reference.NoRepeatNGramLogitsProcessor(1)),
    "min_tokens": (
        lambda x: processors.min_tokens(x, HISTORY[:, 30:].tolist(), 11, end_tokens=END),
        reference.MinNewTokensLengthLogitsProcessor(30, 11, END, device="cpu"),
    ),
    "min_tokens reached": (
        lambda x: processors.min_tokens(x, HISTORY[:, 30:].tolist(), 10, end_tokens=END),
        reference.MinNewTokensLengthLogitsProcessor(30, 10, END, device="cpu"),
    ),
    "logit_bias": (
        lambda x: processors.logit_bias(x, {3: 2.5, 60: -1.0}),
        reference.SequenceBiasLogitsProcessor({(3,): 2.5, (60,): -1.0}),
    ),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", PAIRS)
def test_agrees_with_transformers(name: str, seed: int) -> None:
    ours, theirs = PAIRS[name]
    values = logits(seed)
    expected = theirs(torch.from_numpy(HISTORY), torch.from_numpy(values.copy())).numpy()
    in_numpy = ours(values)
    in_torch = ours(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(in_numpy, expected, rtol=1e-6)
    np.testing.assert_allclose(in_torch, expected, rtol=1e-6)
    assert in_numpy.dtype == np.float32
    assert np.array_equal(values, logits(seed)), "the input was written into"


def test_frequency_and_presence_follow_the_definition() -> None:
    """`logit - count * frequency - (count > 0) * presence`, over generated tokens (the OpenAI API's documentation)."""
    values = logits(0)
    generated = [[1, 1, 60], [], [2, 2, 2]]
    counts = np.stack([np.bincount(np.array(row, dtype=int), minlength=V) for row in generated])
    expected = values - counts * np.float32(0.5) - (counts > 0) * np.float32(0.25)
    for array in (values, torch.from_numpy(values)):
        found = processors.frequency_presence(array, generated, frequency=0.5, presence=0.25)
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-6)


def test_defaults_return_the_very_same_array() -> None:
    """What is off costs nothing."""
    values = logits(0)
    assert processors.process(values, HISTORY.tolist(), HISTORY.tolist(), Sampling(), end_tokens=END) is values
    assert processors.truncate(values, Sampling()) is values
    assert processors.mask(values, [None] * B) is values


def test_mask_rules_out_by_row() -> None:
    allowed = np.zeros(V, dtype=bool)
    allowed[[4, 9]] = True
    values = logits(3)
    for array in (values, torch.from_numpy(values)):
        found = np.asarray(processors.mask(array, [None, allowed, None]))
        assert np.array_equal(found[[0, 2]], values[[0, 2]])
        assert np.flatnonzero(found[1] > -np.inf).tolist() == [4, 9]
        assert found.dtype == values.dtype
        assert np.signbit(np.asarray(processors.mask(-0.0 * abs(array), [allowed] * 3))[0, 4])  # not even a sign changes


def test_rows_may_have_histories_of_unequal_lengths() -> None:
    values = logits(1)
    found = processors.no_repeat_ngram(values, [[101, 102, 101], [4], [8, 8, 8, 8]], 2)
    assert np.flatnonzero(found != values).tolist() == [102, 2 * V + 8]
    found = processors.repetition_penalty(values, [[], [4], [9, 9]], 2.0)
    assert np.flatnonzero(found != values).tolist() == [V + 4, 2 * V + 9]


@pytest.mark.parametrize("p", [1e-6, 0.01, 0.3, 0.5, 0.9, 0.95, 0.999, 0.999999])
@pytest.mark.parametrize("size", [1, 2, 17, 6000, 50257])
@pytest.mark.parametrize("scale", [0.01, 1.0, 5.0, 60.0])
def test_the_histogram_finds_the_nucleus_that_sorting_finds(p: float, size: int, scale: float) -> None:
    weights = np.exp(np.random.default_rng(size).normal(size=size) * scale)
    weights = (weights / weights.max()).astype(np.float32)
    kept = np.flatnonzero(weights >= processors.lightest_kept(weights[None], p)[0])
    exact = weights.astype(np.float64) / weights.sum(dtype=np.float64)
    lightest = exact[kept].min()
    assert exact[exact >= lightest].size == kept.size, "exactly the heaviest stay"
    assert exact[kept].sum() >= p - 1e-6, "they hold the share"
    assert kept.size == 1 or exact[exact > lightest].sum() <= p + 1e-6, "and none is too many"


def test_equal_weights_stay_together() -> None:
    assert processors.lightest_kept(np.ones((2, 8), dtype=np.float32), 0.5).tolist() == [1.0, 1.0]


def test_rows_do_not_disturb_each_other_in_the_histogram() -> None:
    """Rows of very different scales share its bins."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(6, 500)) * np.array([[0.0], [0.1], [1], [5], [30], [80]])
    weights = np.exp(logits - logits.max(axis=1, keepdims=True)).astype(np.float32)
    weights[1, :400] = 0.0
    for p in (1e-300, 0.2, 0.9, 0.99999):
        together = processors.lightest_kept(weights, p)
        alone = [processors.lightest_kept(row[None], p)[0] for row in weights]
        assert together.tolist() == alone
