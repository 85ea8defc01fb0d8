"""Word lists that hold back requests and outputs: category, severity and an allow-list, matched after normalisation.

A list is UTF-8 text of lines `category<TAB>severity<TAB>word`; severity is `block` or `flag`, and the category `allow` (two columns,
`allow<TAB>word`) names harmless words that contain a listed one. `#` begins a comment. People bring their own lists by `MIAOBI_WORDLIST`
(several, separated as in PATH); the list that ships is short. A word list is a coarse net: it knows no meaning, and its verdict in a
label says only that no listed word was found.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from miaobi.core.errors import UsageError

Severity = Literal["block", "flag"]
BUILTIN = Path(__file__).parent / "words.tsv"


class Refused(UsageError):
    """A request or an output was held back. `category` says why; the word itself is not repeated."""

    def __init__(self, template: str, /, *, category: str, **values: object) -> None:
        super().__init__(template, category=category, **values)
        self.category = category


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A listed word that a text contains."""

    category: str
    severity: Severity
    word: str


@dataclass(frozen=True, slots=True)
class WordList:
    """Words by their normal form; None marks a harmless one, which shadows the words inside it.

    A text is matched by looking up, at each character, the lengths of the words that begin with it: the time does not grow with the list.
    """

    words: Mapping[str, Hit | None]
    lengths: Mapping[str, Sequence[int]]  # by first character, longest first
    longest: int
    digest: str

    def hits(self, text: str) -> list[Hit]:
        """The listed words in `text`, in order, those inside a harmless word left out."""
        if not self.words:
            return []
        text = normalise(text)
        found: list[Hit] = []
        shadow = 0  # where the furthest harmless word so far ends
        for start, character in enumerate(text):
            for end in (start + length for length in self.lengths.get(character, ())):
                word = text[start:end]
                if end > len(text) or word not in self.words or not _whole(text, start, end):
                    continue
                hit = self.words[word]
                if hit is None:
                    shadow = max(shadow, end)
                elif end > shadow:
                    found.append(hit)
        return found

    def blocked(self, text: str) -> str:
        """The category of the first word of severity `block` in `text`, or an empty string."""
        return next((hit.category for hit in self.hits(text) if hit.severity == "block"), "")

    def verdict(self, text: str) -> str:
        """What goes into a label: `passed words:1a2b3c4d` or `flagged:violence words:1a2b3c4d`; the digest names the list."""
        if not self.words:
            return ""
        flagged = sorted({hit.category for hit in self.hits(text)})
        return f"{'flagged:' + ','.join(flagged) if flagged else 'passed'} words:{self.digest[:8]}"


def normalise(text: str) -> str:
    """One spelling for what looks alike: NFKC, lower case, simplified characters, nothing invisible, and no separators between Chinese.

    Latin words keep single spaces between them, so that "the rapist" is not "therapist".
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = "".join(
        character for character in text if unicodedata.category(character) not in ("Cf", "Mn", "Me", "Cc") or character.isspace()
    )
    if _HAN.search(text):
        text = _simplify(text)
    text = _SEPARATORS.sub(" ", text)
    return _HAN_GAP.sub("", text)


def load(paths: Sequence[Path] = ()) -> WordList:
    """The built-in list together with `paths`, or with the files of `MIAOBI_WORDLIST` when none are given.

    Raises:
        UsageError: a file is missing, is not UTF-8, or a line is not of the format.
    """
    if not paths:
        paths = [Path(part).expanduser() for part in os.environ.get("MIAOBI_WORDLIST", "").split(os.pathsep) if part]
    return _load((BUILTIN, *paths), tuple(path.stat().st_mtime_ns if path.is_file() else 0 for path in paths))


def compile_words(hits: Iterable[Hit], allowed: Iterable[str] = ()) -> WordList:
    """A list from its words. Latin words match whole words only; Chinese words match anywhere."""
    words: dict[str, Hit | None] = {normalise(hit.word).strip(): hit for hit in hits}
    words |= {normalise(word).strip(): None for word in allowed}
    words.pop("", None)
    lengths: dict[str, set[int]] = {}
    for word in words:
        lengths.setdefault(word[0], set()).add(len(word))
    content = "\n".join(f"{word}\t{hit.category}\t{hit.severity}" if hit else word for word, hit in sorted(words.items()))
    return WordList(
        words,
        {character: sorted(found, reverse=True) for character, found in lengths.items()},
        max(map(len, words), default=0),
        hashlib.sha256(content.encode()).hexdigest(),
    )


def parse(source: str, where: str) -> tuple[list[Hit], list[str]]:
    """The words and the allowed words of a list's text.

    Raises:
        UsageError: a line has another number of columns or another severity.
    """
    hits: list[Hit] = []
    allowed: list[str] = []
    for number, line in enumerate(source.removeprefix("\ufeff").splitlines(), start=1):
        columns = [column.strip() for column in line.split("\t")]
        if not line.strip() or line.startswith("#"):
            continue
        if columns[0] == "allow" and len(columns) == 2:
            allowed.append(columns[1])
        elif len(columns) == 3 and columns[1] in ("block", "flag") and all(columns):
            hits.append(Hit(category=columns[0], severity="block" if columns[1] == "block" else "flag", word=columns[2]))
        else:
            raise UsageError(
                "{path}, line {line}: a word list has lines `category<TAB>block or flag<TAB>word` or `allow<TAB>word`",
                path=where,
                line=number,
            )
    return hits, allowed


_HAN = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]")
_INVISIBLE = frozenset({"Cf", "Mn", "Me", "Cc"})  # format, marks, controls
_SEPARATORS = re.compile(r"[\W_]+")
_HAN_GAP = re.compile(f"(?<={_HAN.pattern}) | (?={_HAN.pattern})")


def _whole(text: str, start: int, end: int) -> bool:
    """Whether a match does not begin or end inside a Latin word or a number."""
    return not (_latin(text[start]) and _latin(text[start - 1 : start])) and not (_latin(text[end - 1]) and _latin(text[end : end + 1]))


def _latin(character: str) -> bool:
    return character.isascii() and character.isalnum()


def read(paths: Iterable[Path]) -> tuple[list[Hit], list[str]]:
    """The words and the allowed words of several lists.

    Raises:
        UsageError: a file is missing, is not UTF-8, or a line is not of the format.
    """
    hits: list[Hit] = []
    allowed: list[str] = []
    for path in paths:
        try:
            found, harmless = parse(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            raise UsageError("there is no word list at {path}", path=path) from None
        except (UnicodeDecodeError, IsADirectoryError):
            raise UsageError("{path} is no word list: UTF-8 text is expected", path=path) from None
        hits += found
        allowed += harmless
    return hits, allowed


@functools.lru_cache(maxsize=8)
def _load(paths: tuple[Path, ...], _changed: tuple[int, ...]) -> WordList:
    return compile_words(*read(paths))


def _simplify(text: str) -> str:
    return str(_converter().convert(text))


@functools.cache
def _converter() -> Any:
    import opencc

    return opencc.OpenCC("t2s")
