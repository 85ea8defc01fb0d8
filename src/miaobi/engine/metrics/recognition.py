"""How much of what was to be said a recogniser hears: syllables of Chinese, words of English.

`pinyin_error` counts the edits (Levenshtein 1966) from the toneless syllables of the text to those that were heard, over the syllables of
the text: a recogniser chooses characters by their sense, so 爽 for 霜 is no mistake of a voice; tones are left out because it cannot hear
them apart from the sense either. `word_error` is the same over English words. Both texts are put into words first, so that 8:05 and
"eight oh five" are one. The recogniser makes mistakes of its own: the figures are bounds from above.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from miaobi.core.families import family
from miaobi.core.shelf import find
from miaobi.core.types import Media, Modality, Request
from miaobi.data.speech_text import chinese, english, pinyin
from miaobi.data.speech_text.reading import language_of
from miaobi.engine.generate import collect
from miaobi.engine.metrics import Evidence, Figure, Unmeasurable, metric
from miaobi.engine.metrics.confidence import ratio

EARS = "ears"
SAME = {"dr": "doctor", "mr": "mister", "mrs": "missus", "ok": "okay", "vs": "versus"}  # one word in two spellings
_HAN = re.compile(f"[{pinyin.HAN}]+")
_TOKEN = re.compile(f"[{pinyin.HAN}]+|[a-z']+")


@metric("pinyin_error", needs=["samples"])
def pinyin_error(evidence: Evidence) -> Figure:
    """Edits from the toneless syllables of the Chinese texts to those that a recogniser hears, over their number."""
    return _error(evidence, "zh", syllables)


@metric("word_error", needs=["samples"])
def word_error(evidence: Evidence) -> Figure:
    """Edits from the words of the English texts to those that a recogniser hears, over their number."""
    return _error(evidence, "en", words)


def syllables(text: str) -> list[str]:
    """Toneless pinyin of the Chinese in a text, and its Latin words: 我有3个APP is wo you san ge app."""
    found: list[str] = []
    for token in _TOKEN.findall(chinese.in_words(text).lower()):
        if _HAN.match(token):
            found += [syllable.rstrip("12345") for word in pinyin.words(token) for syllable in word.syllables if syllable]
        else:
            found.append(token)
    return found


def words(text: str) -> list[str]:
    """The words of an English text in small letters, figures in words, without punctuation."""
    clear = re.sub(r"(\d)\.(\d\d)(?=\s?[ap]\.?m)", r"\1:\2", text.replace("’", "'").replace("%", " percent"))
    plain = english.numbers_in_words(english.in_words(clear)).lower()
    plain = re.sub(r"\b([a-z])\.(?=[a-z]\b)", r"\1", plain)  # a.m., U.S.
    found = (word.strip("'") for word in re.findall(r"[a-z0-9']+", plain))
    return [SAME.get(word, word) for word in found if word]


def edits(wanted: Sequence[str], heard: Sequence[str]) -> int:
    """The fewest insertions, deletions and replacements that make one of the other.

    >>> edits(["a", "b", "c"], ["a", "x", "c", "d"])
    2
    """
    row = list(range(len(heard) + 1))
    for number, unit in enumerate(wanted, 1):
        above, row = row, [number]
        for place, other in enumerate(heard):
            row.append(min(row[-1] + 1, above[place + 1] + 1, above[place] + (unit != other)))
    return row[-1]


def recognised(media: Media, language: str) -> str:
    """What the recogniser of this machine hears in a sound.

    Raises:
        MissingExtra: its packages are not installed.
    """
    request = Request.of(("", media), language=language, times=False)
    return " ".join(content.text for content in collect(_ears(find(EARS)), request))


@functools.lru_cache(maxsize=1)
def _ears(folder: Path) -> Any:
    return family("whisper").model_class().load(folder)


def _error(evidence: Evidence, language: str, units: Callable[[str], list[str]]) -> Figure:
    """Edits over units, of the samples whose text is in that language; what was to be said is the prompt."""
    wrong, all_units = [], []
    for sample in evidence.samples.get("", ()):
        sounds = [part for part in sample.content.parts if isinstance(part, Media) and part.modality is Modality.AUDIO]
        wanted = units(sample.content.label.prompt) if language_of(sample.content.label.prompt) == language else []
        if sounds and wanted:
            wrong.append(edits(wanted, units(recognised(sounds[0], language))))
            all_units.append(len(wanted))
    if not wrong:
        raise Unmeasurable("none of the samples is speech of a text in this language")
    return ratio(wrong, all_units, seed=evidence.seed, unit="share", better="lower")
