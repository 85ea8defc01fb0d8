"""English words and how they are read, in the phonemes of misaki, which Kokoro learned: hibari's lexicon, tagger and net for unknown words.

Its normaliser says numbers, dates, times, units and money; what it does not know (telephone numbers with brackets, addresses, Latin
abbreviations) is put into words here first. Words are then aligned with those that were written, so that each has its place.
"""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from re import Match
from typing import Any

from miaobi.core.errors import MissingExtra
from miaobi.core.language import tr

ABBREVIATIONS = {
    "e.g.": "for example",
    "i.e.": "that is",
    "w/o": "without",
    "w/": "with",
    "vs.": "versus",
    "vs": "versus",
    "approx.": "approximately",
}
CURRENCIES = {  # one, many, a hundredth of one, hundredths
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yuan", "yuan", "fen", "fen"),
    "￥": ("yuan", "yuan", "fen", "fen"),
    "₩": ("won", "won", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "US$": ("US dollar", "US dollars", "cent", "cents"),
    "HK$": ("Hong Kong dollar", "Hong Kong dollars", "cent", "cents"),
    "A$": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "C$": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
}
_SQUARE = {"²": "square", "³": "cubic"}
_LENGTHS = {"km": "kilometers", "cm": "centimeters", "mm": "millimeters", "m": "meters", "ft": "feet", "in": "inches"}
_HALVES = {"½": "a half", "¼": "a quarter", "¾": "three quarters", "⅓": "a third", "⅔": "two thirds"}
_TELEPHONE = re.compile(r"(?<![\w.])(?:\+(\d{1,3})[-\s.]?)?\(?(\d{3})\)?[-\s.](\d{3})[-\s.](\d{4})(?!\w)")
_NAME = r"[A-Za-z0-9_-]+"
ADDRESS = re.compile(
    r"(?:https?://|www\.)[^\s，。\u3000-\u9fff]+"
    rf"|[A-Za-z0-9_.+-]+@{_NAME}(?:\.{_NAME})+"
    rf"|(?<![\w@.])[a-z]{_NAME}(?:\.{_NAME})*\.(?:com|org|net|edu|io|cn|gov)\b(?:/[A-Za-z0-9_/.-]*)?"
)
_SHORT = re.compile("|".join(rf"(?<!\w){re.escape(short)}(?!\w)" for short in ABBREVIATIONS))
_SIGN = "|".join(map(re.escape, sorted(CURRENCIES, key=len, reverse=True)))
_MONEY = re.compile(
    rf"(?<![A-Za-z])({_SIGN})\s?(\d+(?:,\d{{3}})*)(?:\.(\d\d)(?!\d)|(\.\d+))?"
    r"(?:\s?(hundred|thousand|million|billion|trillion|[kKmMbB])\b)?"
)
_AREA = re.compile(rf"(\d)\s?({'|'.join(_LENGTHS)})([²³])")
_HALF = re.compile(rf"(\d)\s?([{''.join(_HALVES)}])")
_HEIGHT = re.compile(r"(?<!\d)([3-8])['’′](\d{1,2})(?:[\"”″]|'')")
_POINT = re.compile(r"(?<![\w.])\.(?=\d)")
_MANY = {"k": "thousand", "m": "million", "b": "billion"}
_SIGNS = {
    "/": "slash",
    ".": "dot",
    "-": "dash",
    "_": "underscore",
    "@": "at",
    "?": "question mark",
    "=": "equals",
    "&": "and",
    "+": "plus",
    "#": "hash",
}
_EDGES = re.compile(r"^([“\"(]*)(.*?)([,.!?;:…—”\")]*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class EnglishWord:
    """A stretch as written with its place, its phonemes, and the punctuation around it."""

    start: int
    end: int
    phonemes: str
    before: str
    after: str


def words(text: str, *, british: bool = False) -> Iterator[EnglishWord]:
    """The words of English text in order; a number or an abbreviation that is read as several words is one.

    Raises:
        MissingExtra: hibari-tts is not installed.
    """
    written = list(re.finditer(r"\S+", text))
    spoken = in_words(text)
    phonemes = _phonemes(spoken, british=british)
    for here, there in _aligned([found[0] for found in written], spoken.split()):
        sounds = " ".join(filter(None, phonemes[there.start : there.stop]))
        if not sounds or not here:
            continue
        before, middle, after = _edges(sounds)
        yield EnglishWord(written[here.start].start(), written[here.stop - 1].end(), middle, before, after)


def in_words(text: str) -> str:
    """English text with its figures, signs and abbreviations in words, as far as the lexicon does not read them itself."""
    text = _TELEPHONE.sub(_telephone, text)
    text = ADDRESS.sub(_address, text)
    text = _SHORT.sub(lambda found: ABBREVIATIONS[found[0]], text)
    text = _MONEY.sub(_money, text)
    text = _AREA.sub(lambda found: f"{found[1]} {_SQUARE[found[3]]} {_LENGTHS[found[2]]}", text)
    text = _HALF.sub(lambda found: f"{found[1]} and {_HALVES[found[2]]}", text)
    text = _HEIGHT.sub(lambda found: f"{found[1]} foot {found[2]}", text)
    text = _POINT.sub("0.", text)
    normalised: str = _hibari().normalize(text)
    return normalised


def numbers_in_words(text: str) -> str:
    """Whole numbers that stand alone as words too, which the lexicon otherwise reads itself: 1990 is "nineteen ninety"."""
    say = _hibari_numbers()
    return re.sub(r"\b\d+(?:,\d{3})*\b", lambda found: str(_said(say, found[0])), text)


def _said(say: Any, written: str) -> str:
    plain = written.replace(",", "")
    return str(say.year(int(plain)) if len(plain) == 4 and "," not in written else say.cardinal(int(plain)))


def _telephone(found: Match[str]) -> str:
    groups = [" ".join(group) for group in found.groups() if group]
    return ("plus " if found[1] else "") + ", ".join(groups)


def _money(found: Match[str]) -> str:
    """`$3.50` is "3 dollars and 50 cents", `£2.5m` is "2.5 million pounds". The lexicon's own reading would go on to the next number."""
    sign, whole, hundredths, fraction, many = found.groups()
    one, more, small, smaller = CURRENCIES[sign]
    if many:
        return f"{whole}{'.' + hundredths if hundredths else fraction or ''} {_MANY.get(many.lower(), many)} {more}"
    if fraction or (hundredths and not small):
        return f"{whole}{fraction or '.' + hundredths} {more}"
    said = f"{whole} {one if whole == '1' else more}"
    if not hundredths or hundredths == "00":
        return said
    cents = f"{int(hundredths)} {small if hundredths == '01' else smaller}"
    return cents if whole == "0" else f"{said} and {cents}"


def _address(found: Match[str]) -> str:
    """`https://a.org/b` is "a dot org slash b"; the dot that ends a sentence is none of its."""
    address = found[0].rstrip(".,;:!?")
    plain = re.sub(r"^https?://", "", address).rstrip("/")
    said = re.sub(r"[^A-Za-z0-9]", lambda sign: f" {_SIGNS.get(sign[0], ' ')} ", plain)
    return " ".join(said.split()) + found[0][len(address) :]


def _edges(sounds: str) -> tuple[str, str, str]:
    found = _EDGES.match(sounds)
    assert found is not None
    return found[1], found[2], found[3]


def _aligned(written: list[str], spoken: list[str]) -> Iterator[tuple[range, range]]:
    """Which spoken words each written one, or stretch of them, became. What was only added joins the stretch before it."""
    pairs: list[tuple[range, range]] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(a=written, b=spoken, autojunk=False).get_opcodes():
        if tag == "insert" and pairs:
            pairs[-1] = (pairs[-1][0], range(pairs[-1][1].start, d))
        elif tag != "delete":
            pairs += _split(written, spoken, range(a, b), range(c, d))
    return iter(pairs)


def _split(written: list[str], spoken: list[str], here: range, there: range) -> list[tuple[range, range]]:
    """Stretches of equal length word by word; others where both have as many marks at the ends of words, and else as a whole."""
    if len(here) == len(there):
        return [(range(one, one + 1), range(other, other + 1)) for one, other in zip(here, there)]
    cuts = [[place + 1 for place in places if words[place][-1] in ",;:!?"] for words, places in ((written, here), (spoken, there))]
    if len(cuts[0]) != len(cuts[1]) or not cuts[0]:
        return [(here, there)]
    ends = [sorted({*cut, places.stop}) for cut, places in zip(cuts, (here, there))]
    if len(ends[0]) != len(ends[1]):
        return [(here, there)]
    starts = [[places.start, *end[:-1]] for end, places in zip(ends, (here, there))]
    return [(range(a, b), range(c, d)) for a, b, c, d in zip(starts[0], ends[0], starts[1], ends[1])]


def _phonemes(spoken: str, *, british: bool) -> list[str]:
    """The phonemes of each word between spaces, its punctuation with it."""
    reader = _reader(british)
    found = [""]
    # digits that are no decimals (¹, ②) are digits to the lexicon too, until it counts with them
    spoken = "".join(str(unicodedata.digit(sign)) if sign.isdigit() and not sign.isdecimal() else sign for sign in spoken)
    for token in reader.phonemize_tokens(reader.tokenize(spoken)):
        found[-1] += token.phonemes or ""
        if token.whitespace:
            found.append("")
    count = len(spoken.split())
    return (found + [""] * count)[:count]


@functools.cache
def _reader(british: bool) -> Any:
    return _hibari().G2P(british=british)


def _hibari_numbers() -> Any:
    _hibari()
    import hibari.g2p.numbers

    return hibari.g2p.numbers


@functools.cache
def _hibari() -> Any:
    try:
        import hibari.g2p
    except ImportError:
        raise MissingExtra(tr("reading English aloud"), "voice", "hibari-tts") from None
    return hibari.g2p
