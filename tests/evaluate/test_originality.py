"""What a text shares with the training texts, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

from miaobi.engine.metrics import Evidence, find_metric
from miaobi.engine.metrics.originality import clauses, size

MakeEvidence = Callable[..., Evidence]
TRAINING = ["床前明月光，疑是地上霜。\n举头望明月，低头思故乡。", "白日依山尽，黄河入海流。"]


def test_size_counts_units_not_punctuation() -> None:
    assert size("明月光，疑是") == 5
    assert size("a red fox.") == 3


def test_the_longest_span_may_cross_lines_and_stand_anywhere(evidence: MakeEvidence) -> None:
    texts = ["夜深明月光，疑是秋霜", "黄河入海流去", "龘"]
    figures = find_metric("verbatim").figures(evidence(texts, training=TRAINING))
    assert figures["verbatim"].parts is not None
    assert figures["verbatim"].parts[0].tolist() == [5, 5, 0]
    assert figures["verbatim_max"].value == 5
    assert "verbatim_real" not in figures


def test_real_texts_are_the_control(evidence: MakeEvidence) -> None:
    figures = find_metric("verbatim").figures(evidence(["床前明月光"], ["山尽"], TRAINING))
    assert (figures["verbatim"].value, figures["verbatim_real"].value) == (5, 2)


def test_a_copied_clause_counts_and_a_short_one_does_not(evidence: MakeEvidence) -> None:
    texts = ["举头望明月，何处是故乡", "床前明月，光照", "黄河入海流！", "白日照山尽"]
    figures = find_metric("copied").figures(evidence(texts, training=TRAINING))
    assert figures["copied"].value == 0.5
    assert clauses("君不见，黄河之水天上来") == [tuple("黄河之水天上来")]
