"""A text in Chinese, English or both as sentences of words, each with where it stands and how it is read.

A sentence with a Chinese character in it is read as Chinese: its figures in Chinese words, the English words and clauses in it in English.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from miaobi.data.speech_text import chinese, english, pinyin

Language = Literal["zh", "en"]
MARKS = {  # written punctuation to what is heard of it
    "，": ",",
    "、": ",",
    "。": ".",
    "．": ".",
    "｡": ".",
    "！": "!",
    "？": "?",
    "；": ";",
    "：": ":",
    "—": "—",
    "–": "—",
    "…": "…",
    "～": "—",
    "~": "—",
    "|": ",",
    **{mark: mark for mark in ",.!?;:"},
}
OPENING = dict.fromkeys("“‘「『《〈«", "“") | dict.fromkeys("（(【[［〔{", "(")
CLOSING = dict.fromkeys("”’」』》〉»", "”") | dict.fromkeys("）)】]］〕}", ")")
SILENT = frozenset("\"'`·•*_^\\/-‐‑­​‌‍️ 　\t\r\n\ufeff")  # no sound of their own where no rule reads them
_HAN = re.compile(f"[{pinyin.HAN}]")
HAN_RUN = re.compile(f"[{pinyin.HAN}]+")
_WORD = r"[A-Za-zÀ-ɏ][A-Za-zÀ-ɏ'’]*(?:[-.&][A-Za-zÀ-ɏ]+)*\.?"
_CLAUSE = re.compile(rf"{_WORD}(?:[ ,;:]+(?:{_WORD}|[$€£]?\d[\d,.:%]*)){{2,}}")  # three words of English or more
_LATIN = re.compile(r"(?:Mr|Mrs|Ms|Dr|Prof|St|No)\.|[A-Za-zÀ-ɏ](?:[A-Za-zÀ-ɏ'’&]*[A-Za-zÀ-ɏ])?")
_END = re.compile(r"[。！？!?…]+[”’」』》）)\"']*|\.+[”’)\"']*(?=\s|$)|\s*\n\s*")
_NO_END = re.compile(r"(?:^|[\s(“\"])(?:Mr|Mrs|Ms|Dr|Prof|St|No|Nos|vs|approx|Jr|Sr|Fig|pp?|e\.g|i\.e|[A-Z])\.$")


@dataclass(frozen=True, slots=True)
class Word:
    """A stretch of the text and its sounds: syllables of pinyin with spaces between them (zh), or phonemes of misaki (en).

    `before` and `after` are the punctuation around it, of `“ ( , . ! ? ; : … — ” )`. A number or a date is one word.
    """

    text: str
    start: int
    end: int
    language: Language
    sounds: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, where it begins in the text, its words (placed in the whole text), and the characters that nobody reads."""

    text: str
    start: int
    language: Language
    words: tuple[Word, ...]
    unread: str = ""


def language_of(text: str) -> Language:
    """zh when there is a Chinese character in it."""
    return "zh" if _HAN.search(text) else "en"


def read(text: str, *, language: str = "auto", british: bool = False) -> Iterator[Sentence]:
    """The sentences of `text` that have something to say, one by one.

    Raises:
        MissingExtra: a package that reads this language is not installed.
    """
    for start, end in sentences(text):
        written = text[start:end]
        spoken: Language = "zh" if language == "zh" else "en" if language == "en" else language_of(written)
        words, unread = _chinese(written, british=british) if spoken == "zh" else _english(written, british=british)
        placed = tuple(replace(word, start=word.start + start, end=word.end + start) for word in words)
        if placed or unread:
            yield Sentence(written, start, spoken, placed, unread)


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Where sentences begin and end: after a full stop that ends no abbreviation, or at the end of a line."""
    start = 0
    for found in _END.finditer(text):
        goes_on = text[found.end() :].lstrip()[:1].islower() or _NO_END.search(text[max(start, found.start() - 12) : found.start() + 1])
        if found[0].startswith(".") and goes_on:
            continue
        if text[start : found.end()].strip():
            yield _stripped(text, start, found.end())
        start = found.end()
    if text[start:].strip():
        yield _stripped(text, start, len(text))


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    inner = text[start:end]
    return start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())


def _english(text: str, *, british: bool) -> tuple[list[Word], str]:
    """Words of an English sentence. Letters of other scripts are left out."""
    unread = "".join(letter for letter in text if _foreign(letter))
    plain = "".join(" " if letter in unread else MARKS.get(letter, letter) if letter in "，。！？；：" else letter for letter in text)
    return [replace(word, text=text[word.start : word.end]) for word in _latin(plain, 0, british=british)], unread


def _foreign(letter: str) -> bool:
    """Whether an English reader has nothing to say to it: Chinese, Cyrillic, emoji and the like."""
    if ord(letter) < 0x250 or letter in MARKS or letter in OPENING or letter in CLOSING or letter in SILENT:
        return False
    return letter not in "€£₩₹¥￥°℃℉™®©±×÷≈≤≥≠−₂²³½¼¾‰"


def _chinese(text: str, *, british: bool) -> tuple[list[Word], str]:
    """Words of a Chinese sentence from left to right: clauses of English, figures in words, single English words, Chinese words."""
    words: list[Word] = []
    unread, opened, place = "", "", 0
    for start, end, found in [*_pieces(text, british=british), (len(text), len(text), [])]:
        for letter in text[place:start]:
            if letter in OPENING:
                opened += OPENING[letter]
            elif (letter in MARKS or letter in CLOSING) and words:
                words[-1] = replace(words[-1], after=words[-1].after + (MARKS.get(letter) or CLOSING[letter]))
            elif letter not in SILENT and letter not in MARKS and letter not in CLOSING:
                unread += letter
        for word in found:
            if word.sounds:
                words.append(replace(word, before=opened + word.before))
                opened = ""
            else:
                unread += word.text
        place = end
    return words, unread


def _pieces(text: str, *, british: bool) -> list[tuple[int, int, list[Word]]]:
    """The stretches of a Chinese sentence that are read, in order, with their words."""
    found: list[tuple[int, int, list[Word]]] = []
    masked = text

    def take(start: int, end: int, words: list[Word]) -> None:
        nonlocal masked
        found.append((start, end, words))
        masked = masked[:start] + "\0" * (end - start) + masked[end:]

    for address in english.ADDRESS.finditer(text):
        take(address.start(), address.end(), _latin(address[0], address.start(), british=british))
    for clause in list(_CLAUSE.finditer(masked)):
        take(clause.start(), clause.end(), _latin(clause[0], clause.start(), british=british))
    for start, end, said in list(chinese.said(masked)):
        take(start, end, [_figure(text[start:end], start, said, british=british)])
    for run in list(_LATIN.finditer(masked)):
        take(run.start(), run.end(), _latin(run[0], run.start(), british=british))
    for run in list(HAN_RUN.finditer(masked)):
        take(run.start(), run.end(), [word for each in pinyin.words(run[0]) for word in _readable(each, run.start())])
    return sorted(found, key=lambda piece: piece[0])


def _latin(text: str, offset: int, *, british: bool) -> list[Word]:
    """English words, the punctuation around them cut off."""
    words = []
    for word in english.words(text, british=british):
        written = text[word.start : word.end]
        bare = written.lstrip("“\"'(").rstrip(",!?;:…—”\"')" + ("." if "." in word.after else ""))
        start = word.start + written.find(bare)
        if bare and any(letter.isalpha() for letter in word.phonemes):
            words.append(Word(bare, start + offset, start + len(bare) + offset, "en", word.phonemes, word.before, word.after))
    return words


def _figure(text: str, start: int, said: str, *, british: bool) -> Word:
    """A number, a date or a sign as one word; the pauses inside it (of a telephone number) are kept in its sounds."""
    syllables = [" ".join(syllable for word in pinyin.words(run) for syllable in word.syllables) for run in HAN_RUN.findall(said)]
    return Word(text, start, start + len(text), "zh", " , ".join(syllables) if "，" in said else " ".join(syllables))


def _readable(word: pinyin.ChineseWord, offset: int) -> Iterator[Word]:
    """The word, or, where a character of it has no reading, its characters; those without one have no sounds."""
    start = word.start + offset
    if all(word.syllables):
        yield Word(word.text, start, start + len(word.text), "zh", " ".join(word.syllables))
        return
    for place, (letter, syllable) in enumerate(zip(word.text, word.syllables)):
        yield Word(letter, start + place, start + place + 1, "zh", syllable)


def is_silent(text: str) -> bool:
    """Whether there is nothing in it but spaces, punctuation and signs."""
    return not any(unicodedata.category(letter)[0] in "LN" for letter in text)
