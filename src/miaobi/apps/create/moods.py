"""The mood of a poem by its words, and what follows from it (music, colours, a sound): the table is `moods.yaml`."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("moods.yaml")
_BRIEF = 3  # how often a word of the brief counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Mood:
    """`music` by language: mode, tempo (beats a minute) and instruments. `sky` runs from top to bottom."""

    name: str
    words: tuple[str, ...]
    music: Mapping[str, Mapping[str, Any]]
    sky: tuple[str, str]
    ink: str
    sound: str = ""


@functools.cache
def moods() -> tuple[Mood, ...]:
    """The rows of the table."""
    import yaml

    rows = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return tuple(
        Mood(
            name=name,
            words=tuple(str(row["words"]).split()),
            music={language: row[language] for language in ("zh", "en")},
            sky=(row["sky"][0], row["sky"][1]),
            ink=row["ink"],
            sound=row.get("sound", ""),
        )
        for name, row in rows.items()
    )


def mood_of(brief: str, poem: str) -> Mood:
    """The mood with the most words in brief and poem; the last of the table when there are none."""
    table = moods()
    counts = [_BRIEF * _count(mood.words, brief) + _count(mood.words, poem) for mood in table]
    return table[counts.index(max(counts))] if max(counts) else table[-1]


def _count(words: tuple[str, ...], text: str) -> int:
    known = set(re.findall(r"[a-z]+", text.lower()))
    return sum(word in known if word.isascii() else text.count(word) for word in words)
