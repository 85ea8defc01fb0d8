"""From a poem to scenes: its lines in groups, and for each the picture that its own words name.

The lexicon (`lexicon.txt`) maps words of classical Chinese poems and of English verse to things that a painter of stickers can draw. Words
are found longest first, as readers of Chinese do (maximum matching); a line's picture is the most visible thing in it that no scene
before it has shown. A line without any takes a word of the brief, then what suits every poem.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Language = Literal["zh", "en"]
LEXICON = Path(__file__).with_name("lexicon.txt")
MOST_SCENES = 8
_LONGEST = 8  # letters of a Chinese word in the lexicon
_HAN = re.compile("[\u3400-\u9fff]")


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn: `place` is its row in the lexicon, the upper being the more visible."""

    place: int
    en: str
    zh: str

    def prompt(self, language: str) -> str:
        """What the painter is asked."""
        return self.zh if language == "zh" else self.en


@dataclass(frozen=True, slots=True)
class Scene:
    """Lines of the poem, the picture to them, and the word that named it (empty: none did)."""

    lines: tuple[str, ...]
    picture: Picture
    word: str


def language_of(text: str) -> Language:
    """Chinese where a text has a Chinese character."""
    return "zh" if _HAN.search(text) else "en"


def verses(text: str, language: str) -> list[list[str]]:
    """The lines of a poem in sentences: Chinese clauses keep their mark, English lines are grouped by stanza."""
    if language == "zh":
        sentences = [part for part in re.split(r"(?<=[。！？；])|\n", text) if part.strip()]
        return [[clause.strip() for clause in re.findall(r"[^，、：]+[，、：]?", sentence) if clause.strip()] for sentence in sentences]
    return [[line.strip() for line in stanza.splitlines() if line.strip()] for stanza in re.split(r"\n\s*\n", text) if stanza.strip()]


def grouped(sentences: Sequence[Sequence[str]], most: int = MOST_SCENES) -> list[tuple[str, ...]]:
    """Lines in at most `most` groups of nearly equal length that do not cross sentences: one, two … lines a group as the poem needs."""
    for size in (1, 2, 3, 4):
        groups = [tuple(lines[start : start + size]) for lines in sentences for start in range(0, len(lines), size)]
        if len(groups) <= most:
            return groups
    flat = [line for lines in sentences for line in lines]
    size = -(-len(flat) // most)
    return [tuple(flat[start : start + size]) for start in range(0, len(flat), size)]


def scenes(sentences: Sequence[Sequence[str]], brief: str, language: str) -> list[Scene]:
    """The scenes of a poem, each with a picture of its own as far as its words go."""
    groups = grouped(sentences)
    # two short English lines make one breath and one picture
    if language == "en" and len(groups) > MOST_SCENES // 2 and all(len(group) == 1 for group in groups):
        groups = [tuple(lines[start : start + 2]) for lines in sentences for start in range(0, len(lines), 2)]
    found: list[Scene] = []
    shown: set[int] = set()
    for lines in groups:
        picture, word = _seen(" ".join(lines), brief, language, shown)
        shown.add(picture.place)
        found.append(Scene(lines, picture, word))
    return found


def _seen(text: str, brief: str, language: str, shown: set[int]) -> tuple[Picture, str]:
    own, asked = named(text, language), named(brief, language_of(brief))
    for options in (own, asked):
        fresh = [(picture, word) for picture, word in options if picture.place not in shown]
        if fresh:
            return min(fresh, key=lambda each: each[0].place)
    if own:
        return min(own, key=lambda each: each[0].place)
    spare = [each for each in reversed(_table()[0]) if each.place not in shown]
    return (spare or [_table()[0][-1]])[0], ""


def named(text: str, language: str) -> list[tuple[Picture, str]]:
    """Every thing in a text that can be drawn, and the word that names it, in the order of the text."""
    pictures, chinese, english = _table()
    if language != "zh":
        words = re.findall(r"[a-z]+(?:[-'][a-z]+)?", text.lower())
        pairs = [" ".join(pair) for pair in itertools.pairwise(words)]
        return [(pictures[english[word]], word) for word in (*pairs, *words) if word in english]
    found, position = [], 0
    while position < len(text):
        word = next(
            (text[position : position + size] for size in range(_LONGEST, 0, -1) if text[position : position + size] in chinese), ""
        )
        if word:
            found.append((pictures[chinese[word]], word))
        position += max(1, len(word))
    return found


def how_visible(text: str, language: str) -> int:
    """How many lines name something that can be drawn; the poem with the most is the one to film."""
    return len({picture.place for lines in verses(text, language) for line in lines for picture, _ in named(line, language)})


@functools.cache
def _table() -> tuple[list[Picture], dict[str, int], dict[str, int]]:
    """The pictures, and the row of each Chinese and English word; the first row that has a word keeps it."""
    pictures: list[Picture] = []
    chinese: dict[str, int] = {}
    english: dict[str, int] = {}
    for line in LEXICON.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        en, zh, words, more = (cell.strip() for cell in line.split("|"))
        place = len(pictures)
        pictures.append(Picture(place, en, zh))
        for word in words.split():
            chinese.setdefault(word, place)
        for word in _english(more, en):
            english.setdefault(word, place)
    return pictures, chinese, english


def _english(cell: str, picture: str) -> list[str]:
    """The words of a cell, and the pairs of two that the picture itself is called by."""
    words = [word for word in cell.split() if word != "-"]
    return [picture, *words]
