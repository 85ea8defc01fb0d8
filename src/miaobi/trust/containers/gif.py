"""GIF: the packet lies raw in an application extension `XMP DataXMP` (XMP specification part 3, 1.1.2).

It is not cut into blocks of 255 bytes. A reader that does not know this takes its letters for lengths, and the "magic trailer" behind it
(1, 255, 254, … 0, 0) leads it to the terminator from wherever it lands.
"""

from __future__ import annotations

from collections.abc import Iterator

from miaobi.trust.containers import damaged

_NAME = b"XMP DataXMP"
_OPENING = b"\x21\xff\x0b" + _NAME
_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B


def packets(data: bytes) -> list[bytes]:
    """The packets of all extensions of that name."""
    return [_packet(data, start, end) for start, end in _blocks(data) if _is_xmp(data, start)]


def replace(data: bytes, packet: bytes) -> bytes:
    """The packet stands right before the end; extensions of that name go, and a file of 1987 becomes one of 1989."""
    assert b"\0" not in packet
    kept, place = [], _screen_end(data)
    kept.append(b"GIF89a" + data[6:place])
    for start, end in _blocks(data):
        place = end
        if not _is_xmp(data, start):
            kept.append(data[start:end])
    return b"".join([*kept, _OPENING, packet, _TRAILER, data[place:]])


def _blocks(data: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of every image and extension, up to the byte that ends the file."""
    place = _screen_end(data)
    while True:
        kind = data[place] if place < len(data) else -1
        if kind == _END:
            return
        if kind == _EXTENSION:
            end = _skip(data, place + 2)
        elif kind == _IMAGE and place + 10 <= len(data):
            end = _skip(data, place + 11 + _palette(data[place + 9]))
        else:
            raise damaged("no block")
        yield place, end
        place = end


def _skip(data: bytes, place: int) -> int:
    """Where a row of blocks, each led by its length, has ended with a length of zero."""
    while True:
        if place >= len(data):
            raise damaged("block beyond the end")
        size = data[place]
        place += 1 + size
        if not size:
            return place


def _screen_end(data: bytes) -> int:
    end = 13 + _palette(data[10]) if len(data) >= 13 else 13
    if end > len(data):
        raise damaged("header beyond the end")
    return end


def _palette(flags: int) -> int:
    """The bytes of the colour table that a flag byte announces."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _is_xmp(data: bytes, start: int) -> bool:
    return data[start : start + len(_OPENING)] == _OPENING


def _packet(data: bytes, start: int, end: int) -> bytes:
    """The raw packet, or, written by a program that did cut it into blocks, those joined."""
    raw = data[start + len(_OPENING) : end]
    if raw.endswith(_TRAILER):
        return raw.removesuffix(_TRAILER)
    joined, place = [], 0
    while raw[place]:
        joined.append(raw[place + 1 : place + 1 + raw[place]])
        place += 1 + raw[place]
    return b"".join(joined)
