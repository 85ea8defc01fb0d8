"""Diversity figures against values counted by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from miaobi.engine.metrics import Evidence, find_metric
from miaobi.engine.metrics.diversity import distinct_share, ngrams, phrases, repeated, self_bleu_scores

MakeEvidence = Callable[..., Evidence]


def test_units_are_han_characters_and_words_and_phrases_end_at_punctuation() -> None:
    assert phrases("床前明月光，疑是\n地上") == [list("床前明月光"), list("疑是"), list("地上")]
    assert phrases("The fox's den, at 3pm.") == [["the", "fox's", "den"], ["at", "3pm"]]
    assert phrases("GPT模型 好") == [["gpt", "模", "型", "好"]]
    assert phrases("，。\n") == []


def test_ngrams_do_not_cross_a_phrase() -> None:
    assert list(ngrams(phrases("ab cd, ef"), 2)) == [("ab", "cd")]


def test_distinct_share_counts() -> None:
    grams = [list(ngrams(phrases(text), 2)) for text in ("春风春风", "春风")]  # 春风 风春 春风 | 春风
    assert distinct_share(grams) == 2 / 4
    assert distinct_share([]) == 0


def test_distinct_compares_sets_of_equal_size(evidence: MakeEvidence) -> None:
    figures = find_metric("distinct").figures(evidence(["春花秋月"] * 40, ["何时了往事知多少小楼昨夜又东风"] * 40))
    assert figures["distinct_1"].value == 4 / 160
    assert figures["distinct_1_real"].value == pytest.approx(15 / 160)  # cut to the 160 units of the generated ones
    assert figures["distinct_1_to_real"].value == pytest.approx(4 / 15)
    assert figures["distinct_1"].note == ""


def test_self_bleu_is_one_for_copies_and_low_for_strangers() -> None:
    copies = self_bleu_scores([phrases("白日依山尽黄河入海流")] * 3)
    assert copies == pytest.approx([1.0, 1.0, 1.0])
    strangers = self_bleu_scores([phrases("白日依山尽"), phrases("春眠不觉晓")])
    assert max(strangers) < 0.05


def test_self_bleu_by_hand() -> None:
    # "a b c d" against {"a b x", "c d a b"}: unigrams 4/4, bigrams {ab, bc, cd} 2/3, trigrams 0/2 and 4-grams 0/1 smoothed to 0.1
    score = self_bleu_scores([phrases("a b c d"), phrases("a b x"), phrases("c d a b")])[0]
    assert score == pytest.approx(math.exp((math.log(1) + math.log(2 / 3) + math.log(0.1 / 2) + math.log(0.1)) / 4))


def test_self_bleu_clips_by_the_most_frequent_other_text() -> None:
    # "a a a" against {"a a b", "a c d"}: two of three unigrams are matched, one of two bigrams
    score = self_bleu_scores([phrases("a a a"), phrases("a a b"), phrases("a c d")], order=2)[0]
    assert score == pytest.approx(math.sqrt(2 / 3 * 1 / 2))


def test_self_bleu_penalises_brevity() -> None:
    score = self_bleu_scores([phrases("a b"), phrases("a b c d")], order=2)[0]
    assert score == pytest.approx(math.exp(1 - 4 / 2))


def test_repetition_is_inside_a_text(evidence: MakeEvidence) -> None:
    assert repeated("abab") == (2, 4)
    figures = find_metric("repetition").figures(evidence(["春风春风春风\n夜雨\n夜雨", "独坐幽篁里"]))
    assert figures["repetition_2"].value == pytest.approx(4 / 11)  # 春风 three times, 风春 twice, 夜雨 twice; 11 bigrams
    assert figures["repetition_lines"].value == pytest.approx(1 / 4)


def test_length_counts_units(evidence: MakeEvidence) -> None:
    figures = find_metric("length").figures(evidence(["春眠不觉晓，", "a b c"], ["处处", "闻啼鸟啊"]))
    assert figures["length"].value == 4
    assert figures["length_real"].value == 3
