"""WAV by hand: the samples of a RIFF file and the chunks with its labels, so that a sound needs no package to be made or checked.

Chunks are walked, never searched for; a file that was cut off keeps the samples that are there, as players do, and sizes of 0 or
2^32 - 1 (a stream whose length was not known) reach to the end. RF64 is read too (EBU Tech 3306).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import DataError
from miaobi.trust import stored
from miaobi.trust.stored import Data, Span

Samples = NDArray[np.float32]  # (T, C) in [-1, 1]
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_MOST = 0xFFFFFFFF  # bytes of a RIFF file
_UNKNOWN = (0, _MOST)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk of a file: its name, and where its body begins and ends."""

    name: bytes
    start: int
    end: int


def is_wav(data: Data) -> bool:
    """Whether the first bytes are those of a WAV file."""
    return data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE"


def decode(data: Data) -> tuple[Samples, int]:
    """The samples (T, C) as they are in the file, scaled to [-1, 1], and how many a second; raises as `blocks` does."""
    layout = _layout(data)
    body = memoryview(data)[layout.start : layout.end] if isinstance(data, bytes) else memoryview(data[layout.start : layout.end])
    return layout.samples(body), layout.rate


def blocks(data: Data) -> Iterator[tuple[Samples, int]]:
    """The samples stretch by stretch, and how many a second.

    Raises:
        DataError: no WAV file, one without samples, or of a coding other than whole numbers (8 to 32 bits) and floats.
    """
    layout = _layout(data)
    if layout.start == layout.end:
        yield layout.samples(memoryview(b"")), layout.rate
    for body in stored.blocks(data, layout.start, layout.end, size=stored.BLOCK // layout.width * layout.width):
        yield layout.samples(memoryview(body)), layout.rate


def num_samples(data: Data) -> tuple[int, int, int]:
    """How long it is, how many channels, and how many samples a second, without a look at them; raises as `blocks` does."""
    layout = _layout(data)
    return (layout.end - layout.start) // layout.width, layout.channels, layout.rate


def encode(samples: NDArray[Any], rate: int, *, bits: int = 16) -> bytes:
    """A WAV file of samples (T, C): whole numbers of 16 or 24 bits, or floats of 32. Equal samples give equal bytes."""
    assert samples.ndim == 2
    assert bits in (16, 24, 32)
    body = packed(samples, bits)
    channels, width = samples.shape[1], bits // 8 * samples.shape[1]
    head = struct.pack("<HHIIHH", _FLOAT if bits == 32 else _PCM, channels, rate, rate * width, width, bits)
    fact = [chunk_of(b"fact", struct.pack("<I", len(samples)))] if bits == 32 else []
    return _file([chunk_of(b"fmt ", head), *fact, chunk_of(b"data", body)])


def bodies(data: Data, name: bytes) -> list[bytes]:
    """The bodies of all chunks of that name, without the zeros that fill them up."""
    return [data[chunk.start : chunk.end] for chunk in _chunks(data) if chunk.name == name]


def with_chunks(data: Data, bodies: Mapping[bytes, bytes]) -> list[bytes | Span]:
    """The pieces of the same file with these chunks behind all others, in place of any of their names; the samples stay as they are."""
    gone = (*bodies, b"ds64")
    pieces: list[bytes | Span] = []
    for chunk in _chunks(data):
        if chunk.name not in gone:
            size = chunk.end - chunk.start
            pieces += [chunk.name + struct.pack("<I", min(size, _MOST)), Span(chunk.start, chunk.end), b"\0" * (size % 2)]
    pieces += [chunk_of(name, body) for name, body in bodies.items()]
    return [_head(sum(_length(piece) for piece in pieces)), *pieces]


def header(num_samples: int, channels: int, rate: int, *, more: int = 0) -> bytes:
    """What stands before so many samples of 16 bits, behind which so many bytes of chunks follow.

    Raises:
        DataError: more than a WAV file holds.
    """
    size = 2 * channels * num_samples
    fmt = chunk_of(b"fmt ", struct.pack("<HHIIHH", _PCM, channels, rate, rate * 2 * channels, 2 * channels, 16))
    return _head(len(fmt) + 8 + size + more) + fmt + b"data" + struct.pack("<I", size)


def _file(chunks: list[bytes]) -> bytes:
    return b"".join([_head(sum(map(len, chunks))), *chunks])


def _head(size: int) -> bytes:
    """The first bytes of a file whose chunks have so many."""
    if size + 4 > _MOST:
        raise DataError("a WAV file holds at most {most} bytes; choose .flac", most=_MOST)
    return b"RIFF" + struct.pack("<I", size + 4) + b"WAVE"


def _length(piece: bytes | Span) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.end - piece.start


def chunk_of(name: bytes, body: bytes) -> bytes:
    """A chunk as it lies in a file: chunks begin at even places."""
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _chunks(data: Data) -> Iterator[_Chunk]:
    """All chunks in order. What follows the last whole one is left aside."""
    if not is_wav(data):
        raise _damaged("no RIFF WAVE")
    place, long = 12, 0
    while place + 8 <= len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        start = place + 8
        if name == b"ds64" and size >= 16:
            long = int.from_bytes(data[start + 8 : start + 16], "little")
        if name == b"data" and size in _UNKNOWN:
            size = long or len(data) - start
        yield _Chunk(name, start, min(start + size, len(data)))
        place = start + size + size % 2


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the samples lie, in whole groups of all channels, and how they are written."""

    start: int
    end: int
    channels: int
    rate: int
    bits: int
    coding: int

    @property
    def width(self) -> int:
        """Bytes of one sample of all channels."""
        return self.bits // 8 * self.channels

    def samples(self, body: memoryview) -> Samples:
        """Bytes of the samples as numbers (T, C)."""
        return _numbers(body, self.bits, self.coding).reshape(-1, self.channels)


def _layout(data: Data) -> _Layout:
    found = {chunk.name: chunk for chunk in reversed(list(_chunks(data)))}
    if b"fmt " not in found or b"data" not in found:
        raise _damaged("no fmt or no data chunk")
    channels, rate, bits, coding = _format(data[found[b"fmt "].start : found[b"fmt "].end])
    start, width = found[b"data"].start, bits // 8 * channels
    return _Layout(start, start + (found[b"data"].end - start) // width * width, channels, rate, bits, coding)


def _format(body: bytes) -> tuple[int, int, int, int]:
    """Channels, rate, bits a sample and coding of a `fmt ` chunk."""
    if len(body) < 16:
        raise _damaged("fmt chunk cut off")
    coding, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if coding == _EXTENSIBLE and len(body) >= 26:
        coding = int.from_bytes(body[24:26], "little")
    if not 1 <= channels <= 64 or not 1 <= rate <= 768_000:
        raise _damaged(f"{channels} channels at {rate} Hz")
    if (coding, bits) not in {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}:
        raise DataError("this WAV file has samples of {bits} bits in coding {coding}, which is not read", bits=bits, coding=coding)
    return channels, rate, bits, coding


def _numbers(body: memoryview, bits: int, coding: int) -> Samples:
    """Little-endian samples as floats; whole numbers by their power of two, so that 16 bits come back exactly."""
    if coding == _FLOAT:
        floats = np.frombuffer(body, "<f4" if bits == 32 else "<f8").astype(np.float32)
        return np.clip(np.nan_to_num(floats, posinf=1.0, neginf=-1.0), -1, 1).astype(np.float32)
    if bits == 8:  # the only unsigned one
        return (np.frombuffer(body, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    if bits == 24:
        bytes_ = np.frombuffer(body, np.uint8).reshape(-1, 3)
        whole = np.zeros((len(bytes_), 4), np.uint8)
        whole[:, 1:] = bytes_
        return (whole.view("<i4")[:, 0] / np.float32(2**31)).astype(np.float32)
    whole = np.frombuffer(body, f"<i{bits // 8}")
    return (whole / np.float32(2 ** (bits - 1))).astype(np.float32, copy=False)


def packed(samples: NDArray[Any], bits: int = 16) -> bytes:
    """Floats as little-endian samples, clipped at full scale."""
    clipped = np.clip(np.asarray(samples, np.float64), -1, 1)
    if bits == 32:
        return clipped.astype("<f4").tobytes()
    full = 2 ** (bits - 1)
    whole = np.clip(np.rint(clipped * full), -full, full - 1).astype("<i4")
    packed: bytes = whole.astype("<i2").tobytes() if bits == 16 else whole.reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    return packed


def _damaged(problem: str) -> DataError:
    return DataError("the sound is damaged or cut off ({problem})", problem=problem)
