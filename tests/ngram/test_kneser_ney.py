"""Kneser-Ney against values worked out by hand, and against a plain reference written from the formulas with dictionaries."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from miaobi.models.ngram.kneser_ney import KneserNey, discounts

BEGIN, END, V = 7, 8, 9


def count(sequences: Sequence[Sequence[int]], order: int) -> KneserNey:
    tokens = np.array([token for sequence in sequences for token in (BEGIN, *sequence, END)], dtype=np.int64)
    return KneserNey.count(tokens, order=order, size=V, begin=BEGIN, end=END)


class Reference:
    """p(w | c) = (a(cw) - D(a(cw))) / Σ a(c·) + γ(c) p(w | c'), recursively; a is KenLM's adjusted count."""

    def __init__(self, sequences: Sequence[Sequence[int]], order: int) -> None:
        raw: Counter[tuple[int, ...]] = Counter()
        for sequence in sequences:
            padded = (BEGIN, *sequence, END)
            raw.update(padded[start : start + length] for length in range(1, order + 1) for start in range(len(padded) - length + 1))
        before = defaultdict(set)
        for gram in raw:
            before[gram[1:]].add(gram[0])
        adjusted = {gram: raw[gram] if len(gram) == order or gram[0] == BEGIN else len(before[gram]) for gram in raw}
        adjusted[(BEGIN,)] = 0
        self.order = order
        self.after: dict[tuple[int, ...], dict[int, int]] = defaultdict(dict)
        for gram, number in adjusted.items():
            if number:
                self.after[gram[:-1]][gram[-1]] = number
        self.discounts = {
            length: self.estimate([number for gram, number in adjusted.items() if len(gram) == length]) for length in range(1, order + 1)
        }

    @staticmethod
    def estimate(numbers: list[int]) -> list[float]:
        t = Counter(numbers)
        if not (t[1] and t[2] and t[3]):
            return [0, 0.5, 1, 1.5]
        y = t[1] / (t[1] + 2 * t[2])
        found = [0, *(k - (k + 1) * y * t[k + 1] / t[k] for k in (1, 2, 3))]
        return found if found[1] > 0 and all(0 <= d <= k for k, d in enumerate(found)) else [0, 0.5, 1, 1.5]

    def probability(self, token: int, context: Sequence[int]) -> float:
        context = tuple(context)[max(len(context) - self.order + 1, 0) :]
        shorter = self.probability(token, context[1:]) if context else float(token != BEGIN) / (V - 1)
        numbers = self.after.get(context)
        if not numbers:
            return shorter
        d = self.discounts[len(context) + 1]
        own = numbers.get(token, 0)
        left = sum(d[min(number, 3)] for number in numbers.values())
        return (own - d[min(own, 3)] + left * shorter) / sum(numbers.values())


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_reference(order: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    sequences = [(random.zipf(1.5, size=random.integers(0, 12)) % 7).tolist() for _ in range(80)]
    held_out = [[*random.integers(0, 7, size=random.integers(0, 9)).tolist(), END] for _ in range(20)]
    model, reference = count(sequences, order), Reference(sequences, order)
    for sequence, bits in zip(held_out, model.bits(held_out), strict=True):
        for place, token in enumerate(sequence):
            context = [BEGIN, *sequence[:place]]
            expected = reference.probability(token, context)
            assert 2.0 ** -bits[place] == pytest.approx(expected, rel=1e-9)
            assert model.distribution(model.state(context))[token] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_every_distribution_sums_to_one(order: int) -> None:
    random = np.random.default_rng(order)
    sequences = [random.integers(0, 6, size=random.integers(0, 9)).tolist() for _ in range(50)]
    model = count(sequences, order)
    contexts = [[], [BEGIN], [6], [BEGIN, 6, 6, 6], [END], *([BEGIN, *random.integers(0, 7, size=5).tolist()] for _ in range(60))]
    for context in contexts:
        probabilities = model.distribution(model.state(context))
        assert probabilities.sum() == pytest.approx(1.0, abs=1e-9)
        assert probabilities[BEGIN] == 0.0
        assert (np.delete(probabilities, BEGIN) > 0).all(), "nothing else is impossible"


def test_a_bigram_by_hand() -> None:
    """Sequences `0 1`, `0 2` and `0 1`.

    Bigrams come 3 (begin 0), 2 (0 1), 1 (0 2), 2 (1 end) and 1 (2 end) times: two once, two twice, one three times, none four times. So
    Y = 2 / (2 + 4) = 1/3 and the discounts are 1 - 2/3 = 1/3, 2 - 1/2 = 3/2 and 3. Unigrams count contexts: one each for 0, 1 and 2, two
    for the end, 5 in all; too few to estimate from, so 1/2 or 1 is taken off each, 5/2 in all: the uniform 1/8 has a share of 1/2.
    """
    model = count([[0, 1], [0, 2], [0, 1]], 2)
    unigram = {0: Fraction(13, 80), 1: Fraction(13, 80), 2: Fraction(13, 80), END: Fraction(21, 80), 5: Fraction(1, 16)}
    after_zero = (Fraction(3, 2) + Fraction(1, 3)) / 3
    expected = {
        (0, BEGIN): unigram[0],  # 3 - 3 is nothing: all of it is left to the unigrams
        (1, 0): (2 - Fraction(3, 2)) / 3 + after_zero * unigram[1],
        (2, 0): (1 - Fraction(1, 3)) / 3 + after_zero * unigram[2],
        (END, 0): after_zero * unigram[END],
        (END, 1): (2 - Fraction(3, 2)) / 2 + Fraction(3, 4) * unigram[END],
        (5, 0): after_zero * unigram[5],
        (5, 5): unigram[5],
    }
    for (token, before), probability in expected.items():
        assert model.distribution(model.state([before]))[token] == pytest.approx(float(probability), rel=1e-12)


def test_discounts_by_hand() -> None:
    """Ten n-grams once, four twice, two three times, one four times: Y = 10 / 18."""
    numbers = np.repeat([1, 2, 3, 4, 9], [10, 4, 2, 1, 3])
    y = 10 / 18
    assert discounts(numbers) == pytest.approx([0, 1 - 2 * y * 4 / 10, 2 - 3 * y * 2 / 4, 3 - 4 * y * 1 / 2])
    assert discounts(np.array([1, 1, 2])).tolist() == [0, 0.5, 1, 1.5]


def test_nothing_learned_is_uniform() -> None:
    model = count([[]], 3)
    probabilities = model.distribution(model.state([BEGIN]))
    assert probabilities.argmax() == END
    assert probabilities.sum() == pytest.approx(1.0)
    assert np.ptp(np.delete(probabilities, [BEGIN, END])) == 0.0


def test_states_forget_what_is_too_old() -> None:
    model = count([[0, 1, 2, 3], [1, 2, 4]], 3)
    assert model.state([BEGIN, 0, 1, 2]) == model.state([5, 5, 1, 2])
    assert model.state([0]) != model.state([1])
