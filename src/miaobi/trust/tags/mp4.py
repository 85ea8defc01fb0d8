"""MP4, M4A, MOV: `moov.udta.meta`, its names in `keys` and its texts in `ilst` (QuickTime File Format, "Metadata"), by hand.

Everything in a film is found by its offset in the file, so when `moov` stands before the frames, the tables of offsets in it grow with it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from miaobi.core.errors import DataError
from miaobi.trust import stored
from miaobi.trust.stored import Data, Span
from miaobi.trust.tags import NAMES, damaged

_HANDLER = struct.pack(">II4s12xx", 0, 0, b"mdta")
_UTF_8 = 1
_WAY_TO_OFFSETS = (b"trak", b"mdia", b"minf", b"stbl")


@dataclass(frozen=True, slots=True)
class _Box:
    """A box: its kind, where it begins, where its body begins, where it ends."""

    kind: bytes
    start: int
    body: int
    end: int


def read(data: Data) -> Mapping[str, Sequence[str]]:
    """The texts of our names in every list of metadata that names its keys."""
    found: dict[str, list[str]] = {}
    for name, text in _texts(data, _only(data, 0, len(data), b"moov")):
        if name in NAMES:
            found.setdefault(name, []).append(text.decode("utf-8", "replace"))
    return found


def write(data: Data, texts: Mapping[str, str], target: BinaryIO) -> None:
    """The texts beside those that other programs put there."""
    moov = _only(data, 0, len(data), b"moov")
    if moov.end - moov.start > stored.SMALL:
        raise damaged("tables too long")
    kept = [(name, text) for name, text in _texts(data, moov) if name not in texts]
    meta = _meta([*kept, *((name, text.encode()) for name, text in texts.items())])
    boxes = list(_boxes(data, moov.body, moov.end))
    children = [data[box.start : box.end] for box in boxes if box.kind != b"udta" and not (box.kind == b"meta" and _is_keyed(data, box))]
    other = [_without_keys(data, box) for box in boxes if box.kind == b"udta"]
    new = _box(b"moov", *children, _box(b"udta", *other, meta))
    delta = len(new) - (moov.end - moov.start)
    if delta and moov.start < min((box.start for box in _boxes(data, 0, len(data)) if box.kind == b"mdat"), default=0):
        if any(box.kind == b"moof" for box in _boxes(data, 0, len(data))):
            raise DataError("a film in fragments cannot be labelled; write it as a plain MP4 file first")
        new = _moved(new, delta)
    stored.write(data, [Span(0, moov.start), new, Span(moov.end, len(data))], target)


def _texts(data: Data, moov: _Box) -> Iterator[tuple[str, bytes]]:
    """Name and UTF-8 text of every keyed entry in `moov.udta.meta` and `moov.meta`."""
    for box in _boxes(data, moov.body, moov.end):
        for meta in [box] if box.kind == b"meta" else _boxes(data, box.body, box.end) if box.kind == b"udta" else ():
            if meta.kind == b"meta" and _is_keyed(data, meta):
                yield from _entries(data, meta)


def _entries(data: Data, meta: _Box) -> Iterator[tuple[str, bytes]]:
    parts = {box.kind: box for box in _inside_meta(data, meta)}
    if b"keys" not in parts or b"ilst" not in parts:
        return
    names = _names(data, parts[b"keys"])
    for item in _boxes(data, parts[b"ilst"].body, parts[b"ilst"].end):
        number = int.from_bytes(item.kind, "big")
        for value in _boxes(data, item.body, item.end):
            if value.kind == b"data" and 1 <= number <= len(names) and value.end - value.body >= 8:
                yield names[number - 1], data[value.body + 8 : value.end]


def _names(data: Data, keys: _Box) -> list[str]:
    """The names in a `keys` box, in order; its entries are shaped like boxes of the kind `mdta`."""
    return [data[entry.body : entry.end].decode("utf-8", "replace") for entry in _boxes(data, keys.body + 8, keys.end)]


def _meta(entries: Sequence[tuple[str, bytes]]) -> bytes:
    """A `meta` box of these names and texts."""
    names = b"".join(_box(b"mdta", name.encode()) for name, _ in entries)
    values = (_box(b"data", struct.pack(">II", _UTF_8, 0), text) for _, text in entries)
    items = b"".join(_box(number.to_bytes(4, "big"), value) for number, value in enumerate(values, 1))
    return _box(b"meta", bytes(4), _box(b"hdlr", _HANDLER), _box(b"keys", struct.pack(">II", 0, len(entries)), names), _box(b"ilst", items))


def _without_keys(data: Data, udta: _Box) -> bytes:
    """The body of a `udta` box without its lists of keyed metadata."""
    kept = [box for box in _boxes(data, udta.body, udta.end) if box.kind != b"meta" or not _is_keyed(data, box)]
    return b"".join(data[box.start : box.end] for box in kept)


def _is_keyed(data: Data, meta: _Box) -> bool:
    handlers = [box for box in _inside_meta(data, meta) if box.kind == b"hdlr"]
    return any(data[box.body + 8 : box.body + 12] == b"mdta" for box in handlers)


def _inside_meta(data: Data, meta: _Box) -> Iterator[_Box]:
    """What a `meta` box holds; in MP4 four bytes of version stand before it, in QuickTime none."""
    versioned = data[meta.body : meta.body + 4] == bytes(4)
    return _boxes(data, meta.body + (4 if versioned else 0), meta.end)


def _moved(moov: bytes, delta: int) -> bytes:
    """A `moov` box whose tables point `delta` bytes further."""
    changed = bytearray(moov)

    def visit(start: int, end: int, way: Sequence[bytes]) -> None:
        for box in _boxes(moov, start, end):
            if way and box.kind == way[0]:
                visit(box.body, box.end, way[1:])
            elif not way and box.kind in (b"stco", b"co64"):
                _shift(changed, box, delta, ">I" if box.kind == b"stco" else ">Q")

    visit(8, len(moov), _WAY_TO_OFFSETS)
    return bytes(changed)


def _shift(moov: bytearray, table: _Box, delta: int, code: str) -> None:
    """Add `delta` to every number of one table of offsets."""
    count, width = int.from_bytes(moov[table.body + 4 : table.body + 8], "big"), struct.calcsize(code)
    if table.body + 8 + count * width > table.end:
        raise damaged("table of offsets beyond its box")
    for number in range(count):
        place = table.body + 8 + number * width
        offset = struct.unpack_from(code, moov, place)[0] + delta
        if offset >= 256**width:
            raise DataError("this film is too long to be labelled in place; write it again")
        struct.pack_into(code, moov, place, offset)


def _only(data: Data, start: int, end: int, kind: bytes) -> _Box:
    found = next((box for box in _boxes(data, start, end) if box.kind == kind), None)
    if found is None:
        raise damaged(f"no {kind.decode()}")
    return found


def _boxes(data: Data, start: int, end: int) -> Iterator[_Box]:
    """The boxes between two places; a size of 0 reaches to the end, a size of 1 is followed by a longer one."""
    while start + 8 <= end:
        size, body = int.from_bytes(data[start : start + 4], "big"), start + 8
        if size == 1:
            size, body = int.from_bytes(data[start + 8 : start + 16], "big"), start + 16
        elif size == 0:
            size = end - start
        if size < body - start or start + size > end:
            raise damaged("box beyond the end")
        yield _Box(data[start + 4 : start + 8], start, body, start + size)
        start += size


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body
