from __future__ import annotations

import json
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miaobi.core.errors import UsageError
from miaobi.models.verse import forms, prosody
from miaobi.models.verse.check import check, split_lines
from miaobi.models.verse.constraint import State, VerseConstraint


def walk(constraint: VerseConstraint, vocabulary: list[str], seed: int, end: int) -> tuple[str, State]:
    """A poem of random allowed tokens."""
    rng = np.random.default_rng(seed)
    state, tokens = constraint.start(), []
    for _ in range(constraint.num_tokens):
        allowed = constraint.allowed(state)
        assert allowed.shape == (len(vocabulary),)
        assert allowed.any()
        token = int(rng.choice(np.flatnonzero(allowed)))
        state = constraint.advance(state, token)
        tokens.append(token)
    assert tokens[-1] == end
    assert tokens.count(end) == 1
    return "".join(vocabulary[token] for token in tokens[:-1]), state


def make(name: str, vocabulary: list[str], **options: Any) -> VerseConstraint:
    return VerseConstraint(forms.form(name), vocabulary, end_token=1, **options)


@pytest.mark.parametrize("name", forms.names())
def test_every_form_comes_out_regular(name: str, vocabulary: list[str], end: int) -> None:
    form = forms.form(name)
    asked: list[tuple[str, forms.Tone]] = [("pingshui", "strict"), ("pingshui", "loose"), ("pingshui", "none"), ("xinyun", "loose")]
    for seed, (rhyme, tone) in enumerate(asked):
        constraint = VerseConstraint(form, vocabulary, end_token=end, rhyme=rhyme, tone=tone)
        text, state = walk(constraint, vocabulary, seed, end)
        report = check(text, form, rhyme=rhyme)
        assert report.form_ok
        assert report.rhyme_ok, report.violations
        assert not report.repeated_lines
        assert not state.relaxed
        assert tone == "none" or report.tone_share_loose == 1.0
        assert tone != "strict" or report.tone_share == 1.0
        assert [line.rstrip("。！？") + "。" for line in text.split("\n")] == form.layout(split_lines(text)).split("\n")


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(forms.names()),
    rhyme=st.sampled_from(prosody.RHYMES),
    tone=st.sampled_from(forms.TONES),
    repeat=st.sampled_from(["line", "character", "none"]),
    acrostic=st.text("春夏秋冬风花雪月天地", max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_options_give_a_whole_poem(
    name: str, rhyme: str, tone: forms.Tone, repeat: str, acrostic: str, seed: int, vocabulary: list[str]
) -> None:
    form = forms.form(name)
    if any(line < len(acrostic) for line in form.echoes):
        acrostic = ""
    constraint = make(name, vocabulary, rhyme=rhyme, tone=tone, repeat=repeat, acrostic=acrostic)
    text, state = walk(constraint, vocabulary, seed, 1)
    lines = split_lines(text)
    assert tuple(map(len, lines)) == form.lines
    assert "".join(line[0] for line in lines[: len(acrostic)]) == acrostic
    for line, source in form.echoes.items():
        assert lines[source].endswith(lines[line])
    if rhyme != "none" and not state.relaxed:
        assert check(text, form, rhyme=rhyme).rhyme_ok


def test_rhyme_words_differ(vocabulary: list[str], end: int) -> None:
    for seed in range(20):
        text, _ = walk(make("七律", vocabulary), vocabulary, seed, end)
        words = [line[-1] for line in split_lines(text)[1::2]]
        assert len(set(words)) == 4


def test_no_character_twice_but_reduplications(vocabulary: list[str], end: int) -> None:
    for seed in range(20):
        text, _ = walk(make("七绝", vocabulary, repeat="character"), vocabulary, seed, end)
        assert check(text, "七绝").repeated_characters == ()
    constraint = make("七绝", vocabulary, repeat="character", tone="none", first_line="悠悠天地有无中")
    assert walk(constraint, vocabulary, 0, end)[0].startswith("悠悠天地有无中，")
    constraint = make("七绝", vocabulary, repeat="character", tone="none")
    twice = tokens(vocabulary, "悠悠")
    state = constraint.advance(constraint.start(), twice[0])
    assert constraint.allowed(state)[twice[0]]
    assert not constraint.allowed(constraint.advance(state, twice[1]))[twice[0]]


def test_a_line_does_not_come_twice(vocabulary: list[str]) -> None:
    constraint = make("五绝", vocabulary, tone="none", rhyme="none")
    state = feed(constraint, vocabulary, "清风明月夜，清风明月")
    assert not constraint.allowed(state)[vocabulary.index("夜")]
    assert make("五绝", vocabulary, tone="none", rhyme="none", repeat="none").allowed(state)[vocabulary.index("夜")]


def test_patterns_stay_open_until_the_text_decides(vocabulary: list[str]) -> None:
    constraint = make("五绝", vocabulary, tone="strict")
    patterns = {hypothesis.pattern for hypothesis in constraint.start().hypotheses}
    assert patterns == {0, 1, 2, 3}
    state = feed(constraint, vocabulary, "白日")
    assert {hypothesis.pattern for hypothesis in state.hypotheses} == {0, 1}  # 仄起
    state = feed(constraint, vocabulary, "白日依山尽，")
    assert {hypothesis.pattern for hypothesis in state.hypotheses} == {0}  # the first line does not rhyme
    state = feed(constraint, vocabulary, "白日依山尽，黄河入海流。\n欲穷千里目，更上一层")
    allowed = {vocabulary[token] for token in np.flatnonzero(constraint.allowed(state))}
    assert "楼" in allowed
    assert not allowed & set("流天中月")  # used, another group, another group, 仄


def test_real_poems_are_allowed_token_by_token(vocabulary: list[str]) -> None:
    poems = json.loads(Path(__file__).with_name("poems.json").read_text(encoding="utf-8"))
    regular = [(poem["form"], poem["text"]) for title, poem in poems["shi"].items() if title != "清明"]  # it borrows its first rhyme
    for name, text in [*regular, *poems["ci"].items()]:
        if name == "浣溪沙":
            continue  # 回 and 来 rhyme in 平水韵, but not in 词林正韵
        lines = split_lines(text)
        form = next(form for form in forms.variants(name) if form.lines == tuple(map(len, lines)))
        constraint = VerseConstraint(form, vocabulary, end_token=1)
        state = constraint.start()
        for number, token in enumerate(tokens(vocabulary, form.layout(lines))):
            assert constraint.allowed(state)[token], (name, text[: number + 1])
            state = constraint.advance(state, token)
        assert list(np.flatnonzero(constraint.allowed(state))) == [1]


def test_states_are_values(vocabulary: list[str]) -> None:
    constraint = make("五绝", vocabulary)
    state = feed(constraint, vocabulary, "白日")
    other = constraint.advance(state, vocabulary.index("依"))
    again = constraint.advance(state, vocabulary.index("依"))
    assert other == again
    assert hash(other) == hash(again)
    assert state == feed(constraint, vocabulary, "白日")
    with pytest.raises(ValueError, match="read-only"):
        constraint.allowed(constraint.start())[0] = True


def test_a_given_line_that_breaks_the_rules_is_kept_and_told(vocabulary: list[str], end: int) -> None:
    constraint = make("五绝", vocabulary, tone="strict", first_line="举头望明月")
    text, state = walk(constraint, vocabulary, 1, end)
    assert text.startswith("举头望明月，")
    assert constraint.relaxations(state)
    assert all("line 1" in note for note in constraint.relaxations(state))
    assert check(text, "五绝").rhyme_ok
    regular = make("五绝", vocabulary, tone="strict", first_line="白日依山尽")
    assert regular.relaxations(walk(regular, vocabulary, 1, end)[1]) == ()


def test_a_given_first_line_rhymes_when_it_ends_level(vocabulary: list[str], end: int) -> None:
    constraint = make("七绝", vocabulary, first_line="月落乌啼霜满天，")
    for seed in range(5):
        text, state = walk(constraint, vocabulary, seed, end)
        assert check(text, "七绝").rhymes == ("下平一先",)
        assert not state.relaxed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"acrostic": "春夏秋冬梅"}, "has 5 characters but 五绝 has 4 lines"),
        ({"first_line": "床前明月"}, "has 4 characters but the first line of 五绝 has 5"),
        ({"first_line": "床前明月光", "acrostic": "春"}, "must begin alike"),
        ({"acrostic": "春A"}, "does not know A"),
        ({"acrostic": "𠀀"}, "does not know 𠀀"),
        ({"tone": "lose"}, "Did you mean 'loose'"),
        ({"rhyme": "pingshu"}, "Did you mean 'pingshui'"),
        ({"repeat": "lines"}, "Did you mean 'line'"),
    ],
)
def test_the_impossible_is_refused_with_reasons(options: dict[str, Any], message: str, vocabulary: list[str]) -> None:
    with pytest.raises(UsageError, match=message):
        make("五绝", vocabulary, **options)


def test_a_repeated_line_cannot_be_given(vocabulary: list[str]) -> None:
    with pytest.raises(UsageError, match="line 6 of 如梦令 repeats line 5"):
        make("如梦令", vocabulary, acrostic="春夏秋冬风花")


def test_a_vocabulary_without_marks_or_rhymes_is_refused(vocabulary: list[str]) -> None:
    with pytest.raises(UsageError, match="marks"):
        make("五绝", [token for token in vocabulary if token not in ("。", "！", "？")])
    with pytest.raises(UsageError, match="too few rhyming characters"):
        make("五绝", [*vocabulary[:8], *"天地玄黄宇宙洪荒"])


def test_a_small_vocabulary_never_runs_dry(end: int) -> None:
    """Every group of rhymes that is open has enough characters, whatever was used before."""
    small = ["<空>", "<终>", "\n", "，", "。", *"天年边泉烟仙船眠钱田山水月夜雨落日白玉石出入一不有是"]
    for seed in range(15):
        for repeat in ("line", "character"):
            text, _ = walk(make("七律", small, repeat=repeat), small, seed, end)
            assert check(text, "七律").rhyme_ok


def test_it_decodes_in_a_batch_with_other_rows(vocabulary: list[str], end: int) -> None:
    """The automaton does what the sampling engine expects of a constraint."""
    from miaobi.engine.sampling.constraint import Constraint

    constraint: Constraint[State] = make("五绝", vocabulary)
    mask = constraint.allowed(constraint.start())
    assert mask is not None
    assert not mask[end]


def tokens(vocabulary: list[str], text: str) -> list[int]:
    return [vocabulary.index(character) for character in text]


def feed(constraint: VerseConstraint, vocabulary: list[str], text: str) -> State:
    return reduce(constraint.advance, tokens(vocabulary, text), constraint.start())
