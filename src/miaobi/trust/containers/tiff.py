"""TIFF: the packet is tag 700 of the first directory (XMP specification part 3, 1.1.6; TIFF 6.0).

Everything in a TIFF is found by its offset, so nothing may move: the new directory and the packet are appended, the header points to
them, and a packet that was there is overwritten with zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from miaobi.trust.containers import damaged

_TAG, _BYTE = 700, 1
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


@dataclass(frozen=True, slots=True)
class _Directory:
    """The first directory: its entries of 12 bytes, and where the pages after it begin."""

    order: Literal["little", "big"]
    entries: tuple[bytes, ...]
    following: bytes

    def number(self, data: bytes) -> int:
        return int.from_bytes(data, self.order)

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Where the values of tag 700 lie; a short value inside its entry is no packet."""
        found = []
        for entry in self.entries:
            size = _SIZES.get(self.number(entry[2:4]), 1) * self.number(entry[4:8])
            if self.number(entry[:2]) == _TAG and size > 4:
                start = self.number(entry[8:])
                if start + size > len(data):
                    raise damaged("value beyond the end")
                found.append((start, start + size))
        return found


def packets(data: bytes) -> list[bytes]:
    """The values of tag 700."""
    return [data[start:end] for start, end in _directory(data).spans(data)]


def replace(data: bytes, packet: bytes) -> bytes:
    """A new first directory with the packet, behind everything that was there."""
    directory = _directory(data)
    order = directory.order
    changed = bytearray(data)
    for start, end in directory.spans(data):
        if b"<rdf:RDF" in data[start:end]:  # else a damaged file would have us wipe its pixels
            changed[start:end] = bytes(end - start)
    changed += b"\0" * (len(changed) % 2)
    place = len(changed)
    entries = [entry for entry in directory.entries if directory.number(entry[:2]) != _TAG]
    behind = place + 2 + 12 * (len(entries) + 1) + 4
    tag = _TAG.to_bytes(2, order) + _BYTE.to_bytes(2, order) + len(packet).to_bytes(4, order) + behind.to_bytes(4, order)
    entries = sorted([*entries, tag], key=lambda entry: directory.number(entry[:2]))
    changed[4:8] = place.to_bytes(4, order)
    return bytes(changed) + len(entries).to_bytes(2, order) + b"".join(entries) + directory.following + packet


def _directory(data: bytes) -> _Directory:
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    place = int.from_bytes(data[4:8], order)
    count = int.from_bytes(data[place : place + 2], order)
    end = place + 2 + 12 * count
    if place < 8 or not count or end + 4 > len(data):
        raise damaged("directory beyond the end")
    entries = tuple(data[at : at + 12] for at in range(place + 2, end, 12))
    return _Directory(order, entries, data[end : end + 4])
