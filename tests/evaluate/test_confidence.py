"""Intervals cover what they should, tests find real differences and no others, and impossible input is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from miaobi.core.errors import MiaobiError
from miaobi.engine.metrics import Figure
from miaobi.engine.metrics.confidence import difference, fisher_p, mcnemar_p, permutation_p, ratio, share, statistic, wilson
from miaobi.engine.report.evaluation import _change


def test_a_ratio_is_sum_over_sum_not_a_mean_of_ratios() -> None:
    figure = ratio([1.0, 9.0], [1.0, 3.0])
    assert figure.value == 2.5
    assert figure.count == 2
    assert figure.note  # two records are few


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        characters = rng.integers(20, 60, size=80)
        bits = characters * rng.normal(5.0, 1.0, size=80)  # the true ratio is 5
        figure = ratio(bits, characters, seed=trial)
        assert figure.low is not None
        assert figure.high is not None
        hits += figure.low <= 5.0 <= figure.high
    assert 0.89 <= hits / 200 <= 0.99


def test_the_interval_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(0, 2, size=400)
    figure = ratio(values, seed=0)
    assert figure.low is not None
    assert figure.high is not None
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * values.std(ddof=1) / 20, rel=0.08)


def test_half_samples_have_the_spread_of_the_mean() -> None:
    values = list(np.random.default_rng(2).normal(0, 2, size=400))
    figure = statistic(lambda items: float(np.mean(items)), values, draws=600)
    assert figure.low is not None
    assert figure.high is not None
    assert figure.value == pytest.approx(np.mean(values))
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * 2 / 20, rel=0.15)


def test_a_share_of_all_has_wilsons_interval() -> None:
    figure = share([True] * 100)
    assert (figure.value, figure.high, figure.interval) == (1.0, 1.0, "wilson")
    assert figure.low == pytest.approx(0.96300, abs=1e-4)  # 100 / (100 + 1.96²)
    assert share([False] * 400).low == 0.0
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)  # R: prop.test(8, 10, correct=FALSE)


def test_the_same_seed_gives_the_same_interval_and_another_one_does_not() -> None:
    values = np.arange(50.0)
    assert ratio(values, seed=1) == ratio(values, seed=1)
    assert ratio(values, seed=1) != ratio(values, seed=2)


@pytest.mark.parametrize(
    ("numerators", "denominators", "message"),
    [
        ([], [], "no records"),
        ([1.0, math.nan], [1.0, 1.0], "not finite"),
        ([1.0, math.inf], [1.0, 1.0], "not finite"),
        ([1.0, 2.0], [0.0, 0.0], "nothing to divide by"),
        ([1.0, 2.0], [1.0], "do not belong together"),
    ],
)
def test_what_cannot_be_measured_is_an_error(numerators: list[float], denominators: list[float], message: str) -> None:
    with pytest.raises(MiaobiError, match=message):
        ratio(numerators, denominators)


def _bits(mean: float, seed: int, difficulty: np.ndarray) -> Figure:
    noise = np.random.default_rng(seed).normal(0, 0.1, size=len(difficulty))
    return ratio((difficulty + mean + noise) * 30, np.full(len(difficulty), 30.0), better="lower")


def test_pairing_finds_a_difference_that_the_intervals_alone_hide() -> None:
    difficulty = np.random.default_rng(3).normal(6, 1.5, size=300)  # poems differ far more than the two models do
    a, b = _bits(0.0, 4, difficulty), _bits(0.1, 5, difficulty)
    assert a.high is not None
    assert b.low is not None
    assert a.high > b.low
    gap = difference(a, b)
    assert gap.significant
    assert gap.value == pytest.approx(-0.1, abs=0.03)
    assert gap.relative_high < 0
    assert gap.wins > 0.6


def test_a_share_of_what_may_be_below_zero_is_not_given() -> None:
    near_zero, far = ratio(np.linspace(-1.0, 1.2, 50)), ratio(np.linspace(4.0, 6.0, 50))
    assert {"relative", "relative_low", "relative_high"}.isdisjoint(difference(far, near_zero).to_dict())
    assert difference(near_zero, far).to_dict()["relative"] == pytest.approx(0.1 / 5 - 1)
    head, *_ = _change(difference(far, near_zero).to_dict())
    assert head == "+4.9"


def test_equal_models_are_rarely_told_apart() -> None:
    found = 0
    for trial in range(60):
        difficulty = np.random.default_rng(trial).normal(6, 1.5, size=100)
        found += difference(_bits(0, 1000 + trial, difficulty), _bits(0, 2000 + trial, difficulty)).significant
    assert found <= 8  # 5 % of 60 is 3


def test_a_model_against_itself_makes_no_difference() -> None:
    figure = ratio(np.arange(1.0, 101.0), better="lower")
    gap = difference(figure, figure)
    assert (gap.value, gap.p_value, gap.wins, gap.significant) == (0.0, 1.0, 0.5, False)


def test_figures_over_other_records_are_not_paired() -> None:
    with pytest.raises(MiaobiError, match="same records"):
        difference(ratio([1.0, 2.0, 3.0]), ratio([1.0, 2.0]))


def test_a_few_flags_tell_no_models_apart() -> None:
    """Four against none of four: every resample says so, but so does chance, once in eight (paired) or in 35."""
    all_of_them, none_of_them = share([True] * 4, better="higher"), share([False] * 4, better="higher")
    assert difference(all_of_them, none_of_them).p_value == pytest.approx(2 / 16)
    assert difference(all_of_them, none_of_them, paired=False).p_value == pytest.approx(2 / 70)
    assert difference(share([True] * 9), share([False] * 9)).significant
    assert fisher_p(3, 4, 1, 4) == pytest.approx(34 / 70)  # the lady tasting tea: R's fisher.test gives 0.4857


def test_permutation_and_mcnemar() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(0, 1, size=60)
    assert permutation_p(a, a + 0.5, draws=2000) < 0.01
    assert permutation_p(a, a + rng.normal(0, 1, size=60), draws=2000) > 0.01
    assert permutation_p(a, a, draws=500) == 1.0
    # 10 pairs disagree, 9 one way: 2·(C(10,0) + C(10,1)) / 2¹⁰
    assert mcnemar_p([True] * 9 + [False] + [True] * 5, [False] * 9 + [True] + [True] * 5) == pytest.approx(22 / 1024)
