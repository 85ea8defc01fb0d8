"""Another sound for a film, whose encoded pictures are copied as they are: nothing is lost, and it takes no time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from miaobi.core.artifact import explain_os_errors
from miaobi.core.errors import DataError, MissingExtra, UsageError
from miaobi.core.language import tr
from miaobi.data import sounds, videos
from miaobi.data.recordings import Recording, even
from miaobi.data.sounds import Sound
from miaobi.data.video_writer import CONTAINERS, RATE

_SAME = {"video/mp4": ("h264", "hevc", "av1", "mpeg4", "vp9"), "video/webm": ("vp8", "vp9", "av1")}  # codecs that a container holds


def with_sound(source: Path, sound: Recording, target: Path) -> None:
    """The film with this sound in place of its own, which is played while the film is written.

    Raises:
        UsageError: its pictures do not go into a file of that kind as they are.
        DataError: it is damaged.
    """
    mime = videos.MIMES[target.suffix.lower()]
    kind, codec = CONTAINERS[mime], videos.probe(source).codec
    if codec not in _SAME[mime]:
        raise UsageError(
            "pictures in {codec} do not go into a {suffix} file as they are. Choose another file ending", codec=codec, suffix=target.suffix
        )
    av = _av()
    try:
        with (
            explain_os_errors(target),
            av.open(str(source), "r") as given,
            av.open(str(target), "w", format=kind.format, options=kind.options) as made,
        ):
            pictures = given.streams.video[0]
            stream = made.add_stream_from_template(pictures)
            like = sounds.silence(0, RATE, sound.channels)
            voice = sounds.add_sound(made, kind.sounds[0], like, bitrate=96_000 * sound.channels)
            _interleave(made, given.demux(pictures), stream, voice, sound)
    except av.error.FFmpegError as error:
        raise DataError("{path}: the film is damaged ({problem})", path=source, problem=str(error)[:120]) from None


def _interleave(made: Any, packets: Any, stream: Any, voice: Any, sound: Recording) -> None:
    """Pictures and sound in the order of time, as players read them."""
    frames = _frames(sound, voice.format.name)
    told = 0.0
    for packet in packets:
        if packet.dts is None:
            continue
        while told <= float(packet.dts * packet.time_base) and (frame := next(frames, None)) is not None:
            told += frame.samples / RATE
            made.mux(voice.encode(frame))
        packet.stream = stream
        made.mux(packet)
    for frame in frames:
        made.mux(voice.encode(frame))
    made.mux(voice.encode(None))


def _frames(sound: Recording, format: str) -> Iterator[Any]:
    """The sound as frames of PyAV, with their times."""
    time = 0
    for samples in even(sound.at(RATE), sounds.FRAME):
        yield from sounds.frames(Sound(samples, RATE), format, first=time)
        time += len(samples)


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise MissingExtra(tr("reading and writing films"), "video", "av") from None
    return av
