"""Tones and rhymes of characters: 平水韵 (106 groups) for shi, 词林正韵 (19 parts) for ci, 中华新韵 (14 groups) for modern ears.

A character's sound is four bit masks: the rhyme groups that it has as 平 and as 仄, each by its common and by all its readings. Verse is
made with the common readings and judged by all of them. In the old books 入声 counts as 仄; in the new one a character is what Mandarin
makes of it. The tables are built by `recipes/build_verse_tables.py`; sources and licences are in `tables/README.md`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from miaobi.core.errors import unknown

TABLES = Path(__file__).parent / "tables"
BOOKS = ("pingshui", "cilin", "xinyun")
RHYMES = ("pingshui", "xinyun", "none")
LEVEL, OBLIQUE, FREE = "平", "仄", "中"


class Sound(NamedTuple):
    """The rhyme groups of one character as bit masks: bit g is set where it has a reading in group g."""

    level: int  # 平, common readings
    oblique: int  # 仄, common readings
    any_level: int  # 平, all readings
    any_oblique: int  # 仄, all readings

    def groups(self, tone: str, *, rare: bool = False) -> int:
        """The groups under a tone of a pattern: 平, 仄 or 中 (either)."""
        level, oblique = (self.any_level, self.any_oblique) if rare else (self.level, self.oblique)
        return level if tone == LEVEL else oblique if tone == OBLIQUE else level | oblique

    def fits(self, tone: str, *, rare: bool = False) -> bool:
        """Whether the character can stand where a pattern asks for 平, 仄 or 中."""
        return tone == FREE or bool(self.groups(tone, rare=rare))


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a character, for people."""

    tone: str  # 平 or 仄
    group: str
    common: bool


@dataclass(frozen=True, slots=True)
class Book:
    """A rhyme book: the names of its groups, in the order of the bits, and each character's groups by tone and by how common."""

    name: str
    groups: tuple[str, ...]
    level: dict[str, int]
    oblique: dict[str, int]
    rare_level: dict[str, int]
    rare_oblique: dict[str, int]

    def sound(self, character: str) -> Sound | None:
        """The sound of a character, or None when the book lacks it."""
        level, oblique = self.level.get(character, 0), self.oblique.get(character, 0)
        any_level, any_oblique = level | self.rare_level.get(character, 0), oblique | self.rare_oblique.get(character, 0)
        return Sound(level, oblique, any_level, any_oblique) if any_level or any_oblique else None

    def names(self, groups: int) -> tuple[str, ...]:
        """The names of the groups in a bit mask."""
        return tuple(name for index, name in enumerate(self.groups) if groups >> index & 1)


@functools.cache
def book(name: str) -> Book:
    """The rhyme book of that name: pingshui, cilin or xinyun. Read once, in a few milliseconds."""
    if name not in BOOKS:
        raise unknown("rhyme book", name, BOOKS)
    index: dict[str, int] = {}
    masks: tuple[dict[str, int], ...] = ({}, {}, {}, {})  # level, oblique, rare_level, rare_oblique: character -> groups
    for group, tone, common, rare in _rows(name):
        bit = 1 << index.setdefault(group, len(index))
        side = 0 if tone == LEVEL else 1
        for mask, characters in ((masks[side], common), (masks[side + 2], rare)):
            get = mask.get
            for character in characters:
                mask[character] = get(character, 0) | bit
    return Book(name, tuple(index), *masks)


def book_for(kind: str, rhyme: str) -> Book | None:
    """The book that judges a `shi` or a `ci` under the option `rhyme`: ci by the old books rhymes by 词林正韵. None: do not judge."""
    if rhyme not in RHYMES:
        raise unknown("rhyme", rhyme, RHYMES)
    if rhyme == "none":
        return None
    return book("cilin" if kind == "ci" and rhyme == "pingshui" else rhyme)


def lookup(character: str, name: str = "pingshui") -> tuple[Reading, ...]:
    """Every reading of a simplified (or traditional) character, common ones first; empty when the book lacks it.

    >>> [(reading.tone, reading.group) for reading in lookup("东")]
    [('平', '上平一东')]
    """
    readings: dict[tuple[str, str], bool] = {}
    for group, tone, common, rare in _rows(name):
        if character in common or character in rare:
            key = (tone, group)
            readings[key] = readings.get(key, False) or character in common
    found = [Reading(LEVEL if tone == LEVEL else OBLIQUE, group, common) for (tone, group), common in readings.items()]
    return tuple(sorted(found, key=lambda reading: not reading.common))


def is_polyphone(character: str, name: str = "pingshui") -> bool:
    """Whether the character can be 平 as well as 仄 by its common readings."""
    sound = book(name).sound(character)
    return sound is not None and bool(sound.level and sound.oblique)


def _rows(name: str) -> Iterator[tuple[str, str, str, str]]:
    """Group, 平 or 仄, common characters, rare characters. Both old books share one table, whose third column is the 词林正韵 part."""
    file = TABLES / ("xinyun.tsv" if name == "xinyun" else "pingshui.tsv")
    for line in file.read_text(encoding="utf-8").splitlines():
        fields = line.split("\t")
        if name == "xinyun":
            group, tone, common, rare = fields
            yield group, tone, common, rare
        else:
            title, tone, part, common, rare = fields
            yield f"第{part}部" if name == "cilin" else title, LEVEL if tone == LEVEL else OBLIQUE, common, rare
