"""Stretches of a film or a sound put after each other, and the files that come of it.

What an editor makes of a film is not generated, so it gets a label only where there was one before, or where a model's voice was put in:
the mark of an input is never lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from miaobi.apps.common.parts import LOCK, alone_in
from miaobi.apps.edit.schema import Given
from miaobi.core.apps import Desk
from miaobi.core.artifact import explain_os_errors, file_sha256, sync_folder
from miaobi.core.errors import DataError, MiaobiError, UsageError, unknown
from miaobi.core.types import Label, Request
from miaobi.data import sounds, videos
from miaobi.data.pictures import Pixels, rgba
from miaobi.data.recordings import Recording, Tape, shaped
from miaobi.data.sounds import Samples
from miaobi.data.video_writer import CONTAINERS
from miaobi.engine import generate
from miaobi.trust import label, mark
from miaobi.trust.stored import Stored

OPENING = 2.5  # seconds of the visible words; GB 45438-2025 asks for two or more
EDGE = 0.006  # seconds over which a sound rises and falls where it was cut, so that nothing clicks


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `start` to before `end`, in seconds."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long."""
        return self.end - self.start


def existing(file: str) -> Path:
    """The file that a person names.

    Raises:
        UsageError: there is none.
    """
    path = Path(file)
    if not path.is_file():
        raise UsageError("there is no file at {path}", path=path)
    return path


def is_film(path: Path) -> bool:
    """Whether the file holds moving pictures (an MP4 may hold sound alone).

    Raises:
        DataError: neither film nor sound.
    """
    with path.open("rb") as file:
        head = file.read(64)
    if not videos.mime_of(head):
        if not sounds.mime_of(head):
            raise DataError("{path} is neither a film nor a sound that can be read", path=path)
        return False
    with told(path):
        try:
            videos.probe(path)
        except DataError:
            if not sounds.mime_of(head):
                raise
            Recording.of(Stored.at(path))  # an M4A, or a film that is damaged
            return False
    return True


def about(path: Path) -> videos.About:
    """The film's size, rate and length; the path is named when it is none."""
    with told(path):
        return videos.probe(path)


def recording_of(path: Path) -> Recording | None:
    """The sound of a film (None where it has none), or of a sound."""
    with told(path):
        if is_film(path) and not videos.probe(path).has_sound:
            return None
        return Recording.of(Stored.at(path))


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """What cannot be read is told with its path."""
    try:
        yield
    except DataError as error:
        if str(path) in str(error):
            raise
        raise DataError("{path}: {problem}", path=path, problem=error) from None


def length_of(path: Path, info: videos.About) -> float:
    """How long a film is; counted where its header does not say."""
    if info.seconds:
        return info.seconds
    return sum(1 for _ in videos.frames_of(path)) / info.fps


def in_frames(stretches: Sequence[Stretch], fps: float) -> list[Stretch]:
    """The stretches at the edges of frames, so that pictures and sound are cut at the same moments; empty ones fall out."""
    cut = [Stretch(round(each.start * fps) / fps, round(each.end * fps) / fps) for each in stretches]
    return [each for each in cut if each.seconds > 0.5 / fps]


def frames_in(path: Path, stretches: Sequence[Stretch], fps: float) -> Iterator[Pixels]:
    """The frames of the stretches, which are in order; nothing before the first or after the last is decoded."""
    number = 0
    for time, frame in videos.frames_of(path, start=stretches[0].start, stop=stretches[-1].end, fps=fps):
        middle = time + 0.5 / fps
        while number < len(stretches) and middle >= stretches[number].end:
            number += 1
        if number == len(stretches):
            return
        if middle >= stretches[number].start:
            yield frame


def sound_in(sound: Recording, stretches: Sequence[Stretch]) -> Recording:
    """The sound of the stretches, which are in order, each rising and falling in a few milliseconds; silent where it ends before them."""
    spans = [(round(each.start * sound.rate), round(each.end * sound.rate)) for each in stretches]

    def play() -> Iterator[Samples]:
        tape, at = Tape(sound.play(), sound.channels), 0
        for first, last in spans:
            tape.skip(first - at)
            ramp = np.linspace(0, 1, min(round(EDGE * sound.rate), (last - first) // 2), dtype=np.float32)
            yield from shaped(tape.stretches(last - first), last - first, ramp, ramp[::-1])
            at = last

    return dataclasses.replace(sound, play=play, length=sum(last - first for first, last in spans))


def check_film(out: Path) -> None:
    """Refuse a file ending that no film has before anything takes its time."""
    known = [suffix for suffix, mime in videos.MIMES.items() if mime in CONTAINERS]
    if out.suffix.lower() not in known:
        raise unknown("film format", out.suffix, known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Who edits what, and how: it fills the label. `made` are the labels of what models made for it."""

    app: str
    source: Path
    inputs: Given
    made: Sequence[Label] = ()

    def request(self) -> Request:
        """What was asked, its files by name and SHA-256."""
        options = self.inputs.model_dump(mode="json")
        paths = {key: Path(options[key]) for key in ("file", "transcript") if options.get(key)}
        files = {path.name: file_sha256(path) for path in paths.values()}
        return Request.of("", **options | {key: path.name for key, path in paths.items()}, files=files)


def write_file(out: Path, write: Callable[[Path], object], job: Job) -> None:
    """What `write` leaves at the path that it is given becomes the film or sound at `out`, labelled where it has to be.

    Raises:
        Busy: another process is making the same file.
        MiaobiError: the disk is full, or no permission.
    """
    with explain_os_errors(out), _room_beside(out) as folder:
        bare = folder / f"made{out.suffix.lower()}"
        write(bare)
        deliver(out, bare, job, mime=(sounds.MIMES | videos.MIMES)[bare.suffix])


@contextlib.contextmanager
def _room_beside(out: Path) -> Iterator[Path]:
    """A folder for what is not whole yet, on the disk of `out`; what a process that was killed left in it is gone."""
    folder = out.with_name(f".{out.name}.making")
    with alone_in(folder, out):
        for path in folder.iterdir():
            if path.name != LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def deliver(out: Path, made: Path, job: Job, *, mime: str) -> None:
    """Move the file to `out`; with a label when the source had one or a model took part."""
    if job.made or labelled(job.source):
        mark = mark_of(job.source)
        label.write_stored(
            made, out, generate.assembled_file(made, job.made, mime=mime, app=job.app, request=job.request(), mark=mark), mime
        )
        return
    with explain_os_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, out)
        sync_folder(out.parent)


def mark_of(source: Path) -> str:
    """The visible words in the opening of a film that was generated, as its label names them; empty for none."""
    try:
        return label.read(source).mark
    except MiaobiError:
        return ""


def reopened(frames: Iterator[Pixels], source: Path, stretches: Sequence[Stretch], fps: float) -> Iterator[Pixels]:
    """The frames, with the visible words of the source's opening where that was cut away."""
    words = mark.described(mark_of(source))
    there = stretches[0].start == 0 and stretches[0].seconds >= OPENING
    count = round(OPENING * fps) if words and not there else 0
    for number, frame in enumerate(frames):
        yield mark.draw(rgba(frame), words[0], corner=words[1])[..., :3] if words and number < count else frame


def labelled(source: Path) -> bool:
    """Whether a file says that it was generated."""
    try:
        marked = label.read_marked(source)
    except MiaobiError:
        return False
    return bool(marked.implicit or marked.label)


def ticking(frames: Iterator[Pixels], desk: Desk, total: int) -> Iterator[Pixels]:
    """The frames, the desk told of each."""
    for number, frame in enumerate(frames, 1):
        yield frame
        desk.tick("rendering", number, max(total, number))


def film_of(path: Path, frames: Iterator[Pixels], *, info: videos.About, sound: Recording | None, quality: int | None = None) -> None:
    """Frames and sound as a film of the source's size and rate."""
    with videos.Writer(path, size=(info.width, info.height), fps=info.fps, quality=quality, odd="pad") as writer:
        for frame in frames:
            writer.add(frame)
        if sound is not None:
            writer.add_sound(sound)
