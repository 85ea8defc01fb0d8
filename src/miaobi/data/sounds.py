"""Sounds as arrays: decoded within limits, resampled, encoded again.

Everywhere a sound is (T, C) float32 in [-1, 1] with its rate. WAV is read and written by hand and needs no package; every other format goes
through PyAV (extra `sound`), with what would make two equal calls differ (serial numbers, dates, versions) switched off. Bytes from outside
are not trusted: whatever a decoder raises over them becomes a `DataError`.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import DataError, MiaobiError, MissingExtra, unknown
from miaobi.core.language import tr
from miaobi.trust import streams, wav
from miaobi.trust.stored import Data

if TYPE_CHECKING:
    import av

Samples = NDArray[np.float32]  # (T, C)
MIMES = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".oga": "audio/ogg",
    ".m4a": "audio/mp4",
}
SIGNATURES = (  # (offset, bytes, mime) of what is decoded; the last ones may hold films
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
)
RATES = {  # what a codec accepts; any other rate is resampled to the next higher one
    "libmp3lame": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    "libopus": (8000, 12000, 16000, 24000, 48000),
    "aac": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
}
FRAME = 4096  # samples handed to an encoder at a time
LAYOUTS = {1: "mono", 2: "stereo"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is decoded at all: encoded bytes, and samples of all channels together (256 million: 90 minutes of mono at 48 kHz)."""

    num_bytes: int = 512 << 20
    num_samples: int = 256_000_000


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples (T, C) as float32 in [-1, 1], and how many a second."""

    samples: Samples = field(repr=False)
    rate: int

    def __post_init__(self) -> None:
        """A row of samples is one channel; numbers of another type are converted."""
        values = np.asarray(self.samples, np.float32)
        object.__setattr__(self, "samples", values[:, None] if values.ndim == 1 else values)
        assert self.samples.ndim == 2
        assert self.rate > 0

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.rate

    @property
    def channels(self) -> int:
        """1 for mono, 2 for stereo."""
        return int(self.samples.shape[1])

    def mono(self) -> Sound:
        """The mean of the channels as one channel."""
        return self if self.channels == 1 else Sound(self.samples.mean(axis=1, keepdims=True, dtype=np.float32), self.rate)

    def resampled(self, rate: int) -> Sound:
        """The same sound at another rate, band-limited (soxr, high quality), the same bytes on every run.

        Raises:
            MissingExtra: soxr is not installed and the rate is another one.
        """
        if rate == self.rate:
            return self
        try:
            import soxr
        except ImportError:
            raise MissingExtra(tr("changing the rate of a sound"), "sound", "soxr") from None
        return Sound(np.clip(soxr.resample(self.samples, self.rate, rate, quality="HQ"), -1, 1), rate)

    def between(self, start: float, end: float) -> Sound:
        """The stretch from `start` to `end` seconds, as far as there is one."""
        return Sound(self.samples[max(0, round(start * self.rate)) : max(0, round(end * self.rate))], self.rate)


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of a sound with a title, from `start` to before `end`, in seconds."""

    title: str
    start: float
    end: float


def silence(seconds: float, rate: int, channels: int = 1) -> Sound:
    """Nothing to hear."""
    return Sound(np.zeros((round(seconds * rate), channels), np.float32), rate)


def mime_of(data: Data) -> str:
    """The MIME type by the first bytes; empty when it is no sound (or film with sound) of ours."""
    data = data[:64]
    if wav.is_wav(data):
        return "audio/wav"
    found = next((mime for offset, magic, mime in SIGNATURES if data[offset : offset + len(magic)] == magic), "")
    bare = len(data) > 2 and data[0] == 0xFF and data[1] & 0xE6 in (0xE2, 0xE4)  # the sync word of MPEG layer II or III
    return found or ("audio/mpeg" if bare else "")


def check(data: Data) -> str:
    """The MIME type of what can be decoded.

    Raises:
        DataError: empty, or no sound of a known format.
    """
    if not len(data):
        raise DataError("the sound is empty")
    mime = mime_of(data)
    if not mime:
        raise DataError("this is no sound that can be read, or its header is damaged; known formats: {formats}", formats=", ".join(MIMES))
    return mime


def decode(data: Data, *, limits: Limits = DEFAULT_LIMITS) -> Sound:
    """The sound of WAV, FLAC, MP3, OGG (Vorbis, Opus), M4A, MP4 or WebM bytes, whatever the file was called.

    Of a stored file only the samples are held, so that the sound of a film of any number of bytes can be had.

    Raises:
        DataError: no sound of a known format, damaged, empty, or beyond the limits.
        MissingExtra: not WAV, and PyAV is not installed.
    """
    if isinstance(data, bytes) and len(data) > limits.num_bytes:
        raise DataError("the sound has {bytes:,} bytes; at most {most:,} are read", bytes=len(data), most=limits.num_bytes)
    mime = check(data)
    if mime == "audio/wav" and len(data) > 4 * limits.num_samples:
        raise DataError("the sound has more than {most:,} samples", most=limits.num_samples)
    samples, rate = wav.decode(data) if mime == "audio/wav" else streams.samples(data, most=limits.num_samples)
    if not samples.size:
        raise DataError("the sound is empty")
    return Sound(samples, rate)


def encode(sound: Sound, mime: str = "audio/wav", *, bits: int = 16, bitrate: int = 0) -> bytes:
    """The sound as the bytes of a file; equal sounds give equal bytes.

    WAV and FLAC keep `bits` (16 or 24) of every sample. MP3, OGG (Opus) and M4A (AAC) are lossy; `bitrate` is theirs in bits a second, by
    default 96,000 a channel (64,000 for Opus). Opus is at 48 kHz always, and what a codec does not take is resampled.

    Raises:
        UsageError: a format that is not written.
        DataError: a sound without samples, or with more channels than two in a lossy format.
        MissingExtra: not WAV, and PyAV is not installed.
    """
    if mime not in CODECS and mime != "audio/wav":
        raise unknown("sound format", mime, set(MIMES.values()))
    if not sound.samples.size:
        raise DataError("the sound is empty")
    if mime == "audio/wav":
        return wav.encode(sound.samples, sound.rate, bits=bits)
    buffer, fitted = io.BytesIO(), sound.resampled(rate_for(CODECS[mime][1], sound.rate))
    pack(buffer, [fitted.samples], mime, rate=fitted.rate, channels=fitted.channels, bits=bits, bitrate=bitrate)
    return buffer.getvalue()


CODECS = {  # mime: container, codec, bits a second for one channel
    "audio/flac": ("flac", "flac", 0),
    "audio/mpeg": ("mp3", "libmp3lame", 96_000),
    "audio/ogg": ("ogg", "libopus", 64_000),
    "audio/mp4": ("ipod", "aac", 96_000),
}


def rate_for(codec: str, rate: int) -> int:
    """The rate at which a codec takes a sound of this rate: its own, or the next higher one."""
    rates = (48000,) if codec == "libopus" else RATES.get(codec, (rate,))
    return next((each for each in rates if each >= rate), rates[-1])


def pack(
    file: BinaryIO,
    stretches: Iterable[Samples],
    mime: str,
    *,
    rate: int,
    channels: int,
    bits: int = 16,
    bitrate: int = 0,
    chapters: Sequence[Chapter] = (),
) -> None:
    """A compressed sound into an empty file, stretch by stretch: one stream in one container. The codec must take the rate.

    Raises:
        DataError: more channels than two.
        MiaobiError: the encoder refuses it.
        MissingExtra: PyAV is not installed.
    """
    if channels not in LAYOUTS:
        raise DataError("a sound of {count} channels is written as .wav only; one or two go into other formats", count=channels)
    try:
        import av
    except ImportError:
        raise MissingExtra(tr("reading and writing compressed sounds and films"), "sound", "av") from None
    (format, codec, usual), options, time = CODECS[mime], {"fflags": "+bitexact"}, 0
    if format == "ipod":
        options["movie_timescale"] = str(rate)  # its length is told in these units, and milliseconds would lose samples
    try:
        with av.open(file, "w", format=format, container_options=options) as container:
            stream = add_sound(container, codec, silence(0, rate, channels), bits=bits, bitrate=bitrate or usual * channels)
            _name_chapters(container, stream, format, chapters)
            for samples in stretches:
                for frame in frames(Sound(samples, rate), stream.format.name, first=time):
                    container.mux(stream.encode(frame))
                time += len(samples)
            container.mux(stream.encode(None))
    except av.error.FFmpegError as error:
        raise MiaobiError("the sound could not be written as {format} ({problem})", format=format, problem=streams.words(error)) from None


def _name_chapters(container: Any, stream: Any, format: str, chapters: Sequence[Chapter]) -> None:
    """In a container that is not begun yet. libav writes none into Vorbis comments, but reads those that are there."""
    if format in ("flac", "ogg"):
        told = (stream if format == "ogg" else container).metadata
        for number, chapter in enumerate(chapters, 1):
            minutes, seconds = divmod(chapter.start, 60)
            told[f"CHAPTER{number:03}"] = f"{int(minutes) // 60:02}:{int(minutes) % 60:02}:{seconds:06.3f}"
            told[f"CHAPTER{number:03}NAME"] = chapter.title
    elif chapters:
        spans = [(round(chapter.start * 1000), round(chapter.end * 1000), chapter.title) for chapter in chapters]
        base = Fraction(1, 1000)
        container.set_chapters(
            [
                {"id": number, "start": start, "end": max(start, end), "time_base": base, "metadata": {"title": title}}
                for number, (start, end, title) in enumerate(spans)
            ]
        )


def add_sound(container: av.container.OutputContainer, codec: str, sound: Sound, *, bits: int = 16, bitrate: int = 0) -> av.AudioStream:
    """A stream for `sound` in an open container (of a film, too), to which `frames` are then encoded.

    Raises:
        MiaobiError: this PyAV was built without the codec.
    """
    import av

    if codec not in av.codecs_available:
        raise MiaobiError("the codec {codec} is missing in this build of PyAV; choose another format, such as .wav", codec=codec)
    stream = container.add_stream(codec, rate=sound.rate, layout=LAYOUTS[sound.channels])
    assert isinstance(stream, av.AudioStream)
    stream.codec_context.flags |= av.codec.context.Flags.bitexact
    stream.format = {"flac": "s16" if bits == 16 else "s32", "libopus": "flt"}.get(codec, "fltp")
    if bitrate:
        stream.bit_rate = bitrate
    return stream


def frames(sound: Sound, format: str, *, size: int = FRAME, first: int = 0) -> Iterator[av.AudioFrame]:
    """The sound as frames of PyAV in a sample format (`s16`, `s32`, `flt`, `fltp`), with their times from sample `first` on."""
    import av

    for start in range(0, len(sound.samples), size):
        values = _as_format(sound.samples[start : start + size], format)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), format=format, layout=LAYOUTS[sound.channels])
        frame.sample_rate, frame.pts = sound.rate, first + start
        yield frame


def _as_format(samples: Samples, format: str) -> NDArray[Any]:
    """(T, C) floats as (C, T) for a planar format, else as (1, T * C)."""
    if format == "fltp":
        return samples.T
    if format == "flt":
        return samples.reshape(1, -1)
    bits = {"s16": 16, "s32": 24}[format]  # FLAC's s32 holds 24 bits at the top
    full = 2 ** (bits - 1)
    whole = np.clip(np.rint(samples.astype(np.float64) * full), -full, full - 1).astype(np.int32)
    shaped: NDArray[Any] = whole.astype(np.int16).reshape(1, -1) if bits == 16 else (whole << 8).reshape(1, -1)
    return shaped


def concatenated(sounds: list[Sound]) -> Sound:
    """One sound after the other; all have the rate and the channels of the first."""
    assert sounds, "nothing to put together"
    first = sounds[0]
    assert all((sound.rate, sound.channels) == (first.rate, first.channels) for sound in sounds)
    return dataclasses.replace(first, samples=np.concatenate([sound.samples for sound in sounds]))
