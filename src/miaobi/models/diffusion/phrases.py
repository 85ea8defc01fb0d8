"""Which words of a record's captions a training step reads: both languages alike, half of the time the name alone.

A record's first caption is its name. People write more than a name, so it also stands in sentences, whose words then come to mean nothing,
or gives way to the record's other captions. Without randomness (evaluation) it is the name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from miaobi.core.types import Record
from miaobi.models.common.captions import LANGUAGES, captions_of

if TYPE_CHECKING:
    from numpy.random import Generator

TEMPLATES = {
    "zh": ("一个{}", "{}的图标", "一张{}的图片", "画一个{}", "{}表情", "可爱的{}", "{}贴纸", "请画{}"),
    "en": ("a {}", "an icon of a {}", "a picture of {}", "draw a {}", "{} emoji", "cute {}", "{} sticker", "the {}"),
}
NAME, SENTENCE = 0.5, 0.25  # the rest of the time, another of the record's captions


def texts_of(records: Iterable[Record]) -> Iterator[str]:
    """Every caption, and the words of the sentences that captions stand in: what a vocabulary is made of."""
    for record in records:
        for language in LANGUAGES:
            captions = captions_of(record, language)
            yield from captions
            if captions:
                yield from (template.format("|") for template in TEMPLATES[language])


def choose(record: Record, *, rng: Generator | None, number: int = 0) -> tuple[str, str]:
    """A caption and one in the other language; the same language where there is only one, both empty where there is none.

    Args:
        number: which language comes first when nothing is drawn.
    """
    captions = {language: found for language in LANGUAGES if (found := captions_of(record, language))}
    if not captions:
        return "", ""
    languages = list(captions)
    first = int(rng.integers(len(languages))) if rng is not None else number % len(languages)
    one, other = (_phrase(captions[language], language, rng) for language in (languages[first], languages[first - 1]))
    return one, other


def _phrase(captions: Sequence[str], language: str, rng: Generator | None) -> str:
    """The name, a sentence with it, or another caption."""
    name, others = captions[0], captions[1:]
    if rng is None:
        return name
    drawn = rng.random()
    if drawn < NAME:
        return name
    if drawn < NAME + SENTENCE or not others:
        templates = TEMPLATES[language]
        return templates[int(rng.integers(len(templates)))].format(name)
    return others[int(rng.integers(len(others)))]
