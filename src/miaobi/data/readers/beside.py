"""A file that a row names: it has to lie beside the file that the row stands in, or below, whatever the name tries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from miaobi.core.errors import DataError
from miaobi.core.types import Media
from miaobi.data.readers.encoding import explain_read_errors
from miaobi.data.readers.formats import Piece
from miaobi.data.records import Dropped

MOST_SHOWN = 200  # letters of a name that go into a reason


def beside(name: str, piece: Piece, media: Callable[[bytes, str], Media | Dropped], read: Callable[[Path], bytes]) -> Media | Dropped:
    """`media(read(path), name)` of the file; a reason where it lies elsewhere or cannot be read."""
    folder = piece.file.parent.resolve()
    try:
        path = (folder / name).resolve()
        if not name or "\\" in name or not path.is_relative_to(folder):
            return Dropped("outside_of_folder", name[:MOST_SHOWN])
        with explain_read_errors(path):
            return media(read(path), name)
    except DataError as error:
        return Dropped("unreadable_file", error.template.format(**error.values | {"path": name[:MOST_SHOWN]}))
    except (OSError, ValueError):  # a name that is too long, or with a zero byte
        return Dropped("unreadable_file", name[:MOST_SHOWN])
