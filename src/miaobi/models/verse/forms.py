"""The shapes of verse: lines, characters, tone patterns and rhymes of 五绝 七绝 五律 七律 and of the ci tunes.

A tone pattern is a string over 平, 仄 and 中 (either). A line of regulated verse is one of four kinds (Wang Li, 诗词格律, chapter 2), each
with the departures that the rules themselves allow (拗救); the kinds follow each other by 对 and 粘, which gives four patterns a form.
`strict` is Wang Li's table; `loose` frees every odd position as far as neither 孤平 nor 三平尾 arises.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from miaobi.core.errors import unknown
from miaobi.models.verse.prosody import FREE, LEVEL

Tone = Literal["strict", "loose", "none"]
TONES: tuple[Tone, ...] = ("strict", "loose", "none")
SHI: Mapping[str, tuple[int, int]] = {"五绝": (4, 5), "七绝": (4, 7), "五律": (8, 5), "七律": (8, 7)}  # lines, characters a line
NO_RHYME = -1
STOP, COMMA = "。", "，"

# The four kinds of line, five characters each; the seven-character line sets two more before them.
_STRICT = {
    "仄仄平平仄": ("中仄平平仄",),
    "平平仄仄平": ("平平仄仄平", "仄平平仄平"),  # the second mends 孤平 in the line itself
    "平平平仄仄": ("中平平仄仄", "平平仄平仄"),  # the second is as common in Tang verse as the rule
    "仄仄仄平平": ("中仄仄平平",),
}
_LOOSE = {
    "仄仄平平仄": ("中仄中平仄",),
    "平平仄仄平": ("平平中仄平", "仄平平仄平"),
    "平平平仄仄": ("中平中仄仄", "中平仄平仄"),
    "仄仄仄平平": ("中仄仄平平",),  # a level third character would make 三平尾
}
# First quatrain by 平起 or 仄起 (of the five-character line) and whether the first line rhymes.
_ORDERS: Mapping[tuple[bool, bool], tuple[str, ...]] = {
    (False, False): ("仄仄平平仄", "平平仄仄平", "平平平仄仄", "仄仄仄平平"),
    (False, True): ("仄仄仄平平", "平平仄仄平", "平平平仄仄", "仄仄仄平平"),
    (True, False): ("平平平仄仄", "仄仄仄平平", "仄仄平平仄", "平平仄仄平"),
    (True, True): ("平平仄仄平", "仄仄仄平平", "仄仄平平仄", "平平仄仄平"),
}


@dataclass(frozen=True, slots=True)
class Pattern:
    """One way to fill a form: for each line the tone strings that it may have, and which rhyme its last character belongs to."""

    name: str
    strict: tuple[tuple[str, ...], ...]
    loose: tuple[tuple[str, ...], ...]
    rhymes: tuple[int, ...]  # the number of the rhyme that a line ends on, or NO_RHYME

    def line(self, index: int, tone: Tone) -> tuple[str, ...]:
        """The tone strings of a line. Without tone rules only a rhyme keeps its tone: a poem rhymes in 平 or in 仄, not in both."""
        if tone == "none":
            template = self.strict[index][0]
            return (FREE * (len(template) - 1) + (template[-1] if self.rhymes[index] != NO_RHYME else FREE),)
        return self.strict[index] if tone == "strict" else self.loose[index]


@dataclass(frozen=True, slots=True)
class Form:
    """A form of verse. `marks` are what follows each line; a stop ends a line of text. `echoes[i]` is the line whose end line i repeats."""

    name: str
    kind: Literal["shi", "ci"]
    lines: tuple[int, ...]
    marks: tuple[str, ...]
    patterns: tuple[Pattern, ...]
    echoes: Mapping[int, int]
    aliases: tuple[str, ...] = ()

    @property
    def characters(self) -> int:
        """How many characters the form has, marks not counted."""
        return sum(self.lines)

    @property
    def rhyming(self) -> tuple[int, ...]:
        """The lines that rhyme in every pattern."""
        return tuple(i for i in range(len(self.lines)) if all(pattern.rhymes[i] != NO_RHYME for pattern in self.patterns))

    def layout(self, lines: list[str]) -> str:
        """The lines as the text of a record: marks set, a line break after each stop.

        >>> form("五绝").layout(["床前明月光", "疑是地上霜", "举头望明月", "低头思故乡"])
        '床前明月光，疑是地上霜。\\n举头望明月，低头思故乡。'
        """
        text = "".join(line + mark + ("\n" if mark == STOP else "") for line, mark in zip(lines, self.marks))
        return text.rstrip("\n")


def __getattr__(name: str) -> frozenset[str]:
    """`TUNES`: every name of every ci tune, read from the table on first use."""
    if name == "TUNES":
        from miaobi.models.verse import tunes

        return tunes.all_names()
    raise AttributeError(name)


def form(name: str) -> Form:
    """The form of that name (an alias of a tune will do), or an error with the nearest known name."""
    return variants(name)[0]


@functools.cache
def variants(name: str) -> tuple[Form, ...]:
    """Every shape that a form has, the usual one first: some tunes have several (又一体)."""
    if name in SHI:
        return (_shi(name),)
    from miaobi.models.verse import tunes

    found = tunes.variants(name)
    if not found:
        raise unknown("form", name, names())
    return found


@functools.cache
def names() -> tuple[str, ...]:
    """The names of all forms: shi, then tunes from short to long."""
    from miaobi.models.verse import tunes

    return (*SHI, *tunes.names())


def _shi(name: str) -> Form:
    num_lines, width = SHI[name]
    patterns = tuple(_regulated(num_lines, width, level_start, first_rhymes) for level_start, first_rhymes in _ORDERS)
    marks = (COMMA, STOP) * (num_lines // 2)
    return Form(name=name, kind="shi", lines=(width,) * num_lines, marks=marks, patterns=patterns, echoes={})


def _regulated(num_lines: int, width: int, level_start: bool, first_rhymes: bool) -> Pattern:
    kinds = _ORDERS[level_start, first_rhymes]
    if num_lines == 8:
        kinds = kinds + _ORDERS[level_start, False]
    start = LEVEL if level_start == (width == 5) else "仄"  # two more characters turn 平起 into 仄起
    rhymes = tuple(0 if line % 2 or (line == 0 and first_rhymes) else NO_RHYME for line in range(num_lines))
    return Pattern(
        name=f"{start}起首句{'入韵' if first_rhymes else '不入韵'}",
        strict=tuple(_lengthen(_STRICT[kind], width) for kind in kinds),
        loose=tuple(_lengthen(_LOOSE[kind], width) for kind in kinds),
        rhymes=rhymes,
    )


def _lengthen(line: tuple[str, ...], width: int) -> tuple[str, ...]:
    """Five-character tone strings, or the seven-character ones: the second character opposes the fourth, the first is free, and the
    third keeps the freedom that the five-character line's first has."""
    if width == 5:
        return line
    return tuple(FREE + ("仄" if tones[1] == LEVEL else LEVEL) + tones for tones in line)
