"""Where the XMP packet lies in a picture file, one module a format: `packets(data)` finds them all, `replace(data, packet)` puts one in.

Pixels are never decoded here: every byte that is not a packet, or the bookkeeping around one, stays as it was. A file that ends early or
contradicts itself is a `DataError`, raised before anything is written; nothing here recurses or copies more than the file.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Protocol, cast

from miaobi.core.errors import DataError

SIGNATURES = (  # (offset, bytes, mime)
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (8, b"WEBP", "image/webp"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
)
SUFFIXES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}


class Container(Protocol):
    """What the module of a format offers."""

    def packets(self, data: bytes) -> Sequence[bytes]:
        """Every XMP packet in the file, in order."""
        ...

    def replace(self, data: bytes, packet: bytes) -> bytes:
        """The file with this packet and no other."""
        ...


def mime_of(data: bytes) -> str:
    """What the first bytes say that a file is, whatever it is named; empty when it is no picture that can be labelled."""
    return next((mime for offset, magic, mime in SIGNATURES if data[offset : offset + len(magic)] == magic), "")


def packets(data: bytes) -> list[bytes]:
    """Every XMP packet of a picture file.

    Raises:
        DataError: no picture of a known format, cut off, or damaged.
    """
    return list(_container(data).packets(data))


def replace(data: bytes, packet: bytes) -> bytes:
    """The picture file with `packet` as its only XMP packet.

    Raises:
        DataError: as `packets`, or the format has no room for a packet of this size.
    """
    return _container(data).replace(data, packet)


def damaged(problem: str) -> DataError:
    """The error of all formats. `problem` is a technical word for the developer of the other program; it is not translated."""
    return DataError("the picture is damaged or cut off ({problem})", problem=problem)


def _container(data: bytes) -> Container:
    mime = mime_of(data)
    if not mime:
        raise DataError("this is no picture of a kind that can be labelled; known: {known}", known=", ".join(SUFFIXES))
    return cast(Container, importlib.import_module(f"{__name__}.{mime.removeprefix('image/')}"))
