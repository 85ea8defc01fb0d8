"""Where the two labels lie in a sound, a film or a score: texts by name, one module a format, each with `read` and `write`.

`AIGC` is the implicit label as plain JSON, `miaobi` ours; what else a file says of itself (its title, its cover) stays. Nothing that sounds
or moves is touched. A file that ends early or contradicts itself is a `DataError`, raised before anything is written.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Protocol, cast

from miaobi.core.errors import DataError
from miaobi.trust.stored import Data

NAMES = ("AIGC", "miaobi")
_MODULES = {
    "audio/wav": "wav",
    "audio/mpeg": "audio",
    "audio/flac": "audio",
    "audio/ogg": "audio",
    "audio/mp4": "mp4",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "application/vnd.recordare.musicxml+xml": "musicxml",
}


class Format(Protocol):
    """What the module of a format offers."""

    def read(self, data: Data) -> Mapping[str, Sequence[str]]:
        """All texts under each of `NAMES` that is there; there should be one."""
        ...

    def write(self, data: Data, texts: Mapping[str, str], target: BinaryIO) -> None:
        """The file with these texts and no others of their names, into an empty file that may be read again, too."""
        ...


def has_place(mime: str) -> bool:
    """Whether files of the kind have a place for labels."""
    return mime in _MODULES


def read(data: Data, mime: str) -> Mapping[str, Sequence[str]]:
    """The texts in a file of that kind.

    Raises:
        DataError: cut off or damaged.
        MissingExtra: a package for the format is not installed.
    """
    return _module(mime).read(data)


def write(data: bytes, mime: str, texts: Mapping[str, str]) -> bytes:
    """The file with the texts in it; raises as `read` does."""
    target = io.BytesIO()
    _module(mime).write(data, texts, target)
    return target.getvalue()


def write_to(target: BinaryIO, data: Data, mime: str, texts: Mapping[str, str]) -> None:
    """`write` into a file, of which hardly more than a block is held in memory; raises as `read` does."""
    _module(mime).write(data, texts, target)


def damaged(problem: str) -> DataError:
    """The error of all formats. `problem` is a technical word for the developer of the other program; it is not translated."""
    return DataError("the file is damaged or cut off ({problem})", problem=problem)


def _module(mime: str) -> Format:
    return cast(Format, importlib.import_module(f"{__name__}.{_MODULES[mime]}"))
