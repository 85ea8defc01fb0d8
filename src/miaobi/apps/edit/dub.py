"""`edit dub`: a transcript, in whatever language, read aloud over a film at the times that it tells.

Without a transcript the film is listened to and put into English (Whisper translates into no other language); what was heard is then
written beside the film, to be corrected by hand and given as the transcript.
Each cue is read once at the voice's own pace; where that takes longer than there is time until the next cue, it is read again faster, up to
a limit, and what still is too long pushes the next one back. The film's own sound steps back under the new voice; its pictures are copied
as they are, not encoded again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miaobi.apps.common import asked, cues, mixing
from miaobi.apps.edit import transcript
from miaobi.apps.edit.pieces import Job, about, check_film, existing, length_of, recording_of, write_file
from miaobi.apps.edit.remux import with_sound
from miaobi.apps.edit.schema import Dub
from miaobi.core.apps import Desk
from miaobi.core.errors import DataError, UsageError
from miaobi.core.types import Label, Media
from miaobi.data.recordings import Recording
from miaobi.data.subtitles import Cue

EARS = "ears"  # the model that listens where there is no transcript
PAUSE = 0.12  # seconds between two cues that are read without a break
SILENT = -99.0  # decibels: below, the film's own sound is gone altogether
LOUDNESS = -16.0  # LUFS of the whole


@dataclass(frozen=True, slots=True)
class Line:
    """One cue as it is read: when it begins, how fast it was read."""

    cue: Cue
    start: float
    speed: float
    sound: Recording

    @property
    def end(self) -> float:
        """When it is over."""
        return self.start + self.sound.seconds


def run(inputs: Dub, out: Path, desk: Desk, /) -> Mapping[str, Any]:
    """The dubbed film at `out`.

    Raises:
        DataError: the transcript cannot be read or goes on after the film's end.
        UsageError: the model makes no sound, or has no such voice.
    """
    path = existing(inputs.file)
    check_film(out)
    info = about(path)
    asked.check(desk, inputs.model, {"voice": inputs.voice} if inputs.voice else {})
    given, heard = (transcript.read(inputs.transcript), None) if inputs.transcript else transcript.heard(path, EARS, desk, translated=True)
    seconds = length_of(path, info)
    if given[-1].start >= seconds:
        raise DataError(
            "{transcript} goes on after the film's end ({start:.1f} s of {seconds:.1f} s)",
            transcript=inputs.transcript or EARS,
            start=given[-1].start,
            seconds=seconds,
        )
    lines, made = _read(given, seconds, inputs, desk)
    made = [heard, *made] if heard else made

    def write(bare: Path) -> None:
        with_sound(path, _mixed(lines, recording_of(path), seconds, inputs.original, bare.parent), bare)

    write_file(out, write, Job(app="dub", source=path, inputs=inputs, made=made))
    subtitles = [out.with_suffix(".srt")] if heard else []
    for file in subtitles:
        cues.write(file, given, label=heard)
    rows = [
        {
            "start": round(line.start, 3),
            "end": round(line.end, 3),
            "speed": round(line.speed, 3),
            "late": round(line.start - line.cue.start, 3),
        }
        for line in lines
    ]
    late = max((row["late"] for row in rows), default=0.0)
    if late > 0.5:
        desk.news(
            "the voice is up to {late:.1f} s late: the words are too many for their time. Shorten them, or raise --fastest", late=late
        )
    return {"out": str(out), "seconds": round(seconds, 3), "subtitles": [str(file) for file in subtitles], "lines": rows}


def _read(given: Sequence[Cue], seconds: float, inputs: Dub, desk: Desk) -> tuple[list[Line], list[Label]]:
    """Every cue read aloud, in time."""
    lines, made, free = list[Line](), list[Label](), 0.0
    for number, cue in enumerate(given):
        start = max(cue.start, free)
        room = (given[number + 1].start if number + 1 < len(given) else seconds) - start - PAUSE
        label, sound, speed = _spoken(cue.text, room, inputs, desk)
        lines.append(Line(cue, start, speed, sound))
        made.append(label)
        free = lines[-1].end + PAUSE
        desk.tick("reading", number + 1, len(given))
    return lines, made


def _spoken(text: str, room: float, inputs: Dub, desk: Desk) -> tuple[Label, Recording, float]:
    """One cue at the voice's own pace, or as much faster as it needs and may."""
    label, sound = _said(text, 1.0, inputs, desk)
    speed = min(inputs.fastest, sound.seconds / max(room, 0.2))
    if speed <= 1.02:
        return label, sound, 1.0
    return *_said(text, round(speed, 2), inputs, desk), round(speed, 2)


def _said(text: str, speed: float, inputs: Dub, desk: Desk) -> tuple[Label, Recording]:
    options: dict[str, Any] = ({"speed": speed} if speed != 1 else {}) | ({"voice": inputs.voice} if inputs.voice else {})
    content = desk.load(inputs.model).generate(text, seed=inputs.seed, **options)[0]
    media = next((part for part in content.parts if isinstance(part, Media)), None)
    if media is None:
        raise UsageError("the model {model} made text, which cannot be used here", model=inputs.model)
    return content.label, Recording.of(media.data)


def _mixed(lines: Sequence[Line], own: Recording | None, seconds: float, original: float, room: Path) -> Recording:
    """The new voice over the film's own sound, which steps back where somebody speaks."""
    voices = [mixing.spoken(line.sound, line.start, mixing.VOICE) for line in lines]
    behind = [mixing.Part(0, mixing.levelled(own, mixing.CLIP), -original)] if own is not None and original > SILENT else []
    return mixing.mixed(voices, behind, round(seconds * mixing.RATE), lufs=LOUDNESS, room=room)
