"""What is read at once: a heading, or whole sentences of a paragraph, as many as half a minute holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from miaobi.apps.narrate.text import Block
from miaobi.data.speech_text.reading import HAN_RUN, Language, language_of, sentences
from miaobi.data.subtitles import width_of

MOST = 240  # columns of a passage: half a minute of Chinese, a quarter of one of English
_BREAKS = "，、；：,;: "


@dataclass(frozen=True, slots=True)
class Passage:
    """Words, and what comes behind them: a breath inside a paragraph, a pause after one, a rest around a heading."""

    text: str
    heading: bool = False
    behind: Literal["breath", "pause", "rest"] = "breath"


def passages(given: Iterable[Block]) -> Iterator[Passage]:
    """The passages of blocks."""
    waiting: Passage | None = None
    for block in given:
        if block.heading:
            if waiting is not None:
                yield Passage(waiting.text, waiting.heading, "rest")
            waiting = Passage(block.text, True, "rest")
            continue
        for piece in _pieces(block.text):
            if waiting is not None:
                yield waiting
            waiting = Passage(piece)
        if waiting is not None and block.ends:
            waiting = Passage(waiting.text, waiting.heading, "pause")
    if waiting is not None:
        yield waiting


def _pieces(paragraph: str) -> Iterator[str]:
    """Whole sentences together; one that is too long is cut behind a comma or a space, else anywhere."""
    start = end = 0
    for first, last in sentences(paragraph):
        if end > start and width_of(paragraph[start:last]) > MOST:
            yield paragraph[start:end]
            start = end
        start = first if start == end else start
        end = last
        while width_of(paragraph[start:end]) > 2 * MOST:
            cut = max(paragraph.rfind(mark, start + MOST // 4, start + MOST) for mark in _BREAKS) + 1 or start + MOST
            yield paragraph[start:cut].strip()
            start = cut
    if paragraph[start:end].strip():
        yield paragraph[start:end].strip()


def main_language(given: Iterable[Passage]) -> Language:
    """The language that takes more of the time to read: a Chinese character takes as long as three letters."""
    chinese = letters = 0
    for passage in given:
        found = sum(map(len, HAN_RUN.findall(passage.text)))
        chinese += found
        letters += sum(map(str.isalpha, passage.text)) - found
    return "zh" if 3 * chinese >= letters else "en"


def first_in(given: Iterable[Passage], language: Language) -> Passage | None:
    """The first passage in a language."""
    return next((passage for passage in given if language_of(passage.text) == language), None)
