"""The scripts that made the tables: their parts that need no corpus. Skipped where pypinyin, which only they need, is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from miaobi.models.verse import forms, prosody

pytest.importorskip("pypinyin")
pytestmark = pytest.mark.slow  # pypinyin takes seconds to load
RECIPES = Path(__file__).parents[2] / "recipes"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return load("build_verse_tables")


@pytest.fixture(scope="module")
def tunes() -> ModuleType:
    return load("build_verse_tunes")


def test_the_206_rhymes_merge_to_106_groups(tables: ModuleType) -> None:
    groups = {tone: words.split() for tone, words in tables.MERGED.items()}
    assert {tone: len(words) for tone, words in groups.items()} == {"平": 30, "上": 29, "去": 30, "入": 17}
    assert {tone: len(names) for tone, names in tables.NAMES.items()} == {"平": 30, "上": 29, "去": 30, "入": 17}
    rhymes = [(tone, rhyme) for tone, words in groups.items() for word in words for rhyme in word]
    assert len(rhymes) == len(set(rhymes)) == 206


def test_groups_are_named_as_in_the_book(tables: ModuleType) -> None:
    named = [tables.group_name((tone, index)) for tone, names in tables.NAMES.items() for index in range(len(names))]
    assert tuple(named) == prosody.book("pingshui").groups
    assert named[9] == "上平十灰"
    assert named[15] == "下平一先"
    assert named[29] == "下平十五咸"
    assert named[58] == "上声二十九豏"


def test_every_group_has_a_part(tables: ModuleType) -> None:
    parts = tables.PARTS.split()
    assert len(parts) == 19
    for names in tables.NAMES.values():
        assert all(any(name in part for part in parts) for name in names)


@pytest.mark.parametrize(
    ("syllable", "reading"),
    [
        ("shī", ("支", "平")),
        ("xī", ("齐", "平")),
        ("yǔ", ("齐", "仄")),
        ("ér", ("齐", "平")),
        ("xióng", ("庚", "平")),
        ("yuè", ("皆", "仄")),
        ("de", None),
    ],
)
def test_modern_readings(tables: ModuleType, syllable: str, reading: tuple[str, str] | None) -> None:
    assert tables.modern_reading(syllable) == reading


@pytest.mark.parametrize("name", list(forms.SHI))
def test_the_skeletons_that_weigh_readings_are_those_of_the_forms(tables: ModuleType, name: str) -> None:
    num_lines, width = forms.SHI[name]
    signs = {"平": 1, "仄": -1}
    for pattern in forms.form(name).patterns:
        fits = [
            skeleton
            for skeleton in tables.skeletons(num_lines, width)
            if all(
                signs[line[0][column]] == skeleton[row, column]
                for row, line in enumerate(pattern.strict)
                for column in range(1, width)
                if skeleton[row, column] and line[0][column] != "中"
            )
        ]
        assert len(fits) == 1


def test_a_tune_is_derived_from_its_poems(tunes: ModuleType) -> None:
    """Poems of one made-up tune: two lines, the first free in its first place, both rhyming, the third line an echo."""
    first, second = "春秋风月花水山石", "天年边船田钱烟仙"
    poems = [((f"{a}山入{b}", f"人去{b}", f"去{b}"), "，。。") for a, b in zip(first * 4, second * 4)]
    (shape,) = tunes.shapes("某调", poems)
    assert shape["tones"] == ["中平仄平", "平仄平", "仄平"]
    assert shape["rhymes"] == [0, 0, 0]
    assert shape["echoes"] == {"2": 1}
    assert shape["marks"] == "，。。"
