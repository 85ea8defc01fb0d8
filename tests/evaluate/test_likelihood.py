"""Likelihood figures against sums done by hand, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.protocols import Score
from miaobi.engine.baselines import check_same_text
from miaobi.engine.metrics import BUILTIN, Evidence, Figure, Metric, find_metric
from miaobi.engine.metrics.confidence import difference

SCORES = [Score(id="a", bits=20.0, tokens=5, characters=4, bytes=12), Score(id="b", bits=10.0, tokens=5, characters=6, bytes=18)]


def test_bits_are_summed_over_all_records() -> None:
    evidence = Evidence(scores=SCORES)
    figures = {name: find_metric(name).figures(evidence)[name] for name in ("bits_per_character", "bits_per_byte", "perplexity")}
    assert figures["bits_per_character"].value == 30 / 10
    assert figures["bits_per_byte"].value == 30 / 30
    assert figures["perplexity"].value == 2 ** (30 / 10)
    assert figures["perplexity"].low is not None
    assert figures["perplexity"].low <= 8 <= (figures["perplexity"].high or 0)


def test_perplexities_differ_as_perplexities_do() -> None:
    worse = [replace(score, bits=score.bits * 2) for score in SCORES]
    a, b = (find_metric("perplexity").figures(Evidence(scores=scores))["perplexity"] for scores in (SCORES, worse))
    gap = difference(a, b)
    assert (gap.value, gap.relative) == (8 - 64, 8 / 64 - 1)
    assert gap.low <= gap.value <= gap.high
    assert gap.wins == 1


def test_infinite_bits_are_an_error_and_not_a_figure() -> None:
    broken = [*SCORES, Score(id="c", bits=math.inf, tokens=1, characters=1, bytes=3)]
    with pytest.raises(MiaobiError, match="not finite"):
        find_metric("bits_per_character").figures(Evidence(scores=broken))


def test_no_records_are_an_error() -> None:
    with pytest.raises(MiaobiError, match="no records"):
        find_metric("bits_per_character").figures(Evidence())


def test_a_metric_that_gives_nan_is_named() -> None:
    broken = Metric(name="odd", summary="", needs=frozenset(), compute=lambda evidence: Figure(value=math.nan, count=3))
    with pytest.raises(MiaobiError, match="odd gave nan over 3"):
        broken.figures(Evidence())


def test_an_unknown_metric_has_a_nearest_name() -> None:
    with pytest.raises(UsageError, match="Did you mean 'perplexity'"):
        find_metric("perplexty")


@pytest.mark.parametrize("name", BUILTIN)
def test_every_metric_of_the_registry_is_what_it_is_called(name: str) -> None:
    found = find_metric(name)
    assert found.name == name
    assert found.needs
    assert found.summary.endswith((".", "1."))


def test_likelihoods_of_other_text_are_not_compared() -> None:
    check_same_text(SCORES, SCORES, "other")
    shorter = [SCORES[0], Score(id="b", bits=1.0, tokens=5, characters=5, bytes=15)]
    with pytest.raises(MiaobiError, match="of record b it scores 5 characters and the model 6"):
        check_same_text(SCORES, shorter, "other")


def test_a_figure_is_written_in_six_digits_without_empty_fields() -> None:
    assert Figure(value=1 / 3, count=2).to_dict() == {"value": 0.333333, "count": 2}
