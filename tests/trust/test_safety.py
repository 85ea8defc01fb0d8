"""Listed words are found under their disguises, harmless words are not."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from miaobi.core.errors import UsageError
from miaobi.trust import safety
from miaobi.trust.safety import Hit, compile_words, load, normalise, parse


@pytest.fixture
def words() -> safety.WordList:
    hits, allowed = parse("weapons\tblock\t炸弹\nrude\tflag\tass\nallow\t炸弹超人\n# a comment\n\n", "list")
    return compile_words(hits, allowed)


@pytest.mark.parametrize("text", ["造炸弹吧", "炸 弹", "炸\u200b弹", "炸-*弹", "炸彈", "炸\n弹"])  # the fifth is traditional
def test_disguises_of_chinese_words(words: safety.WordList, text: str) -> None:
    assert words.blocked(text) == "weapons"


@pytest.mark.parametrize("text", ["ASS", "ａｓｓ", "an ass.", "a\u00adss"])
def test_disguises_of_latin_words(words: safety.WordList, text: str) -> None:
    assert [hit.category for hit in words.hits(text)] == ["rude"]
    assert words.blocked(text) == ""  # flagged only


@pytest.mark.parametrize("text", ["classic assembly", "as s", "炸弹超人", "白日依山尽，黄河入海流。", ""])
def test_harmless_text(words: safety.WordList, text: str) -> None:
    assert words.hits(text) == []
    assert words.verdict(text).startswith("passed words:")


def test_an_allowed_word_does_not_excuse_the_next(words: safety.WordList) -> None:
    assert words.blocked("炸弹超人造炸弹") == "weapons"


def test_overlapping_words_are_all_found() -> None:
    words = compile_words(
        [
            Hit(category="a", severity="flag", word="甲乙"),
            Hit(category="b", severity="block", word="乙丙"),
            Hit(category="c", severity="flag", word="甲"),
        ],
        ["丙丁戊"],
    )
    assert [hit.category for hit in words.hits("甲乙丙丁戊")] == ["a", "c", "b"]


def test_the_time_does_not_grow_with_the_list() -> None:
    """50,000 words on 20,000 characters: measured at 0.05 s, where one regular expression of them all took 1.5 s."""
    source = random.Random(0)
    letters = [chr(0x4E00 + number) for number in range(3000)]
    many = compile_words(Hit(category="x", severity="flag", word="".join(source.choices(letters, k=6))) for _ in range(50_000))
    text = "".join(source.choices(letters, k=20_000))
    start = time.perf_counter()
    assert many.hits(text) == []
    assert time.perf_counter() - start < 2


def test_the_verdict_names_categories_and_list(words: safety.WordList) -> None:
    assert words.verdict("an ass") == f"flagged:rude words:{words.digest[:8]}"
    assert compile_words([Hit(category="x", severity="flag", word="y")]).digest != words.digest
    assert compile_words([]).verdict("anything") == ""


def test_normal_form_keeps_latin_words_apart() -> None:
    assert normalise("The　Rapist") == "the rapist"
    assert normalise("臺 灣 ok") == "台湾ok"


def test_the_users_list_joins_the_built_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text("house\tblock\t绿豆\nallow\t炸弹制作人\n", encoding="utf-8-sig")
    monkeypatch.setenv("MIAOBI_WORDLIST", str(path))
    assert load().blocked("买绿豆") == "house"
    assert load().blocked("制造炸弹") == "weapons"
    assert load().blocked("炸弹制作人") == ""
    monkeypatch.delenv("MIAOBI_WORDLIST")
    assert load().blocked("买绿豆") == ""
    assert load([path]).blocked("买绿豆") == "house"


def test_bad_lists_say_where(tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    for content, words in ((b"weapons block word", "line 1"), (b"a\tblock\tb\na\tkill\tb", "line 2"), (b"\xff\xfe", "UTF-8")):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=words):
            load([path])
        path.unlink()
    with pytest.raises(UsageError, match="there is no word list"):
        load([path])
    with pytest.raises(UsageError, match="UTF-8 text is expected"):
        load([tmp_path])


def test_real_poems_pass_the_built_in_list() -> None:
    poems = ["十步杀一人，千里不留行。", "葡萄美酒夜光杯，欲饮琵琶马上催。", "商女不知亡国恨，隔江犹唱后庭花。", "妾发初覆额，折花门前剧。"]
    assert [load().hits(poem) for poem in poems] == [[], [], [], []]
