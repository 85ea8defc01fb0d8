"""Filters drop records with a reason: by length, script, symbols, repetition and word lists.

The measures are those of Gopher (Rae et al. 2021, appendix A.1.1), counted in characters, since Chinese has no spaces between words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field

from miaobi.core.errors import UsageError
from miaobi.core.schema import Schema
from miaobi.core.types import Record
from miaobi.data.records import Dropped
from miaobi.data.steps import Step, register

_MOST_LETTERS = 100_000


class Length(Schema):
    """Drop texts that are too short or too long."""

    least: int = Field(1, ge=0)
    """The shortest text that is kept."""
    most: int | None = Field(None, ge=1)
    """The longest; no limit when absent."""
    unit: Literal["characters", "words", "lines"] = "characters"
    """What is counted."""


def build_length(options: Length) -> Step:
    """Count in the unit. A run of Latin letters is a word, a Han character too."""
    if options.most is not None and options.most < options.least:
        raise UsageError("step length keeps nothing: most is {most}, least {least}", most=options.most, least=options.least)
    counts: dict[str, Callable[[str], int]] = {
        "characters": len,
        "words": lambda text: len(_WORD.findall(text)),
        "lines": lambda text: text.count("\n") + 1,
    }
    count = counts[options.unit]

    def step(record: Record) -> Record | Dropped:
        number = count(record.text)
        if number < options.least:
            return Dropped("too_short", f"{number} {options.unit}")
        if options.most is not None and number > options.most:
            return Dropped("too_long", f"{number} {options.unit}")
        return record

    return step


_WORD = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]|[^\\W\u3400-\u9fff\U00020000-\U000323af_]+")
_SCRIPTS = {
    "han": "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af",
    "latin": "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff",
    "kana": "\u3041-\u309f\u30a1-\u30ff",
    "hangul": "\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3",
    "cyrillic": "\u0400-\u052f",
    "greek": "\u0370-\u03ff\u1f00-\u1fff",
    "arabic": "\u0600-\u06ff\u0750-\u077f",
}
_LETTER = re.compile(r"[^\W\d_]")


class Script(Schema):
    """Drop texts with too few letters of a script."""

    script: Literal["han", "latin", "kana", "hangul", "cyrillic", "greek", "arabic"] = "han"
    """Which letters are wanted."""
    least: float = Field(0.5, ge=0, le=1)
    """Smallest share among the letters."""


def build_script(options: Script) -> Step:
    """Share of the script among letters; a text without letters has none."""
    wanted = re.compile(f"[{_SCRIPTS[options.script]}]")

    def step(record: Record) -> Record | Dropped:
        text = record.text[:_MOST_LETTERS]
        share = len(wanted.findall(text)) / max(1, len(_LETTER.findall(text)))
        return record if share >= options.least else Dropped("script", f"{options.script} {share:.2f}")

    return step


class Symbols(Schema):
    """Drop texts with too many symbols: characters that are neither letters, digits, spaces nor the punctuation of sentences."""

    most: float = Field(0.1, ge=0, le=1)
    """Largest share of symbols among all characters."""


_SYMBOL = re.compile(r"[^\w\s,.;:!?'\"()\-—–…·，。、；：！？‘’“”（）《》〈〉「」『』【】]|_")


def build_symbols(options: Symbols) -> Step:
    """Share of symbols among all characters."""

    def step(record: Record) -> Record | Dropped:
        text = record.text[:_MOST_LETTERS]
        share = len(_SYMBOL.findall(text)) / max(1, len(text))
        return record if share <= options.most else Dropped("symbols", f"{share:.2f}")

    return step


class Repetition(Schema):
    """Drop texts that repeat themselves."""

    lines: float = Field(0.3, ge=0, le=1)
    """Largest share of lines that stand in the text before."""
    ngrams: float = Field(0.2, ge=0, le=1)
    """Largest share of n-grams that stand in the text before."""
    n: int = Field(10, ge=2, le=100)
    """How many characters an n-gram has."""


def build_repetition(options: Repetition) -> Step:
    """Repeated lines, then repeated n-grams of characters."""

    def step(record: Record) -> Record | Dropped:
        text = record.text[:_MOST_LETTERS]
        lines = [line for line in (line.strip() for line in text.split("\n")) if line]
        if len(lines) > 1 and (share := repeated(Counter(lines))) > options.lines:
            return Dropped("repeated_lines", f"{share:.2f}")
        grams = Counter(text[start : start + options.n] for start in range(len(text) - options.n + 1))
        if grams and (share := repeated(grams)) > options.ngrams:
            return Dropped("repeated_ngrams", f"{share:.2f}")
        return record

    return step


def repeated(counts: Counter[str]) -> float:
    """The share of things that are repeats of an earlier one.

    >>> repeated(Counter("abca"))
    0.25
    """
    return 1 - len(counts) / counts.total()


class Words(Schema):
    """Drop texts with listed words, by the lists and the matching of `miaobi.trust.safety`."""

    files: list[str] = Field(default_factory=list)
    """Lists of lines `category<TAB>block or flag<TAB>word`."""
    words: list[str] = Field(default_factory=list)
    """Words written in the recipe."""
    severity: Literal["block", "flag"] = "block"
    """`flag` also drops what the lists only flag."""


def build_words(options: Words) -> Step:
    """One list from the files and the words. The built-in list is for requests and outputs, not for corpora, and stays out."""
    from miaobi.trust.safety import Hit, compile_words, parse

    hits = [Hit(category="words", severity="block", word=word) for word in options.words]
    allowed: list[str] = []
    for name in options.files:
        try:
            found, harmless = parse(Path(name).expanduser().read_text(encoding="utf-8"), name)
        except FileNotFoundError:
            raise UsageError("there is no word list at {path}", path=name) from None
        except (UnicodeDecodeError, IsADirectoryError):
            raise UsageError("{path} is no word list: UTF-8 text is expected", path=name) from None
        hits, allowed = hits + found, allowed + harmless
    if not hits:
        raise UsageError("step words has no words. Give `words: [...]` or `files: [...]`")
    listed = compile_words(hits, allowed)

    def step(record: Record) -> Record | Dropped:
        for hit in listed.hits(record.text):
            if hit.severity == "block" or options.severity == "flag":
                return Dropped("listed_word", hit.category)
        return record

    return step


register("length", Length, build_length, shorthand="least")
register("script", Script, build_script, shorthand="script")
register("symbols", Symbols, build_symbols, shorthand="most")
register("repetition", Repetition, build_repetition, shorthand="ngrams")
register("words", Words, build_words, shorthand="words")
