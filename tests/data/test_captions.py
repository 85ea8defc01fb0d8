"""Captions by emoji, code points and names; templates; and emoji variants that a filter drops."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.data.conftest import dropped

from miaobi.core.errors import DataError, UsageError
from miaobi.core.recipe import Data
from miaobi.core.types import Record
from miaobi.data.prepare import prepare
from miaobi.data.records import Dropped
from miaobi.data.steps import chain, choose

NAMES = {
    "🐱": ("cat face", "猫脸", ["animal", "cat face", "pet"], ["宠物", "猫脸"]),
    "👋": ("waving hand", "挥手", ["hello"], []),
    "👋🏽": ("waving hand: medium skin tone", "挥手: 中等肤色", [], []),
    "🍎": ("red apple", "红苹果", [], []),
    "🐈\u200d⬛": ("black cat", "黑猫", [], []),
}


def annotations(folder: Path) -> Path:
    """A package of CLDR annotations."""
    for number, language in enumerate(("en", "zh")):
        path = folder / "annotations" / language / "annotations.json"
        path.parent.mkdir(parents=True)
        entries = {characters: {"default": about[2 + number], "tts": [about[number]]} for characters, about in NAMES.items()}
        path.write_text(json.dumps({"annotations": {"annotations": entries}}, ensure_ascii=False), encoding="utf-8")
    return folder


def icons(folder: Path) -> Path:
    folder.mkdir(parents=True)
    listed = [{"name": "red-apple", "title": "苹果图标", "tag": ["水果", "吃"]}, {"name": "a-cane", "title": "拐杖", "tag": []}]
    (folder / "icons.json").write_text(json.dumps(listed), encoding="utf-8")
    return folder


def captioned(tmp_path: Path, **options: Any) -> Callable[..., Record | Dropped]:
    words, drawn = str(annotations(tmp_path / "cldr")), str(icons(tmp_path / "icons"))
    tables = [{"packages": [drawn], "sets": "icon*"}, {"packages": [words]}]
    run = chain(choose([{"captions": {"tables": tables, **options}}]), {words: Path(words), drawn: Path(drawn)})
    return lambda **meta: run(Record(id="1", parts=("",), meta=meta))[0]


def test_found_by_emoji_code_points_and_names(tmp_path: Path) -> None:
    find = captioned(tmp_path)
    for meta in (
        {"emoji": "🐱"},
        {"emoji": "🐱\ufe0f"},
        {"name": "1f431"},
        {"name": "1F431-fe0f"},
        {"name": "cat-face"},
        {"name": "CatFace"},
        {"name": "cat-face-2"},
    ):
        found = find(**meta)
        assert isinstance(found, Record), meta
        assert found.meta["caption"] == {"zh": ["猫脸"], "en": ["cat face"]}
        assert (found.meta["concept"], found.meta["emoji"]) == ("cat face", "🐱")
    assert find(name="1f408-200d-2b1b").meta["concept"] == "black cat"  # type: ignore[union-attr]
    assert find(name="ghost") == Dropped("no_caption", "ghost")
    assert find(name="ffffff").reason == "no_caption"  # type: ignore[union-attr]


def test_a_tone_is_the_same_concept(tmp_path: Path) -> None:
    found = captioned(tmp_path)(emoji="👋🏽")
    assert isinstance(found, Record)
    assert found.meta["concept"] == "waving hand"
    assert found.meta["caption"]["en"] == ["waving hand: medium skin tone"]


def test_each_set_has_its_table(tmp_path: Path) -> None:
    find = captioned(tmp_path)
    assert find(set="icon-park", name="red-apple").meta["caption"]["zh"] == ["苹果图标"]  # type: ignore[union-attr]
    assert find(set="noto", name="red-apple").meta["caption"]["zh"] == ["红苹果"]  # type: ignore[union-attr]
    assert find(set="icon-park", name="cat-face").meta["caption"]["zh"] == ["猫脸"]  # type: ignore[union-attr]  # not in its own: the next
    assert isinstance(find(set="noto", name="a-cane"), Dropped)
    assert find(style="icon-park-solid", name="a-cane").meta["concept"] == "a cane"  # type: ignore[union-attr]


def test_templates(tmp_path: Path) -> None:
    templates = {"en": ["{name}", "{a} {name}", "{name}, {keywords}", "{keyword}"], "zh": ["一个{name}", "{name}（{keywords}）"]}
    find = captioned(tmp_path, templates=templates)
    cat, apple = find(emoji="🐱"), find(emoji="🍎")
    assert isinstance(cat, Record)
    assert isinstance(apple, Record)
    assert cat.meta["caption"]["zh"] == ["一个猫脸", "猫脸（宠物）"]
    assert sorted(cat.meta["caption"]["en"]) == sorted(
        [
            "cat face",
            "a cat face",
            *([text] if (text := cat.meta["caption"]["en"][2]) in ("cat face, animal, pet", "cat face, pet, animal") else []),
            "animal",
            "pet",
        ]
    )
    assert apple.meta["caption"] == {"en": ["red apple", "a red apple"], "zh": ["一个红苹果"]}
    with pytest.raises(UsageError, match="unknown field"):
        captioned(tmp_path / "wrong", templates={"en": ["{nam}"]})


def test_pictures_without_a_name_may_stay(tmp_path: Path) -> None:
    kept = captioned(tmp_path, unmatched="keep")(name="ghost")
    assert isinstance(kept, Record)
    assert "caption" not in kept.meta


def test_tables_decide_what_the_data_set_is(tmp_path: Path) -> None:
    source = tmp_path / "list.jsonl"
    source.write_text(json.dumps({"text": "x", "emoji": "🐱"}) + "\n" + json.dumps({"text": "y", "emoji": "👻"}) + "\n", encoding="utf-8")
    table = annotations(tmp_path / "cldr")
    section = Data.model_validate(
        {"source": str(source), "steps": [{"captions": {"tables": [{"packages": [str(table)]}]}}], "split": {"val": 0}}
    )
    first = prepare(section, tmp_path / "out", workers=1)
    assert first.split("train")[0].meta["caption"]["zh"] == ["猫脸"]
    assert [entry["reason"] for entry in dropped(first)] == ["no_caption"]
    path = table / "annotations" / "zh" / "annotations.json"
    path.write_text(path.read_text(encoding="utf-8").replace("猫脸", "猫猫"), encoding="utf-8")
    again = prepare(section, tmp_path / "again", workers=1)
    assert again.plan != first.plan
    assert again.split("train")[0].meta["caption"]["zh"] == ["猫猫"]


@pytest.mark.parametrize("content", ["", "[]", "{}", "not json", '{"annotations": {"annotations": 3}}'])
def test_tables_that_are_none(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "table"
    path = folder / "annotations" / "en" / "annotations.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    options = {"tables": [{"packages": [str(folder)]}], "templates": {"en": ["{name}"]}}
    with pytest.raises(DataError, match="no names of emoji"):
        chain(choose([{"captions": options}]), {str(folder): folder})
    section = Data.model_validate({"source": "x.txt", "steps": [{"captions": {"tables": [{"packages": [str(tmp_path / "absent")]}]}}]})
    with pytest.raises(DataError, match="there is no folder"):
        prepare(section, tmp_path / "out")


@pytest.mark.parametrize(
    ("emoji", "reason"),
    [
        ("👋🏽", "skin_tone"),
        ("🇨🇳", "flag"),
        ("🏴\U000e0067\U000e0062\U000e007f", "flag"),
        ("👨\u200d👩\u200d👧", "family"),
        ("🏁", ""),
        ("👩\u200d🚒", ""),
        ("", ""),
    ],
)
def test_variants_are_dropped(emoji: str, reason: str) -> None:
    run = chain(choose([{"emoji": ["skin_tones", "flags", "families"]}]))
    result, _ = run(Record(id="1", parts=("x",), meta={"emoji": emoji} if emoji else {}))
    assert (result.reason if isinstance(result, Dropped) else "") == reason
    codes = "-".join(f"{ord(character):x}" for character in emoji)
    named, _ = run(Record(id="1", parts=("x",), meta={"name": codes}))
    assert (named.reason if isinstance(named, Dropped) else "") == reason
