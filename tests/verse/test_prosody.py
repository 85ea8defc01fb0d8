from __future__ import annotations

import pytest

from miaobi.core.errors import UsageError
from miaobi.models.verse import prosody


def tones(character: str, name: str = "pingshui") -> set[str]:
    return {reading.tone for reading in prosody.lookup(character, name) if reading.common}


def groups(character: str, name: str = "pingshui") -> set[str]:
    return {reading.group for reading in prosody.lookup(character, name) if reading.common}


def test_the_books_have_their_groups() -> None:
    assert len(prosody.book("pingshui").groups) == 106
    assert len(prosody.book("cilin").groups) == 19
    assert len(prosody.book("xinyun").groups) == 14
    assert prosody.book("pingshui").groups[:3] == ("上平一东", "上平二冬", "上平三江")
    assert prosody.book("pingshui").groups[-1] == "入声十七洽"


@pytest.mark.parametrize(
    ("character", "group"), [("东", "上平一东"), ("冬", "上平二冬"), ("天", "下平一先"), ("楼", "下平十一尤"), ("北", "入声十三职")]
)
def test_single_readings(character: str, group: str) -> None:
    assert groups(character) == {group}


@pytest.mark.parametrize("character", "白竹节急石发读十一八")
def test_entering_tones_are_oblique_in_the_old_books_and_modern_in_the_new(character: str) -> None:
    assert tones(character) == {"仄"}
    assert tones(character, "cilin") == {"仄"}
    assert "平" in tones(character, "xinyun")


@pytest.mark.parametrize("character", "看听教过望忘论应为")
def test_polyphones_have_both_tones(character: str) -> None:
    assert prosody.is_polyphone(character)


@pytest.mark.parametrize(("character", "tone"), [("春", "平"), ("不", "仄"), ("山", "平"), ("月", "仄"), ("人", "平"), ("来", "平")])
def test_others_have_one(character: str, tone: str) -> None:
    assert tones(character) == {tone}


def test_traditional_forms_lend_their_readings() -> None:
    assert groups("发") == {"入声六月"}  # 發 and 髮
    assert {"下平八庚", "下平十蒸"} <= groups("征")  # 征 and 徵
    assert groups("听") == groups("聽")  # and not the rare 听
    assert groups("东") == groups("東")


def test_split_groups_of_the_cilin() -> None:
    assert groups("魂", "cilin") == {"第6部"}
    assert groups("元", "cilin") == {"第7部"}
    assert groups("回", "cilin") == {"第3部"}
    assert groups("来", "cilin") == {"第5部"}
    assert groups("街", "cilin") == {"第5部"}
    assert groups("佳", "cilin") == {"第10部"}
    assert groups("会", "cilin") == {"第3部"}
    assert groups("带", "cilin") == {"第5部"}
    assert groups("话", "cilin") == {"第10部"}


def test_the_new_rhymes() -> None:
    assert groups("东", "xinyun") == groups("风", "xinyun") == {"庚"}
    assert groups("诗", "xinyun") == {"支"}
    assert groups("衣", "xinyun") == groups("雨", "xinyun") == {"齐"}
    assert groups("月", "xinyun") == {"皆"}


def test_an_unknown_book_is_named_with_those_that_are_known() -> None:
    with pytest.raises(UsageError, match="pingshui"):
        prosody.book("pingshiu")
    with pytest.raises(UsageError, match="xinyun"):
        prosody.book_for("shi", "xinyu")
    assert prosody.book_for("ci", "pingshui") is prosody.book("cilin")
    assert prosody.book_for("shi", "none") is None


def test_unknown_characters_have_no_sound() -> None:
    assert prosody.book("pingshui").sound("a") is None
    assert prosody.lookup("a") == ()
