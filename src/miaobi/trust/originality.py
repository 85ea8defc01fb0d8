"""What a text shares with the corpus: whole lines (a Bloom filter that ships with a model) and the longest verbatim span (a suffix array).

Bloom (1970), with the double hashing of Kirsch and Mitzenmacher (2006): two 64-bit halves of one BLAKE2 hash stand for all k hash
functions. The filter never misses a line of the corpus; it wrongly accuses `rate` of the others. The suffix array is libdivsufsort's
(extra `train`).
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from miaobi.core.artifact import write_bytes
from miaobi.core.errors import ArtifactError, MissingExtra
from miaobi.core.language import tr

MAGIC = b"miaobi line filter 1\n"
_HEADER_BYTES = 512
_CHUNK = 1 << 16  # lines hashed at a time
_NOT_WORD = re.compile(r"[\W_]+")
_SEPARATOR = b"\xff"  # no byte of UTF-8

Hashes = npt.NDArray[np.uint64]  # (N, 2)


@dataclass(slots=True, eq=False)
class LineFilter:
    """A set of lines in about 1.44·log2(1/rate) bits each. Punctuation, spaces and case do not count."""

    bits: npt.NDArray[np.uint8]
    num_bits: int
    num_hashes: int
    rate: float
    lines: int = 0  # lines that were added

    @classmethod
    def empty(cls, capacity: int, *, rate: float = 1e-3) -> LineFilter:
        """A filter that keeps to `rate` until `capacity` distinct lines are in it."""
        assert 0 < rate < 1
        num_bits = max(64, math.ceil(-capacity * math.log(rate) / math.log(2) ** 2))
        return cls(np.zeros((num_bits + 7) // 8, np.uint8), num_bits, max(1, round(-math.log2(rate))), rate)

    @classmethod
    def build(cls, lines: Iterable[str], *, rate: float = 1e-3) -> LineFilter:
        """The filter of all lines, sized for the distinct ones; they are read once, and 16 bytes of memory are held for each."""
        hashes = np.concatenate([np.empty((0, 2), np.uint64), *_hash_chunks(lines)])
        distinct = np.unique(hashes.view([("high", np.uint64), ("low", np.uint64)]))
        built = cls.empty(len(distinct), rate=rate)
        built._set(distinct.view(np.uint64).reshape(-1, 2))
        return built

    def add(self, lines: Iterable[str]) -> None:
        """Put lines in. A filter that was opened from a file is read-only."""
        for hashes in _hash_chunks(lines):
            self._set(hashes)

    def _set(self, hashes: Hashes) -> None:
        assert self.bits.flags.writeable, "a filter from a file is read-only"
        for start in range(0, len(hashes), _CHUNK):
            positions = _positions(hashes[start : start + _CHUNK], self.num_bits, self.num_hashes)
            np.bitwise_or.at(self.bits, positions >> 3, np.left_shift(1, positions & 7).astype(np.uint8))
        self.lines += len(hashes)

    def contains(self, line: str) -> bool:
        """Whether the line was in the corpus: always true if it was, true with probability `rate` if not. An empty line never is."""
        return bool(self.contains_many([line])[0])

    def contains_many(self, lines: Sequence[str]) -> npt.NDArray[np.bool_]:
        """`contains` of every line: (N,)."""
        keys = [line_key(line) for line in lines]
        positions = _positions(_hash(keys), self.num_bits, self.num_hashes)  # (N, k)
        found = (self.bits[positions >> 3] >> (positions & 7).astype(np.uint8)) & 1
        present: npt.NDArray[np.bool_] = found.all(axis=1) & np.array([bool(key) for key in keys], np.bool_)
        return present

    def save(self, path: Path) -> None:
        """One file: a header of 512 bytes (magic, JSON with the SHA-256 of the bits), then the bits."""
        header = {
            "num_bits": self.num_bits,
            "num_hashes": self.num_hashes,
            "rate": self.rate,
            "lines": self.lines,
            "sha256": hashlib.sha256(self.bits.tobytes()).hexdigest(),
        }
        write_bytes(path, (MAGIC + json.dumps(header).encode()).ljust(_HEADER_BYTES) + self.bits.tobytes())

    @classmethod
    def open(cls, path: Path, *, verify: bool = False) -> LineFilter:
        """The filter in a file, memory-mapped. `verify` also reads it all and compares the hash.

        Raises:
            ArtifactError: no such file, not a line filter, cut short, or (verifying) damaged.
        """
        try:
            with path.open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            header = _header(data[:_HEADER_BYTES])
            bits = np.frombuffer(data, np.uint8, offset=_HEADER_BYTES)
            if len(bits) != (header["num_bits"] + 7) // 8 or (
                verify and hashlib.sha256(data[_HEADER_BYTES:]).hexdigest() != header["sha256"]
            ):
                raise ValueError("its bits are not the recorded ones")
            return cls(bits, header["num_bits"], header["num_hashes"], header["rate"], header["lines"])
        except FileNotFoundError:
            raise ArtifactError("there is no line filter at {path}", path=path) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError("{path} is no line filter, or is damaged ({error})", path=path, error=error) from None


def line_key(line: str) -> str:
    """What counts of a line: its letters and characters, in lower case."""
    return _NOT_WORD.sub("", line).lower()


def _hash_chunks(lines: Iterable[str]) -> Iterator[Hashes]:
    keys = (key for key in map(line_key, lines) if key)
    while chunk := list(islice(keys, _CHUNK)):
        yield _hash(chunk)


def _hash(keys: Sequence[str]) -> Hashes:
    """128 bits for each key, the same on every machine: (N, 2)."""
    digests = b"".join(hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=16).digest() for key in keys)
    return np.frombuffer(digests, "<u8").astype(np.uint64, copy=False).reshape(-1, 2)


def _positions(hashes: Hashes, num_bits: int, num_hashes: int) -> npt.NDArray[np.int64]:
    """h1 + i·h2 for i < k, wrapped at 2⁶⁴ and reduced to the bits: (N, k). An odd h2 keeps the k positions apart."""
    steps = np.arange(num_hashes, dtype=np.uint64)
    spread = hashes[:, :1] + steps * (hashes[:, 1:] | np.uint64(1))
    return (spread % np.uint64(num_bits)).astype(np.int64)


def _header(block: bytes) -> dict[str, Any]:
    if not block.startswith(MAGIC):
        raise ValueError("it does not begin as one")
    header = json.loads(block[len(MAGIC) :])
    if not (isinstance(header, dict) and 1 <= header["num_hashes"] <= 64 and header["num_bits"] >= 1):
        raise ValueError("its header is wrong")
    return header


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch that a text shares with a corpus verbatim. `start` counts characters of the text, `offset` characters of the document."""

    text: str
    start: int = 0
    document: int = -1
    offset: int = -1


class SpanIndex:
    """A corpus with the suffix array of its UTF-8 bytes: 5 bytes of memory for each byte of the corpus, 9 beyond 2 GB.

    UTF-8 is self-synchronising, so a match that begins at a character of the text begins at a character of the corpus.
    """

    def __init__(self, corpus: Iterable[str]) -> None:
        """Sort all suffixes.

        Raises:
            MissingExtra: pydivsufsort is not installed.
        """
        try:
            from pydivsufsort import divsufsort
        except ImportError:
            raise MissingExtra(tr("the longest shared span"), "train", "pydivsufsort") from None
        documents = [document.encode() for document in corpus]
        self._starts = np.cumsum([0, *(len(document) + 1 for document in documents)])[:-1].tolist()
        self._bytes = _SEPARATOR.join(documents)
        self._suffixes = divsufsort(self._bytes) if self._bytes else np.empty(0, np.int32)

    def longest(self, text: str) -> Span:
        """The longest verbatim span of `text` in the corpus, the first of equal ones; an empty span when no character is shared.

        At every character one asks only for a match longer than the best so far: len(text) + len(span) binary searches in all.
        """
        characters = [character.encode() for character in text]
        best_start, best, place = 0, 0, -1
        for start in range(len(characters)):
            while start + best < len(characters):
                found = self._find(b"".join(characters[start : start + best + 1]))
                if found < 0:
                    break
                best_start, best, place = start, best + 1, found
        if not best:
            return Span(text="")
        document = bisect_right(self._starts, place) - 1
        offset = len(self._bytes[self._starts[document] : place].decode())
        return Span(text=text[best_start : best_start + best], start=best_start, document=document, offset=offset)

    def _find(self, pattern: bytes) -> int:
        """Where in the corpus the pattern begins (the first in suffix order), or -1."""
        low, high, size = 0, len(self._suffixes), len(pattern)
        while low < high:
            middle = (low + high) // 2
            begin = self._suffixes[middle]
            if self._bytes[begin : begin + size] < pattern:
                low = middle + 1
            else:
                high = middle
        if low == len(self._suffixes):
            return -1
        begin = int(self._suffixes[low])
        return begin if self._bytes[begin : begin + size] == pattern else -1


def longest_shared_span(texts: Iterable[str], corpus: Iterable[str]) -> list[Span]:
    """For each text its longest verbatim span in the corpus, and where. Keep a `SpanIndex` to ask more than once."""
    index = SpanIndex(corpus)
    return [index.longest(text) for text in texts]
