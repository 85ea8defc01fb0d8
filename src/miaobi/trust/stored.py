"""A file as if it were bytes: only what is asked for is read, so a film of any size is looked at and labelled in little memory.

The parsers of formats take slices, whether of bytes or of a file. A labelled file is described as pieces, new bytes and stretches of the
old file, which are copied block by block.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from miaobi.core.artifact import reading
from miaobi.core.errors import DataError

BLOCK = 1 << 20  # bytes read at a time
SMALL = 256 << 20  # bytes of what is read whole


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of `size` bytes that is sliced like bytes; opened for each slice, so nothing is left open."""

    path: Path
    size: int

    @classmethod
    def at(cls, path: Path) -> Stored:
        """The file at a path that a person named.

        Raises:
            UsageError: no such file, a folder, no permission, an impossible name.
        """
        with reading(path), path.open("rb") as file:
            return cls(path, file.seek(0, io.SEEK_END))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: slice) -> bytes:
        start, stop, step = place.indices(self.size)
        assert step == 1
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(max(0, stop - start))


Data = bytes | Stored


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes of the old file from `start` to before `end`."""

    start: int
    end: int


def opened(data: Data) -> BinaryIO:
    """Something to read from, to be closed by the caller."""
    return data.path.open("rb") if isinstance(data, Stored) else io.BytesIO(data)


def whole(data: Data) -> bytes:
    """All of it.

    Raises:
        DataError: more than files of this kind are read whole.
    """
    if isinstance(data, bytes):
        return data
    if data.size > SMALL:
        raise DataError("{path} has {size:,} bytes; files up to {limit:,} are read", path=data.path, size=data.size, limit=SMALL)
    return data[:]


def blocks(data: Data, start: int = 0, end: int | None = None, *, size: int = BLOCK) -> Iterator[bytes]:
    """A stretch of it, `size` bytes at a time."""
    left = (len(data) if end is None else min(end, len(data))) - start
    with opened(data) as file:
        file.seek(start)
        while left > 0 and (block := file.read(min(size, left))):
            left -= len(block)
            yield block


def write(data: Data, pieces: Iterable[bytes | Span], target: BinaryIO) -> None:
    """The pieces one after the other, stretches copied from `data`."""
    for piece in pieces:
        for block in [piece] if isinstance(piece, bytes) else blocks(data, piece.start, piece.end):
            target.write(block)


def contains(data: Data, word: bytes) -> bool:
    """Whether the word is anywhere in it."""
    if isinstance(data, bytes):
        return word in data
    tail = b""
    for block in blocks(data):
        if word in tail + block:
            return True
        tail = block[-len(word) + 1 :]
    return False
