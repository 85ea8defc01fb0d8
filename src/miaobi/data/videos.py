"""Films as arrays: decoded within limits, looked at frame by frame without holding them all, encoded again.

MP4 (H.264 and AAC) and WebM (VP9 and Opus) go through PyAV, which the extra `video` brings; loops (animated GIF and WebP) need Pillow
alone. Frames are uint8 (F, H, W, 3) or, with straight alpha, (F, H, W, 4), at an even rate: what comes with uneven times is shown at its
mean rate. Bytes from outside are not trusted: sizes are checked before a frame is made, and whatever a decoder raises over damaged bytes
becomes a `DataError`. Nothing is read from the network: only bytes and files are opened, never addresses.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import DataError, MissingExtra, unknown
from miaobi.core.language import tr
from miaobi.data import video_loops
from miaobi.data.video_writer import CONTAINERS, Writer, encoder_version

if TYPE_CHECKING:
    from miaobi.data.sounds import Sound

__all__ = [
    "DEFAULT_LIMITS",
    "MIMES",
    "About",
    "Clip",
    "Limits",
    "Writer",
    "decode",
    "encode",
    "encoder_version",
    "frames_of",
    "mime_of",
    "probe",
    "rate_of",
]

Frames = NDArray[np.uint8]
Source = bytes | Path

MIMES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".gif": "image/gif", ".webp": "image/webp"}
LOOPS = frozenset(video_loops.FORMATS)
_DEMUXERS = {"video/mp4": "mov", "video/webm": "matroska"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is decoded at all: encoded bytes, pixels of a frame, frames, and bytes of all decoded frames together."""

    num_bytes: int = 4 << 30
    num_pixels: int = 16_000_000
    num_frames: int = 20_000
    num_decoded_bytes: int = 2 << 30


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames (F, H, W, 3 or 4) at `fps` frames a second, and the sound that goes with them."""

    frames: Frames
    fps: float
    sound: Sound | None = None

    @property
    def seconds(self) -> float:
        """How long the frames last."""
        return len(self.frames) / self.fps

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.frames.shape[2], self.frames.shape[1]

    @property
    def rate(self) -> Fraction:
        """Frames a second as containers write it."""
        return rate_of(self.fps)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a file says of itself, without its frames being made. `num_frames` and `seconds` are 0 where it does not say."""

    mime: str
    codec: str
    width: int
    height: int
    fps: float
    seconds: float
    num_frames: int
    has_sound: bool


def rate_of(fps: float) -> Fraction:
    """The fraction that a number of frames a second stands for: 29.97 is 30000/1001.

    >>> rate_of(29.97), rate_of(24), rate_of(12.5)
    (Fraction(30000, 1001), Fraction(24, 1), Fraction(25, 2))
    """
    whole = round(fps)
    broadcast = Fraction(max(whole, 1) * 1000, 1001)
    if abs(fps - whole) > 1e-9 and abs(float(broadcast) - fps) < 6e-3:
        return broadcast
    return Fraction(fps).limit_denominator(1000)


def mime_of(data: bytes) -> str:
    """The MIME type by the first bytes; empty when it is none of ours. A WebP that does not move is no film."""
    if data[4:8] == b"ftyp" or data[4:8] in (b"moov", b"mdat", b"wide", b"free"):
        return "video/mp4"
    if data[:4] == b"\x1aE\xdf\xa3":
        return "video/webm"
    if data[:4] == b"GIF8":
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp" if data[12:16] == b"VP8X" and data[20:21] and data[20] & 0x02 else ""
    return ""


def probe(source: Source, *, limits: Limits = DEFAULT_LIMITS) -> About:
    """Size, rate and length of a film, from its header alone; raises as `decode` does."""
    mime = _mime(source, limits)
    if mime in LOOPS:
        loop = _loop(source, limits)
        frames, fps = video_loops.even(loop)
        return About(
            mime=mime,
            codec=video_loops.FORMATS[mime],
            width=frames.shape[2],
            height=frames.shape[1],
            fps=fps,
            seconds=loop.seconds,
            num_frames=len(frames),
            has_sound=False,
        )
    with _opened(source, mime, limits) as container:
        return _about(container, mime)


def decode(source: Source, *, limits: Limits = DEFAULT_LIMITS, fps: float | None = None, sound: bool = True) -> Clip:
    """The whole film at its own rate or at `fps`; its sound too, unless that is not wanted.

    Raises:
        DataError: no film, damaged, cut off, without a frame, of a codec that is not there, or beyond the limits.
        MissingExtra: PyAV is not installed, and it is no loop.
    """
    mime = _mime(source, limits)
    if mime in LOOPS:
        frames, rate = video_loops.even(_loop(source, limits), fps)
        opaque = bool((frames[..., 3] == 255).all())
        return Clip(np.ascontiguousarray(frames[..., :3]) if opaque else frames, rate)
    about = probe(source, limits=limits)
    rate = fps or about.fps
    most = min(limits.num_frames, limits.num_decoded_bytes // (about.width * about.height * 3))
    kept: list[Frames] = []
    for _, frame in frames_of(source, limits=limits, fps=rate):
        if len(kept) >= most:
            raise DataError("the film has more than {most} frames of {width} by {height} pixels, which is more than is decoded at once",
                            most=most, width=about.width, height=about.height)  # fmt: skip
        kept.append(frame)
    return Clip(np.stack(kept), rate, _sound(source) if sound and about.has_sound else None)


def frames_of(
    source: Source, *, start: float = 0.0, stop: float = math.inf, fps: float | None = None, limits: Limits = DEFAULT_LIMITS
) -> Iterator[tuple[float, Frames]]:
    """Seconds and frame (H, W, 3), one after the other, at an even rate from `start` to before `stop`; raises as `decode` does.

    Times count from the film's first frame. Only one frame is held, so a film of any length can be gone through.
    """
    mime = _mime(source, limits)
    if mime in LOOPS:
        frames, rate = video_loops.even(_loop(source, limits), fps)
        for number in range(math.ceil(start * rate - 1e-6), min(len(frames), math.ceil(min(stop, 1e9) * rate - 1e-6))):
            yield number / rate, frames[number]
        return
    with _opened(source, mime, limits) as container:
        about = _about(container, mime)
        rate = fps or about.fps
        first = math.ceil(start * rate - 1e-6)
        last = math.ceil(stop * rate - 1e-6) if stop < math.inf else None
        yield from _even(_decoded(container, start), rate, first, last)


# ---------------------------------------------------------------------- the inside of PyAV


def _av() -> Any:
    """PyAV, or the extra that brings it."""
    try:
        import av
    except ImportError:
        raise MissingExtra(tr("reading and writing films"), "video", "av") from None
    return av


def _mime(source: Source, limits: Limits) -> str:
    """The kind of a source that is there, not empty and not too large.

    Raises:
        DataError: it is not.
    """
    if isinstance(source, Path):
        try:
            size = source.stat().st_size
            with source.open("rb") as file:
                head = file.read(64)
        except OSError as error:
            raise DataError("{path} cannot be read: {problem}", path=source, problem=error.strerror or error) from None
    else:
        size, head = len(source), source[:64]
    if not size:
        raise DataError("the film is empty: the file has no bytes")
    if size > limits.num_bytes:
        raise DataError("the film has {bytes} bytes; at most {most} are read", bytes=size, most=limits.num_bytes)
    mime = mime_of(head) or ("image/webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else "")  # one that stands still is a short film
    if not mime:
        raise DataError("this is no film that can be read, or its header is damaged; known formats: MP4, WebM, GIF, animated WebP")
    return mime


def _loop(source: Source, limits: Limits) -> video_loops.Loop:
    data = source.read_bytes() if isinstance(source, Path) else source
    return video_loops.read(data, most_frames=limits.num_frames, most_numbers=limits.num_decoded_bytes)


@contextlib.contextmanager
def _opened(source: Source, mime: str, limits: Limits) -> Iterator[Any]:
    """The container of a film with a picture stream that can be decoded; whatever goes wrong inside of it is a `DataError`."""
    av = _av()
    file = source.open("rb") if isinstance(source, Path) else io.BytesIO(source)
    with file:
        try:
            with av.open(file, "r", format=_DEMUXERS[mime]) as container:
                _refuse(container, limits)
                yield container
        except (av.error.FFmpegError, ValueError, EOFError) as error:
            raise DataError("the film is damaged or cut off ({problem})", problem=str(error)[:120] or type(error).__name__) from None


def _refuse(container: Any, limits: Limits) -> None:
    """What cannot or is not to be decoded."""
    if not container.streams.video:
        raise DataError("the file holds no moving picture; is it a sound?")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise DataError("the film's codec is not one that the installed PyAV can decode. Convert the film to MP4 with H.264")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width < 1 or height < 1:
        raise DataError("the film is empty: its frames have {width} by {height} pixels", width=width, height=height)
    if width * height > limits.num_pixels:
        raise DataError(
            "the film's frames have {width} by {height} pixels; at most {most} pixels are decoded",
            width=width,
            height=height,
            most=limits.num_pixels,
        )


def _about(container: Any, mime: str) -> About:
    stream = container.streams.video[0]
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    fps = float(rate) if rate and 0.01 <= rate <= 1000 else 25.0
    own = stream.duration
    seconds = float(own * stream.time_base) if own is not None else (container.duration or 0) / 1_000_000
    context = stream.codec_context
    return About(
        mime=mime,
        codec=context.name,
        width=context.width,
        height=context.height,
        fps=fps,
        seconds=seconds,
        num_frames=stream.frames,
        has_sound=any(sound.codec_context is not None for sound in container.streams.audio),
    )


def _decoded(container: Any, start: float) -> Iterator[tuple[float, Any]]:
    """Time since the film's first frame and frame, from the last key frame before `start` on.

    Raises:
        DataError: there is no frame at all.
    """
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    origin = float((stream.start_time or 0) * stream.time_base)
    if start > 0:
        container.seek(int((start + origin) / stream.time_base), stream=stream)
    count = 0
    for frame in container.decode(stream):
        if frame.pts is not None:
            count += 1
            yield float(frame.pts * stream.time_base) - origin, frame
    if not count and start <= 0:
        raise DataError("the film has no frame that can be decoded")


def _even(found: Iterator[tuple[float, Any]], fps: float, first: int, last: int | None) -> Iterator[tuple[float, Frames]]:
    """Frame `number` of an even rate is the one that is seen at the middle of its time; the last frame stays as long as the others."""
    number, shown, step = first, None, 1 / fps
    begin = end = 0.0
    for time, frame in found:
        if shown is not None:
            step = max(time - begin, 1e-6)
            while (number + 0.5) / fps < time and (last is None or number < last):
                yield number / fps, _pixels(shown)
                number += 1
        if last is not None and number >= last:
            return
        begin, shown = time, frame
    end = begin + min(step, 1.0)
    while shown is not None and (number + 0.5) / fps < end and (last is None or number < last):
        yield number / fps, _pixels(shown)
        number += 1


def _pixels(frame: Any) -> Frames:
    """(H, W, 3) in sRGB, upright: telephones film sideways and say so."""
    pixels: Frames = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4 if frame.rotation else 0
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _sound(source: Source) -> Sound:
    from miaobi.data import sounds
    from miaobi.trust.stored import Stored

    return sounds.decode(Stored.at(source) if isinstance(source, Path) else source)


# ---------------------------------------------------------------------- writing


def encode(clip: Clip, mime: str = "video/mp4", *, quality: int | None = None, background: str = "white") -> bytes:
    """A clip as the bytes of a file; equal clips give equal bytes.

    GIF and WebP loop for ever, keep transparency and are silent. MP4 and WebM are laid over `background`; a side of odd length repeats
    its last row, because their pixels share colours by twos.

    Args:
        quality: 1 to 100. None: WebP without loss, films at a quality where the loss is hardly seen.

    Raises:
        UsageError: an unknown format, or a rate or size that it does not know.
        MissingExtra: PyAV is not installed, and it is no loop.
    """
    if mime not in (*CONTAINERS, *LOOPS):
        raise unknown("film format", mime, (*CONTAINERS, *LOOPS))
    assert clip.frames.ndim == 4, "frames are (F, H, W, C)"
    assert len(clip.frames), "a film of nothing"
    if mime in LOOPS:
        frames = clip.frames
        if frames.shape[-1] == 3:
            frames = np.concatenate([frames, np.full((*frames.shape[:-1], 1), 255, np.uint8)], axis=-1)
        return video_loops.write(frames, clip.fps, mime, quality=quality)
    buffer = io.BytesIO()
    with Writer(buffer, size=clip.size, fps=clip.fps, mime=mime, quality=quality, background=background, odd="pad") as writer:
        for frame in clip.frames:
            writer.add(frame)
        if clip.sound is not None:
            writer.add_sound(clip.sound)
    return buffer.getvalue()
