"""Subtitles: read and written in two formats, made from the times of words, lines broken where Chinese and English allow it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miaobi.core.errors import DataError
from miaobi.data.subtitles import COLUMNS, LONGEST, Cue, break_lines, of_notes, of_words, parse, to_srt, to_vtt, width_of

CUES = [Cue(0.5, 2.25, "床前明月光，\n疑是地上霜。"), Cue(3600.0, 3602.04, "a < b & c\n<i>x"), Cue(7200.001, 7201.0, "再见")]
CHINESE = "人工智能正在改变我们的生活，从手机助手到自动驾驶汽车，它无处不在，而且变得越来越聪明。"
ENGLISH = "The quick brown fox jumps over the lazy dog, and then it goes home to sleep until the next morning comes."


def test_what_is_written_is_read_back() -> None:
    plain = [Cue(cue.start, cue.end, cue.text.replace("<i>", "")) for cue in CUES]
    assert parse(to_srt(plain)) == plain
    assert parse(to_vtt(plain)) == plain
    assert to_vtt(plain).startswith("WEBVTT\n\n00:00:00.500 --> 00:00:02.250\n")
    assert to_srt(plain).startswith("1\n00:00:00,500 --> 00:00:02,250\n")


def test_files_of_others_are_read() -> None:
    source = (
        "\ufeffWEBVTT - a title\r\n\r\nSTYLE\r\n::cue {color: red}\r\n\r\nNOTE nothing\r\n\r\nfirst\r\n"
        "00:01.000 --> 00:02.500 align:start position:10%\r\n<v Ann>Hello <b>world</b> &amp; all\r\n\r\n"
        "01:00:00.000 --> 01:00:01.000\r\n{\\an8}bye\r\n"
    )
    assert parse(source) == [Cue(1.0, 2.5, "Hello world & all"), Cue(3600.0, 3601.0, "bye")]


def test_cues_come_in_the_order_of_time_and_empty_ones_are_left_out() -> None:
    source = "1\n00:00:05,000 --> 00:00:06,000\nlater\n\n2\n00:00:01,000 --> 00:00:02,000\nfirst\n\n3\n00:00:03,000 --> 00:00:04,000\n\n"
    assert [cue.text for cue in parse(source)] == ["first", "later"]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("", "no subtitles"),
        ("just words\nand more", "no subtitles"),
        ("1\n00:00:01,000 --> nothing\nx", "line 2"),
        ("1\n00:00:03,000 --> 00:00:01,000\nx", "line 2: the subtitle ends before it begins"),
        ("1\n00:00:61,000 --> 00:02:00,000\nx", "line 2"),
    ],
)
def test_damaged_files_are_refused_with_their_line(source: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        parse(source)


@pytest.mark.parametrize("text", [CHINESE, ENGLISH, "我们用 PyTorch 训练了一个 GPT-4 级别的模型（参数量超过一万亿），效果很好。"])
@pytest.mark.parametrize("columns", [16, 20, 28, 42])
def test_lines_fit_and_lose_nothing(text: str, columns: int) -> None:
    lines = break_lines(text, columns=columns)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert max(map(width_of, lines)) <= columns
    assert not any(line[0] in "，。、；：！？）" or line[-1] in "（《“" for line in lines)


def test_words_are_not_split() -> None:
    assert all(word in ENGLISH.split() for line in break_lines(ENGLISH, columns=20) for word in line.split())
    text = "今天我们去图书馆看书"
    lines = break_lines(text, columns=12, words=[0, 2, 4, 5, 8])
    assert lines == ["今天我们去", "图书馆看书"]


def test_lines_are_even_and_break_behind_commas() -> None:
    assert break_lines("举头望明月，低头思故乡。", columns=14) == ["举头望明月，", "低头思故乡。"]
    first, second = break_lines("one two three four five six seven eight", columns=30)
    assert abs(width_of(first) - width_of(second)) <= 8


@settings(max_examples=80, deadline=None)
@given(st.text(st.sampled_from("床前明月光，。（）a b c 1"), max_size=60), st.integers(6, 40))
def test_any_text_is_broken_without_loss(text: str, columns: int) -> None:
    lines = break_lines(text, columns=columns)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(lines)


def timed(text: str, pace: float = 0.25) -> list[tuple[str, float, float]]:
    """Every character a word of the same length, punctuation as none."""
    return [(letter, n * pace, (n + 1) * pace) for n, letter in enumerate(text) if letter.isalnum()]


def test_cues_of_words_keep_the_text_the_order_and_the_limits() -> None:
    text = CHINESE * 4
    cues = of_words(timed(text), text)
    assert "".join(cue.text.replace("\n", "") for cue in cues) == text
    assert all(before.end <= after.start for before, after in itertools.pairwise(cues))
    assert all(cue.end - cue.start <= LONGEST for cue in cues)
    assert all(len(cue.text.split("\n")) <= 2 for cue in cues)
    assert all(width_of(line) <= COLUMNS["zh"] for cue in cues for line in cue.text.split("\n"))
    assert sum(cue.text[-1] in "，。" for cue in cues) >= len(cues) - 1, "cues end where clauses end"


def test_notes_of_a_narration_become_cues() -> None:
    notes = {
        "sentences": [["床前明月光，", 0.0, 1.2], ["疑是地上霜。", 1.5, 3.0]],
        "words": [["床前", 0.1, 0.4], ["明月光", 0.5, 1.15], ["疑是", 1.55, 2.0], ["地上", 2.0, 2.4], ["霜", 2.5, 2.9]],
    }
    assert of_notes(notes) == [Cue(0.1, 1.55, "床前明月光，"), Cue(1.55, 3.3, "疑是地上霜。")]
    without = of_notes({"sentences": notes["sentences"]})
    assert [cue.text for cue in without] == ["床前明月光，", "疑是地上霜。"]
    with pytest.raises(DataError, match="no times"):
        of_notes({})


def test_cues_stay_long_enough_to_be_read() -> None:
    [first, second] = of_notes({"sentences": [["好。", 0.0, 0.2], ["走。", 5.0, 5.2]]})
    assert first.end - first.start > 0.79
    assert second.end - second.start > 0.79
