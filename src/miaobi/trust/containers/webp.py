"""WebP: the packet is the RIFF chunk `XMP `, announced by a flag of `VP8X` (RFC 9649); a simple file becomes an extended one for it."""

from __future__ import annotations

from collections.abc import Iterator

from miaobi.trust.containers import damaged

_HAS_XMP, _HAS_ALPHA = 0x04, 0x10


def packets(data: bytes) -> list[bytes]:
    """The bodies of all `XMP ` chunks."""
    return [data[start + 8 : start + 8 + size] for kind, start, size in _chunks(data) if kind == b"XMP "]


def replace(data: bytes, packet: bytes) -> bytes:
    """The packet becomes the last chunk, as the order of the standard has it; `XMP ` chunks that were there go."""
    kept: list[bytes] = []
    end, head = 12, b""
    for kind, start, size in _chunks(data):
        end = min(start + 8 + size + size % 2, len(data))
        chunk = data[start : start + 8 + size] + b"\0" * (size % 2)
        if kind == b"VP8X":
            if size < 10:
                raise damaged("VP8X too short")
            head = chunk[:8] + bytes([chunk[8] | _HAS_XMP]) + chunk[9:]
        elif kind != b"XMP ":
            kept.append(chunk)
    body = b"WEBP" + (head or _extended_header(kept)) + b"".join(kept) + _chunk(b"XMP ", packet)
    return b"RIFF" + len(body).to_bytes(4, "little") + body + data[end:]


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and size of the body of every chunk inside the RIFF's length."""
    limit = 8 + int.from_bytes(data[4:8], "little")
    if data[:4] != b"RIFF" or limit > len(data):
        raise damaged("RIFF beyond the end")
    place = 12
    while place + 8 <= limit:
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        if place + 8 + size > limit:
            raise damaged("chunk beyond the end")
        yield data[place : place + 4], place, size
        place += 8 + size + size % 2


def _extended_header(chunks: list[bytes]) -> bytes:
    """The `VP8X` of a simple file: its canvas is the size of its one image."""
    for chunk in chunks:
        kind, body = chunk[:4], chunk[8:]
        if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
            bits = int.from_bytes(body[1:5], "little")
            width, height, alpha = bits & 0x3FFF, bits >> 14 & 0x3FFF, bits >> 28 & 1
            return _header(width, height, _HAS_XMP | (_HAS_ALPHA if alpha else 0))
        if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a" and len(body) >= 10:
            width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
            if width and height:
                return _header(width - 1, height - 1, _HAS_XMP)
    raise damaged("no image")


def _header(width_minus_1: int, height_minus_1: int, flags: int) -> bytes:
    return _chunk(b"VP8X", bytes([flags, 0, 0, 0]) + width_minus_1.to_bytes(3, "little") + height_minus_1.to_bytes(3, "little"))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)
