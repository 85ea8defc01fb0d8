"""PNG: the packet is an `iTXt` chunk with the keyword `XML:com.adobe.xmp` (XMP specification part 3; PNG, third edition, 11.3.3.4)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from miaobi.trust.containers import damaged
from miaobi.trust.xmp import MAX_BYTES

_KEYWORD = b"XML:com.adobe.xmp"
_TEXTS = (b"iTXt", b"tEXt", b"zTXt")


def packets(data: bytes) -> list[bytes]:
    """The text of every chunk with the keyword."""
    return [text for _, _, text in _chunks(data) if text is not None]


def replace(data: bytes, packet: bytes) -> bytes:
    """The packet becomes the last chunk before the pixels; chunks with the keyword that were there go."""
    body = _KEYWORD + b"\0\0\0\0\0" + packet  # not compressed, no language, no translated keyword
    chunk = len(body).to_bytes(4, "big") + b"iTXt" + body + zlib.crc32(b"iTXt" + body).to_bytes(4, "big")
    kept, place, end = [data[:8]], 0, 8
    for start, end, text in _chunks(data):
        if not place and data[start + 4 : start + 8] == b"IDAT":
            place = len(kept)
        if text is None:
            kept.append(data[start:end])
    if not place:
        raise damaged("no IDAT")
    return b"".join([*kept[:place], chunk, *kept[place:], data[end:]])


def _chunks(data: bytes) -> Iterator[tuple[int, int, bytes | None]]:
    """Start, end and, where it holds a packet, the text of every chunk up to IEND."""
    place = 8
    while True:
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        kind = data[place + 4 : place + 8]
        if end > len(data) or len(kind) < 4:
            raise damaged("chunk beyond the end")
        body = memoryview(data)[place + 8 : end - 4]
        yield place, end, _text(kind, body) if kind in _TEXTS and bytes(body[:18]) == _KEYWORD + b"\0" else None
        if kind == b"IEND":
            return
        place = end


def _text(kind: bytes, body: memoryview) -> bytes:
    """The text behind the keyword; compressed text is unpacked up to the largest packet that is read."""
    rest = bytes(body[18:])
    if kind == b"tEXt":
        return rest
    packed = kind == b"zTXt" or rest[:1] == b"\1"
    if kind == b"zTXt":
        text = rest[1:]
    else:
        fields = rest[2:].split(b"\0", 2)
        text = fields[2] if len(fields) == 3 else b""
    if not packed:
        return text
    try:
        return zlib.decompressobj().decompress(text, MAX_BYTES + 1)
    except zlib.error:
        return b""
