"""The line filter never misses and seldom accuses; the span index agrees with brute force."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from miaobi.core.errors import ArtifactError
from miaobi.trust.originality import LineFilter, SpanIndex, longest_shared_span

pytest.importorskip("pydivsufsort")
LETTERS = [chr(0x4E00 + number) for number in range(500)]


def lines(count: int, seed: int) -> list[str]:
    source = random.Random(seed)
    return ["".join(source.choices(LETTERS, k=7)) for _ in range(count)]


def test_the_filter_never_misses_and_keeps_its_rate() -> None:
    known, others = lines(20_000, 0), lines(50_000, 1)
    for rate in (1e-2, 1e-3):
        filter = LineFilter.build(iter(known), rate=rate)
        assert filter.contains_many(known).all()
        assert filter.contains_many(others).mean() < 1.5 * rate  # 5 standard deviations at 1e-3 are 0.7e-3
        assert filter.num_bits / len(known) < 1.45 * -math.log2(rate)


def test_punctuation_and_repetition_do_not_count() -> None:
    filter = LineFilter.build(["床前明月光，", "床前明月光。", "疑是 地上霜", "", "，"])
    assert filter.lines == 2
    assert filter.contains("床前明月光")
    assert filter.contains("疑是地上霜。")
    assert not filter.contains("举头望明月")
    assert not filter.contains("")
    assert not filter.contains("，。")
    assert not LineFilter.build([]).contains("举头望明月")
    assert filter.contains_many([]).shape == (0,)


def test_a_filter_grows_by_adding() -> None:
    filter = LineFilter.empty(1000)
    filter.add(lines(600, 0))
    filter.add(["a new line"])
    assert filter.contains_many([*lines(600, 0), "a new line"]).all()
    assert filter.lines == 601
    assert filter.contains_many(lines(10_000, 1)).mean() < 1e-3


def test_a_saved_filter_is_the_same_bytes_and_answers(tmp_path: Path) -> None:
    known = lines(3000, 0)
    LineFilter.build(known).save(tmp_path / "a.lines")
    LineFilter.build(reversed(known)).save(tmp_path / "b.lines")
    assert (tmp_path / "a.lines").read_bytes() == (tmp_path / "b.lines").read_bytes()
    opened = LineFilter.open(tmp_path / "a.lines", verify=True)
    assert (opened.lines, opened.rate) == (3000, 1e-3)
    assert opened.contains_many(known).all()
    with pytest.raises(AssertionError, match="read-only"):
        opened.add(["more"])


def test_damaged_filters_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.lines"
    LineFilter.build(lines(3000, 0)).save(path)
    good = path.read_bytes()
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    for damaged in (b"", b"hello", good[:300], good[:-1], good + b"x", good.replace(b'"num_hashes": 10', b'"num_hashes": 0 ')):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="no line filter"):
            LineFilter.open(path)
    path.write_bytes(flipped)
    with pytest.raises(ArtifactError, match="recorded"):
        LineFilter.open(path, verify=True)
    with pytest.raises(ArtifactError, match="there is no line filter"):
        LineFilter.open(tmp_path / "none")


def brute_force(text: str, corpus: list[str]) -> int:
    """The length of the longest common substring, by trying all."""
    spans = {text[start:end] for start in range(len(text)) for end in range(start + 1, len(text) + 1)}
    return max((len(span) for span in spans if any(span in document for document in corpus)), default=0)


@pytest.mark.parametrize("alphabet", ["ab", "ab\n", "月光明", "aé月😀"])  # 1, 2, 3 and 4 bytes of UTF-8
def test_spans_agree_with_brute_force(alphabet: str) -> None:
    source = random.Random(5)
    for _ in range(60):
        corpus = ["".join(source.choices(alphabet, k=source.randrange(12))) for _ in range(source.randrange(1, 5))]
        text = "".join(source.choices(alphabet + "x", k=source.randrange(15)))
        (span,) = longest_shared_span([text], corpus)
        assert len(span.text) == brute_force(text, corpus)
        if span.text:
            assert text[span.start : span.start + len(span.text)] == span.text
            assert corpus[span.document][span.offset : span.offset + len(span.text)] == span.text


def test_spans_do_not_cross_documents_and_say_where() -> None:
    index = SpanIndex(["床前明月光", "", "疑是地上霜"])
    span = index.longest("月光疑是地上")
    assert (span.text, span.start, span.document, span.offset) == ("疑是地上", 2, 2, 0)
    assert index.longest("举头望").document == -1
    assert index.longest("").text == ""
    assert SpanIndex([]).longest("月").text == ""
