"""Films written frame by frame: H.264 and AAC in MP4, VP9 and Opus in WebM, through PyAV.

Only the encoder's own frames are held, so a film of any length can be written. The pictures go to files of eight seconds each, which begin
with a key frame as every two seconds do; at the end they are laid together with the sound, in the order of their times and with the index
in front, into one more file, which is read again, compared with what was put in, and only then given its name. Where those pieces are kept
in a folder, a film that was interrupted goes on behind the last whole one. Equal input gives equal bytes, interrupted or not, on every
machine: the number of threads is fixed.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self

import numpy as np
from numpy.typing import NDArray

from miaobi.core.artifact import explain_os_errors, sync_folder
from miaobi.core.errors import DataError, MiaobiError, MissingExtra, UsageError, unknown
from miaobi.core.language import tr
from miaobi.data.pictures import over
from miaobi.data.recordings import Recording, even

if TYPE_CHECKING:
    from miaobi.data.sounds import Sound

Frame = NDArray[np.uint8]
THREADS = 2  # a number of its own, because an encoder's result may depend on it
RATE = 48_000  # hertz; Opus knows no other
BLOCK = 1024  # samples handed to the sound encoder at a time
BT709 = 1  # libav's number of the colours of high definition, which players assume
PIECE = 4  # groups of pictures in a piece of the film: what an interruption costs at most
_PIECE = re.compile(r"pictures-(\d{9})-(\d{9})")  # the numbers of its first frame and of the one behind its last
LIMITED = 1  # libav's number of the range 16 to 235


@dataclass(frozen=True, slots=True)
class Container:
    """How a kind of file is written: the first encoder that is there is taken."""

    format: str
    pictures: tuple[str, ...]
    sounds: tuple[str, ...]
    options: dict[str, str]
    suffix: str


CONTAINERS = {
    "video/mp4": Container("mp4", ("libx264", "libopenh264"), ("aac",), {"movflags": "+faststart", "fflags": "+bitexact"}, ".mp4"),
    "video/webm": Container("webm", ("libvpx-vp9", "libvpx"), ("libopus", "libvorbis"), {"fflags": "+bitexact"}, ".webm"),
}


class Writer:
    """Frames one by one, then (or in between) sound; at the end of the block the film is there whole, or not at all.

    ```
    with Writer(Path("film.mp4"), size=(640, 360), fps=24) as writer:
        for frame in frames:
            writer.add(frame)
        writer.add_sound(sound)
    ```
    """

    def __init__(
        self,
        target: Path | BinaryIO,
        *,
        size: tuple[int, int],
        fps: float,
        mime: str = "",
        quality: int | None = None,
        background: str = "white",
        odd: Literal["refuse", "pad"] = "refuse",
        parts: Path | None = None,
    ) -> None:
        """Open a film of frames of `size` (width, height).

        Args:
            mime: by the suffix of `target` unless given.
            quality: 1 to 100; None is a quality where the loss is hardly seen.
            odd: what becomes of sides of odd length, which these codecs do not have: an error, or their last row again.
            parts: a folder of its own in which finished pieces stay when the film does not become whole. What is in it is taken as the
                beginning of this very film; `num_frames` then says which frame comes first.

        Raises:
            UsageError: an unknown format, an impossible size or rate, or no encoder for it in the installed PyAV.
            MissingExtra: PyAV is not installed.
        """
        from miaobi.data.videos import MIMES, rate_of

        named = mime or (MIMES.get(target.suffix.lower(), target.suffix) if isinstance(target, Path) else "")
        if named not in CONTAINERS:
            raise unknown("film format", named, CONTAINERS)
        self.target, self.size, self.mime, self.background = target, size, named, background
        self.rate: Fraction = _checked(size, fps, rate_of(fps) if fps > 0 else Fraction(0), odd=odd)
        self.num_frames = 0
        self.parts = parts
        self._group = max(1, round(2 * self.rate))  # a key frame every two seconds, so that players can jump
        self._container: Any = None
        self._kind, self._av = CONTAINERS[named], _av()
        self._codec = self._encoder(self._kind.pictures)
        self._quality = quality
        self._sounds: list[Recording] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        with explain_os_errors(self._shown):
            if isinstance(self.target, Path):
                self.target.parent.mkdir(parents=True, exist_ok=True)
            beside = self.target.parent if isinstance(self.target, Path) else None
            self._folder = tempfile.TemporaryDirectory(dir=self.parts or beside, prefix=".film-")
            self._sweep()
            self.num_frames = self._begin = sum(last - first for first, last, _ in self._pieces())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._folder is not None
        try:
            with explain_os_errors(self._shown):
                if kind is None:
                    self._finish()
        finally:
            self._abandon()
            self._folder.cleanup()

    def add(self, frame: Frame) -> None:
        """The next frame, (H, W, 3) or (H, W, 4).

        Raises:
            DataError: it has another size.
            MiaobiError: the disk is full.
        """
        width, height = self.size
        if frame.shape[:2] != (height, width):
            raise DataError(
                "frame {number} has {width} by {height} pixels, the film {film_width} by {film_height}",
                number=self.num_frames + 1,
                width=frame.shape[1],
                height=frame.shape[0],
                film_width=width,
                film_height=height,
            )
        flat = over(frame, self.background) if frame.shape[-1] == 4 else frame
        flat = np.pad(flat, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge") if height % 2 or width % 2 else flat
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(flat), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709")
        picture.pts, picture.time_base = self.num_frames - self._begin, 1 / self.rate
        with explain_os_errors(self._shown):
            if self._container is None:
                self._open_piece()
            self._container.mux(self._stream.encode(picture))
            self.num_frames += 1
            if self.num_frames - self._begin >= PIECE * self._group:
                self._close_piece()

    def add_sound(self, sound: Sound | Recording) -> None:
        """Sound that follows what was added before; mono or stereo, at any rate. It is cut where the pictures end.

        A recording is played when the film is put together, and not held.
        """
        self._sounds.append(sound if isinstance(sound, Recording) else Recording.of_sound(sound))

    @property
    def _shown(self) -> Path:
        """What messages call the film."""
        return self.target if isinstance(self.target, Path) else Path(f"film{self._kind.suffix}")

    def _encoder(self, names: tuple[str, ...]) -> str:
        """The first of these encoders that the installed PyAV has."""
        for name in names:
            try:
                self._av.Codec(name, "w")
            except ValueError:
                continue
            return name
        raise UsageError(
            "the installed PyAV has no encoder for {mime} ({names}). Choose .gif or .webp, or install PyAV's own wheels: pip install av",
            mime=self.mime,
            names=", ".join(names),
        )

    @property
    def _room(self) -> Path:
        """Where the pieces lie."""
        assert self._folder is not None
        return self.parts or Path(self._folder.name)

    def _pieces(self) -> list[tuple[int, int, Path]]:
        """The finished pieces that follow each other from the first frame on: first frame, the one behind the last, file."""
        found, end = list[tuple[int, int, Path]](), 0
        for path in sorted(self._room.glob("pictures-*")):
            named = _PIECE.fullmatch(path.name)
            if named and int(named[1]) == end:
                end = int(named[2])
                found.append((int(named[1]), end, path))
        return found

    def _sweep(self) -> None:
        """Remove what a process that was killed left half written, and a short last piece: more frames would have followed it."""
        assert self._folder is not None
        for path in self._room.iterdir():
            named = _PIECE.fullmatch(path.name)
            if path.name.startswith(".film-") and path.name != Path(self._folder.name).name:
                shutil.rmtree(path, ignore_errors=True)
            elif named and int(named[2]) - int(named[1]) != PIECE * self._group:
                path.unlink()

    def _open_piece(self) -> None:
        assert self._folder is not None
        self._file = (Path(self._folder.name) / "open").open("wb")
        self._container = self._av.open(self._file, "w", format=self._kind.format, options={"fflags": "+bitexact"})
        self._stream = self._picture_stream()

    def _close_piece(self) -> None:
        """Give the piece its name when all of it is on the disk."""
        self._container.mux(self._stream.encode())
        self._container.close()
        self._container = None
        self._file.close()
        with Path(self._file.name).open("rb") as file:
            os.fsync(file.fileno())
        Path(self._file.name).replace(self._room / f"pictures-{self._begin:09}-{self.num_frames:09}")
        self._begin = self.num_frames

    def _picture_stream(self) -> Any:
        width, height = (side + side % 2 for side in self.size)
        stream = self._container.add_stream(self._codec, rate=self.rate, options=_settings(self._codec, self._quality, self._group))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.time_base = 1 / self.rate
        context.thread_count = THREADS
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED
        return stream

    def _finish(self) -> None:
        """Close the pictures, lay the sound beside them, check the whole and give it its name."""
        if not self.num_frames:
            raise DataError("a film needs at least one frame; none was added")
        assert self._folder is not None
        if self._container is not None:
            self._close_piece()
        whole = Path(self._folder.name) / "film"
        with whole.open("wb") as file:
            self._join(self._pieces(), file)
            file.flush()
            os.fsync(file.fileno())
        self._check(whole)
        if isinstance(self.target, Path):
            whole.chmod(0o644)
            whole.replace(self.target)
            sync_folder(self.target.parent)
        else:
            self.target.write(whole.read_bytes())

    def _abandon(self) -> None:
        """Close what is open. A disk that is full says so again when a container is closed: once is enough."""
        if self._container is None:
            return
        try:
            self._container.close()
        except (OSError, self._av.error.FFmpegError):
            pass
        finally:
            self._file.close()

    def _join(self, pieces: list[tuple[int, int, Path]], file: BinaryIO) -> None:
        """Copy the encoded pictures, and encode the sound in between, in the order of time."""
        options = self._kind.options
        with (
            pieces[0][2].open("rb") as first,
            self._av.open(first, "r") as template,
            self._av.open(file, "w", format=self._kind.format, options=options) as target,
        ):
            stream = target.add_stream_from_template(template.streams.video[0])
            sounds = self._sound_packets(target)
            waiting = next(sounds, None)
            for packet in self._picture_packets(pieces):
                time = float(packet.dts * packet.time_base)
                while waiting is not None and waiting[0] <= time:
                    target.mux(waiting[1])
                    waiting = next(sounds, None)
                packet.stream = stream
                target.mux(packet)
            while waiting is not None:
                target.mux(waiting[1])
                waiting = next(sounds, None)

    def _picture_packets(self, pieces: list[tuple[int, int, Path]]) -> Iterator[Any]:
        """The packets of all pieces, their times counted in frames of the whole film: a container may have rounded them."""
        for begin, _, path in pieces:
            with path.open("rb") as given, self._av.open(given, "r") as source:
                for packet in source.demux(source.streams.video[0]):
                    if packet.dts is None:
                        continue
                    pts, dts = (begin + round(time * packet.time_base * self.rate) for time in (packet.pts, packet.dts))
                    packet.time_base, packet.pts, packet.dts, packet.duration = 1 / self.rate, pts, dts, 1
                    yield packet

    def _sound_packets(self, target: Any) -> Iterator[tuple[float, Any]]:
        """Time and packet; the stream is added at once, before anything is written."""
        if not self._sounds:
            return iter(())
        name = self._encoder(self._kind.sounds)
        channels = max(min(sound.channels, 2) for sound in self._sounds)
        stream = target.add_stream(name, rate=RATE)
        stream.bit_rate = 96_000 * channels
        stream.layout = "stereo" if channels == 2 else "mono"
        return self._encoded(stream, channels)

    def _encoded(self, stream: Any, channels: int) -> Iterator[tuple[float, Any]]:
        left = round(self.num_frames / self.rate * RATE)
        time = 0
        for sound in self._sounds:
            for samples in even(sound.at(RATE), BLOCK):
                block = np.ascontiguousarray(_with_channels(samples[:left], channels).T, dtype=np.float32)  # (C, T)
                left -= block.shape[1]
                if not block.size:
                    break
                frame = self._av.AudioFrame.from_ndarray(block, format="fltp", layout=stream.layout.name)
                frame.sample_rate, frame.pts, frame.time_base = RATE, time, Fraction(1, RATE)
                time += block.shape[1]
                for packet in stream.encode(frame):
                    yield float(packet.pts * packet.time_base), packet
        for packet in stream.encode(None):
            yield float(packet.pts * packet.time_base), packet

    def _check(self, path: Path) -> None:
        """Read the film again: as many frames as were added, at that rate, for that long, and sound if there was any.

        Raises:
            MiaobiError: it is not what was put in.
        """
        with path.open("rb") as file, self._av.open(file, "r") as container:
            stream = container.streams.video[0]
            times = sorted(packet.pts * packet.time_base for packet in container.demux(stream) if packet.pts is not None)
            step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1 / self.rate
            sounds = len(container.streams.audio)
        wanted = tuple(side + side % 2 for side in self.size)
        even = abs(float(step * self.rate) - 1) < 0.02 + 0.002 * float(self.rate)  # WebM counts in whole milliseconds
        good = len(times) == self.num_frames and even and (stream.width, stream.height) == wanted and sounds == bool(self._sounds)
        if not good and self.parts:  # the pieces were no good, so the next try begins anew
            shutil.rmtree(self.parts, ignore_errors=True)
        if not good:
            raise MiaobiError(
                "{path} was not written: read again it has {found} frames instead of {wanted}, or another size, rate or sound",
                path=self._shown,
                found=len(times),
                wanted=self.num_frames,
            )


def encoder_version() -> str:
    """Which encoders films are written with here: pieces of two do not go together."""
    av = _av()
    return f"{av.__version__} {sorted(av.library_versions.items())}"


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise MissingExtra(tr("reading and writing films"), "video", "av") from None
    return av


def _checked(size: tuple[int, int], fps: float, rate: Fraction, *, odd: str) -> Fraction:
    """The rate, when a film can have it and the size."""
    width, height = size
    if not 0.1 <= fps <= 240:
        raise UsageError("a film has between 0.1 and 240 frames a second, not {fps}", fps=fps)
    if not (2 <= width <= 8192 and 2 <= height <= 8192):
        raise UsageError("a film's frames have between 2 and 8192 pixels a side, not {width} by {height}", width=width, height=height)
    if odd == "refuse" and (width % 2 or height % 2):
        raise UsageError(
            "{width} by {height}: the sides of a film's frames are even numbers. Take {even_width} by {even_height}",
            width=width,
            height=height,
            even_width=width + width % 2,
            even_height=height + height % 2,
        )
    return rate


def _settings(codec: str, quality: int | None, group: int) -> dict[str, str]:
    """The encoder's options; `group` frames from key frame to key frame at most."""
    share = 0.72 if quality is None else max(1, min(quality, 100)) / 100
    every = {"g": str(group)}
    if codec == "libx264":
        # x264's macroblock tree adds floats in an order that is not always the same: one in five films came out otherwise on a busy machine
        exact = {"x264-params": "mbtree=0", "threads": str(THREADS)}
        return every | exact | {"crf": f"{round(51 - 44 * share)}", "preset": "medium"}
    if codec == "libvpx-vp9":
        fast = {"deadline": "good", "cpu-used": "4", "row-mt": "0", "b": "0", "tile-columns": "0", "auto-alt-ref": "0"}
        return every | fast | {"crf": f"{round(63 - 45 * share)}", "threads": str(THREADS)}
    return every | {"b": f"{round(8_000_000 * share)}"}


def _with_channels(samples: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """(T, 1 or more) as (T, `channels`): mono stands on both sides, more than two are mixed down."""
    if samples.shape[1] == channels:
        return samples
    return np.repeat(samples.mean(axis=1, keepdims=True), channels, axis=1)
