"""From a text to the symbols that a Tacotron reads: characters, pinyin with tones, or the letters of a phonetic transcription.

Chinese is read as initials and finals with their tone (`zh ong1 g uo2`), so that characters which never occurred in training are spoken
when their syllables did. What is silent and unknown (quotes, brackets) is left out; a letter, digit or character that is unknown is an
error.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from miaobi.core.errors import UsageError
from miaobi.core.types import Record
from miaobi.data.speech_text import chinese, english, pinyin

Kind = Literal["characters", "pinyin", "phonemes"]
END = "."  # stands at the end of every text, so that the model hears when it is over
PAUSES = {"，": ",", "、": ",", "；": ",", "：": ",", "。": ".", "！": "!", "？": "?", "…": ".", "—": ",", ";": ",", ":": ",", "-": " "}
SENTENCE = re.compile(r"[^.!?。！？\n]*[.!?。！？\n]+|[^.!?。！？\n]+$")
INITIALS = ("zh", "ch", "sh", *"bpmfdtnlgkhjqxrzcsyw")
MOST_CHARACTERS = 10_000
_STRETCH = re.compile(f"[{pinyin.HAN}]+|[^{pinyin.HAN}]+")
_STRETCH_OF_HAN = re.compile(f"[{pinyin.HAN}]")


def symbols_of(text: str, kind: Kind) -> list[str]:
    """The symbols of a text, its end marked.

    >>> symbols_of("The fox", "characters")
    ['t', 'h', 'e', ' ', 'f', 'o', 'x', '.']

    Raises:
        MissingExtra: pinyin or words for figures are wanted, and the packages that know them are not installed.
    """
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    if kind == "phonemes":
        found = list(plain)
    else:
        spelt = unicodedata.normalize("NFKC", _said(plain, kind)).casefold()
        spelt = "".join(PAUSES.get(character, character) for character in spelt)
        found = list(spelt) if kind == "characters" else list(_pinyin(spelt))
    return found if found and found[-1] in ".!?" else [*found, END]


def sentences(text: str) -> list[str]:
    """The text in pieces that end with a full stop, a question or an exclamation mark, or a line."""
    return [piece.strip() for piece in SENTENCE.findall(text) if any(character.isalnum() for character in piece)]


def _said(text: str, kind: Kind) -> str:
    """Figures in words, where the text has any: 10:43 is ten forty three, 3点 is 三点."""
    if not any(character.isdigit() for character in text):
        return text
    return chinese.in_words(text) if kind == "pinyin" else english.numbers_in_words(english.in_words(text))


def _pinyin(text: str) -> Iterator[str]:
    """Initials and finals of Chinese characters, everything else letter by letter."""
    for stretch in _STRETCH.findall(text):
        if not _STRETCH_OF_HAN.match(stretch):
            yield from stretch
            continue
        for word in pinyin.words(stretch):
            for character, syllable in zip(word.text, word.syllables):
                initial = next((start for start in INITIALS if syllable.startswith(start) and len(syllable) > len(start) + 1), "")
                yield from filter(None, (initial, syllable.removeprefix(initial))) if syllable else character


class Alphabet:
    """The symbols that a model knows, by number; 0 is nothing."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = tuple(symbols)
        self._numbers = {symbol: number for number, symbol in enumerate(self.symbols, 1)}

    @classmethod
    def of(cls, texts: Iterable[str], kind: Kind) -> Alphabet:
        """All symbols of the texts, sorted."""
        return cls(sorted({symbol for text in texts for symbol in symbols_of(text, kind)}))

    def __len__(self) -> int:
        return len(self.symbols) + 1

    def read(self, text: str, kind: Kind) -> list[int]:
        """The numbers of a text's symbols.

        Raises:
            UsageError: a letter, digit or character that the model never learned.
        """
        found = symbols_of(text, kind)
        strange = sorted({symbol for symbol in found if symbol not in self._numbers and any(map(str.isalnum, symbol))})
        if strange:
            raise UsageError(
                "this model never heard {strange}; it learned: {known}",
                strange=" ".join(strange[:20]),
                known=" ".join(symbol for symbol in self.symbols if symbol.strip()),
            )
        return [self._numbers[symbol] for symbol in found if symbol in self._numbers]


def text_to_read(record: Record, kind: Kind) -> str:
    """What is said in a record: its transcription where the model reads phonemes, else its transcript."""
    if kind == "phonemes" and record.meta.get("phonemes"):
        return str(record.meta["phonemes"])
    said = record.text or next((str(record.meta[key]) for key in ("normalised", "transcript", "text") if record.meta.get(key)), "")
    return said.strip()
