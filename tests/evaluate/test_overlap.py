"""Texts beside those that were to be written: sacrebleu's numbers, ROUGE by hand, and intervals that compare in pairs."""

from __future__ import annotations

import numpy as np
import pytest
from tests.evaluate.conftest import MakeEvidence

from miaobi.engine.metrics import Unmeasurable, overlap
from miaobi.engine.metrics.confidence import difference

MADE = [
    "The cat sat on the mat, and looked at 3.5 dogs.",
    "春眠不觉晓，处处闻啼鸟。夜来风雨急，花落知多少。",
    "It was a fine day; nobody came (as usual).",
    "白日依山尽，海河入黄流。",
    "x",
]
REAL = [
    "The cat lay on the mat and looked at 3.5 dogs!",
    "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。",
    "It was a fine morning; nobody at all came.",
    "白日依山尽，黄河入海流。",
    "A word that was not said.",
]


@pytest.mark.parametrize("rows", [slice(0, 5), slice(0, 1), slice(3, 5), slice(4, 5)], ids=["all", "one", "short", "nothing"])
def test_bleu_and_chrf_are_those_of_sacrebleu(evidence: MakeEvidence, rows: slice) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    made, real = MADE[rows], REAL[rows]
    shown = evidence(made, real)
    expected = sacrebleu.corpus_bleu(made, [real], tokenize="zh").score
    assert overlap.bleu.figures(shown)["bleu"].value == pytest.approx(expected, abs=1e-6)
    assert overlap.chrf.figures(shown)["chrf"].value == pytest.approx(sacrebleu.corpus_chrf(made, [real]).score, abs=1e-6)


def test_english_is_parted_as_by_13a() -> None:
    tokenizer = pytest.importorskip("sacrebleu.tokenizers.tokenizer_13a").Tokenizer13a()
    for text in (MADE[0], REAL[0], MADE[2], "Mr. O'Neill's 1,000-odd \"friends\" & co. [sic] 10%"):
        assert overlap.tokens(text) == tokenizer(text).split()


def test_a_corpus_interval_holds_its_value_and_pairs_tell_models_apart(evidence: MakeEvidence) -> None:
    worse = [text[: len(text) // 2] for text in MADE]
    a, b = (overlap.chrf.figures(evidence(texts * 8, REAL * 8))["chrf"] for texts in (MADE, worse))
    assert a.low is not None
    assert a.high is not None
    assert a.low < a.value < a.high
    gap = difference(a, b)
    assert gap.test == "paired bootstrap"
    assert gap.value > 0
    assert gap.p_value < 0.01
    assert difference(a, a).p_value == 1.0


def test_rouge_by_hand(evidence: MakeEvidence) -> None:
    found = overlap.rouge.figures(evidence(["the cat sat down"], ["down the cat sat"]))
    assert found["rouge_1"].value == 1.0
    assert found["rouge_2"].value == pytest.approx(2 / 3)
    assert found["rouge_l"].value == pytest.approx(3 / 4)


def test_exact_match_looks_past_white_space(evidence: MakeEvidence) -> None:
    found = overlap.exact_match.figures(evidence(["a  b\n", "a c", "春"], ["a b", "a b", "春"]))["exact_match"]
    assert found.value == pytest.approx(2 / 3)


def test_without_references_there_is_nothing_to_measure(evidence: MakeEvidence) -> None:
    for metric in (overlap.bleu, overlap.chrf, overlap.rouge, overlap.exact_match):
        with pytest.raises(Unmeasurable):
            metric.figures(evidence(["a text"]))


def test_scores_fall_when_texts_grow_worse(evidence: MakeEvidence) -> None:
    scores = []
    for keep in (1.0, 0.7, 0.4):
        rng = np.random.default_rng(0)
        texts = [" ".join(word if rng.random() < keep else "zzz" for word in text.split()) for text in REAL]
        shown = evidence(texts, REAL)
        scores.append([metric.figures(shown)[name].value for metric, name in ((overlap.bleu, "bleu"), (overlap.chrf, "chrf"))])
    assert scores[0] == [pytest.approx(100.0), pytest.approx(100.0)]
    assert np.all(np.diff(scores, axis=0) < 0)
