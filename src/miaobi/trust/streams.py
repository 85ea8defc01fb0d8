"""Compressed sounds as samples, by PyAV: what their watermark lies in; and the hash of a stream as it is compressed.

The hash is over the packets and not over what they decode to: a label, a cover or another order of atoms does not change it, and neither
does the version of the decoder. `miaobi.data.sounds` decodes with the same function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import DataError, MissingExtra
from miaobi.core.language import tr
from miaobi.trust import stored
from miaobi.trust.stored import Data

if TYPE_CHECKING:
    import av

Samples = NDArray[np.float32]  # (T, C) in [-1, 1]


@contextmanager
def opened(data: Data) -> Iterator[av.container.InputContainer]:
    """The container of a sound or a film.

    Raises:
        MissingExtra: PyAV is not installed.
        DataError: no such container, or whatever its decoder raises over damaged bytes.
    """
    try:
        import av
    except ImportError:
        raise MissingExtra(tr("reading and writing compressed sounds and films"), "sound", "av") from None
    try:
        with stored.opened(data) as file, av.open(file, "r", metadata_errors="replace") as container:
            yield container
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        raise DataError("the sound or film is damaged, cut off or of an unknown kind ({problem})", problem=words(error)) from None


def samples(data: Data, *, most: int) -> tuple[Samples, int]:
    """The first sound of a container as (T, C) floats, and how many a second; raises as `blocks` does."""
    found = list(blocks(data, most=most))
    return np.concatenate([chunk for chunk, _ in found]), found[-1][1]


def blocks(data: Data, *, most: int) -> Iterator[tuple[Samples, int]]:
    """The first sound of a container, stretch by stretch, and how many a second; at most `most` numbers are decoded.

    Raises:
        DataError: as `opened`, or no sound in it, or more than `most` numbers.
    """
    with opened(data) as container:
        if not container.streams.audio or not _codec(container.streams.audio[0]):
            raise DataError("there is no sound in it")
        stream = container.streams.audio[0]
        left, length, channels, told = most, _length(container, stream), 0, 0
        for frame in container.decode(stream):
            rate, chunk = frame.sample_rate, _floats(frame)
            left -= chunk.size
            if left < 0:
                raise DataError("the sound has more than {most:,} samples", most=most)
            if channels not in (0, chunk.shape[1]):
                raise DataError("the sound changes its number of channels on the way")
            channels = chunk.shape[1]
            chunk = chunk if length is None else chunk[: max(0, round(length * rate) - told)]
            told += len(chunk)
            yield chunk, rate
    if not channels:
        raise DataError("the sound is empty")


def _length(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    """The seconds that an MP4 file says it lasts: its decoder gives whole packets, and the last one is filled up with silence."""
    if "mp4" not in container.format.name or not stream.duration or not stream.time_base:
        return None
    return float(stream.duration * stream.time_base)


def packets_sha256(data: Data) -> str:
    """SHA-256 over kind, format and compressed packets of every stream of sound and film, in the order of the streams."""
    with opened(data) as container:
        streams = [stream for stream in container.streams if stream.type in ("audio", "video") and not _is_cover(stream)]
        digests = {stream.index: hashlib.sha256(f"{stream.type} {_codec(stream)}".encode()) for stream in streams}
        for packet in container.demux(streams):
            digests[packet.stream.index].update(bytes(packet))
    return hashlib.sha256("".join(digest.hexdigest() for _, digest in sorted(digests.items())).encode()).hexdigest()


def words(error: Exception) -> str:
    """What a decoder said, in a line, without the name of our buffer."""
    said = getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0]
    return str(said)[:120] or type(error).__name__


def _codec(stream: Any) -> str:
    """The name of what a stream is compressed with; empty where nobody knows it."""
    return stream.codec_context.name if stream.codec_context is not None else ""


def _is_cover(stream: Any) -> bool:
    """Whether the stream is the picture of an album."""
    import av

    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _floats(frame: av.AudioFrame) -> Samples:
    """A decoded frame, planar or not, of whole numbers or floats, as (T, C)."""
    raw = frame.to_ndarray()
    channels = len(frame.layout.channels)
    values: NDArray[Any] = raw.T if frame.format.is_planar else raw.reshape(-1, channels)
    if values.dtype.kind == "f":
        floats: Samples = np.clip(np.nan_to_num(values), -1, 1).astype(np.float32)
        return floats
    middle, full = (128, 128) if values.dtype == np.uint8 else (0, 2.0 ** (8 * values.itemsize - 1))
    scaled: Samples = ((values.astype(np.float64) - middle) / full).astype(np.float32)
    return scaled
