"""JPEG: the packet is an APP1 segment that begins with Adobe's namespace (XMP specification part 3, 1.1.3); at most 65,502 bytes."""

from __future__ import annotations

from collections.abc import Iterator

from miaobi.core.errors import DataError
from miaobi.trust.containers import damaged

_MAIN = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
_LARGEST = 0xFFFF - 2 - len(_MAIN)
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length: TEM and RST
_SCAN, _END, _APP0, _APP1 = 0xDA, 0xD9, 0xE0, 0xE1


def packets(data: bytes) -> list[bytes]:
    """The bodies of the segments with the namespace. Extended packets, which only hold what did not fit, are not read."""
    return [data[start + 4 + len(_MAIN) : end] for marker, start, end in _segments(data) if _is(data, marker, start, _MAIN)]


def replace(data: bytes, packet: bytes) -> bytes:
    """The packet follows the leading JFIF and Exif segments, which readers expect first; XMP segments that were there go."""
    if len(packet) > _LARGEST:
        raise DataError(
            "the label has {size:,} bytes, and a JPEG file holds {largest:,}. Choose .png, or a shorter prompt",
            size=len(packet),
            largest=_LARGEST,
        )
    segment = b"\xff\xe1" + (2 + len(_MAIN) + len(packet)).to_bytes(2, "big") + _MAIN + packet
    kept, place, end, leading = [data[:2]], 1, 2, True
    for marker, start, end in _segments(data):
        if _is(data, marker, start, _MAIN) or _is(data, marker, start, _EXTENDED):
            continue
        kept.append(data[start:end])
        leading = leading and (marker == _APP0 or _is(data, marker, start, b"Exif\0"))
        place = len(kept) if leading else place
    return b"".join([*kept[:place], segment, *kept[place:], data[end:]])


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of every segment before the first scan; fill bytes belong to the segment after them."""
    place = 2
    while True:
        start = place
        if data[place : place + 1] != b"\xff":
            raise damaged("no marker")
        while data[place + 1 : place + 2] == b"\xff":
            place += 1
        marker = data[place + 1] if place + 1 < len(data) else -1
        if marker == _SCAN:
            return
        if marker in (-1, _END):
            raise damaged("no scan")
        length = 0 if marker in _ALONE else int.from_bytes(data[place + 2 : place + 4], "big")
        if length < 2 and marker not in _ALONE:
            raise damaged("segment without a length")
        if place + 2 + length > len(data):
            raise damaged("segment beyond the end")
        yield marker, place if marker == _APP1 else start, place + 2 + length
        place += 2 + length


def _is(data: bytes, marker: int, start: int, name: bytes) -> bool:
    return marker == _APP1 and data[start + 4 : start + 4 + len(name)] == name
