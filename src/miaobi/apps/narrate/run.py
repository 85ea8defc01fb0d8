"""`miaobi narrate`: a text is read passage by passage, then written stretch by stretch, so that a book takes no more memory than a page.

What was read is kept until the whole is there (see `apps.common.parts`): after an interruption the same command goes on with the next
passage. Only when all is read is it known when which chapter begins, and players want to be told that first.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from miaobi.apps.common import cues
from miaobi.apps.common.parts import Parts
from miaobi.apps.narrate import text
from miaobi.apps.narrate.passages import Passage, first_in, main_language, passages
from miaobi.apps.narrate.schema import Inputs
from miaobi.core.apps import Desk
from miaobi.core.artifact import explain_os_errors, file_sha256
from miaobi.core.errors import Unreadable, UsageError
from miaobi.core.types import NOTHING, Label, Request, canonical_json
from miaobi.data import sound_writer, sounds, subtitles
from miaobi.data.recordings import Recording
from miaobi.data.sounds import Chapter, Samples
from miaobi.data.subtitles import Cue
from miaobi.engine import generate
from miaobi.trust import label, rhythm, safety
from miaobi.trust.stored import Stored

BREATH = 0.3  # seconds between two passages of one paragraph
SHOWN = 40  # characters that nobody could read, of a message


def run(inputs: Inputs, out: Path, desk: Desk, /) -> Mapping[str, Any]:
    """The sound at `out`, and the subtitles beside it.

    Raises:
        UsageError: no such file, nothing in it to read, an unknown voice, or a model that makes no sound.
        DataError: the text is too large, or the sound for its format.
        Refused: the text has a blocked word.
        Busy: another process is making the same sound.
    """
    sound_writer.check(out)
    file = Path(inputs.file)
    blocks = text.read(file)
    if category := safety.load().blocked("\n".join(block.text for block in blocks)):  # now, and not after hours of reading
        raise safety.Refused("the request was refused: it has words of the category '{category}'", category=category)
    with explain_os_errors(out), Parts.of(out, desk) as parts:
        bare = parts.folder / f"sound{out.suffix.lower()}"
        reading = _Reading(inputs, desk, parts)
        spoken = list(reading.spoken(list(passages(blocks))))
        if not spoken:
            raise UsageError("there is nothing in {path} to read", path=file)
        tape = _Tape(spoken, inputs, desk)
        chapters = tape.chapters(file.stem)
        sound_writer.write(tape.recording(), bare, chapters=chapters)
        made = _label(inputs, bare, spoken, tape, chapters, reading)
        label.write_stored(bare, out, made, sounds.MIMES[bare.suffix])
    files = [out.with_suffix(f".{kind}") for kind in ("srt", "vtt") if inputs.subtitles in (kind, "both")]
    for path in files:
        cues.write(path, tape.cues())
    return {
        "out": str(out),
        "seconds": round(tape.seconds, 3),
        "passages": len(spoken),
        "chapters": [{"title": chapter.title, "start": round(chapter.start, 3)} for chapter in chapters],
        "unread": "".join(reading.unread),
        "subtitles": [str(path) for path in files],
    }


@dataclass(frozen=True, slots=True)
class Spoken:
    """A passage that was read: its sound, its cues from its own start on, and its label without them."""

    passage: Passage
    sound: Recording
    cues: tuple[Cue, ...]
    label: Label


class _Reading:
    """The reading of one text: one voice for all of it, and what could not be read."""

    def __init__(self, inputs: Inputs, desk: Desk, parts: Parts) -> None:
        self.inputs, self.desk, self.parts = inputs, desk, parts
        self.unread: dict[str, None] = {}  # the characters, in order
        self.new = 0  # passages that were not there before

    def spoken(self, given: Sequence[Passage]) -> Iterator[Spoken]:
        """Every passage, as it was read before an interruption or is read now."""
        first = None if self.inputs.voice else first_in(given, main_language(given))
        voice = self.inputs.voice or self._voice_of(first)
        done, total = 0, sum(len(passage.text) for passage in given)
        self.desk.tick("reading", done, total)
        for number, passage in enumerate(given):
            before = self.new
            found = self._read(passage, "" if passage is first else voice)
            if number and (before, self.new) == (0, 1):
                self.desk.news("going on: {there:,} of {total:,} passages are there already", there=number, total=len(given))
            if found is not None:
                yield found
            done += len(passage.text)
            self.desk.tick("reading", done, total)
        if self.unread:
            shown = "".join(self.unread)
            self.desk.news("left out, since this voice cannot read it: {text}", text=shown[:SHOWN] + "…" * (len(shown) > SHOWN))

    def _voice_of(self, first: Passage | None) -> str:
        """The voice that the model takes for the text's main language by itself: a book has one reader, whatever it quotes."""
        found = self._read(first, "") if first is not None else None
        return str(found.label.notes.get("voice", "")) if found else ""

    def _read(self, passage: Passage, voice: str) -> Spoken | None:
        """The passage read; None where there is nothing in it that can be."""
        inputs, model = self.inputs, self.desk.load(self.inputs.model)
        options = ({"speed": inputs.speed} if inputs.speed != 1 else {}) | ({"voice": voice} if voice else {})
        try:
            kept = self.parts.made(model, passage.text, seed=inputs.seed, options=options)
        except Unreadable:
            self.unread |= dict.fromkeys(filter(str.isalnum, passage.text))
            return None
        medium, made = kept.medium(), kept.content.label
        if medium is None:
            raise UsageError("the model {model} made text, which cannot be used here", model=inputs.model)
        self.new += kept.new
        self.unread |= dict.fromkeys(str(made.notes.get("unread", "")))
        sound = Recording.of(Stored.at(medium[1]))
        columns = subtitles.COLUMNS["zh" if subtitles.width_of(passage.text) > len(passage.text) else "en"]
        shown = cues.of_narration(passage.text, made.notes, start=0.0, seconds=sound.seconds, columns=columns)
        notes = {key: made.notes[key] for key in ("voice",) if key in made.notes}
        return Spoken(passage, sound, tuple(shown), dataclasses.replace(made, notes=notes, prompt="", options=NOTHING))


class _Tape:
    """All passages at their times, the rhythm before them."""

    def __init__(self, spoken: Sequence[Spoken], inputs: Inputs, desk: Desk) -> None:
        self.spoken, self.desk, first = spoken, desk, spoken[0].sound
        self.rate, self.channels = first.rate, first.channels
        silent = sounds.silence(0, self.rate, self.channels).samples
        self.opening = rhythm.before(silent, self.rate) if inputs.mark != "none" else silent
        gaps = {"breath": BREATH, "pause": max(BREATH, inputs.pause), "rest": max(BREATH, 2 * inputs.pause)}
        self.gaps = [round(gaps[each.passage.behind] * self.rate) for each in spoken[:-1]] + [0]
        self.starts = [len(self.opening)]
        for each, gap in zip(spoken, self.gaps):
            self.starts.append(self.starts[-1] + each.sound.length + gap)

    @property
    def seconds(self) -> float:
        """How long the whole is."""
        return self.starts[-1] / self.rate

    def recording(self) -> Recording:
        """The whole, decoded as it is written."""
        return Recording(play=self._play, rate=self.rate, channels=self.channels, length=self.starts[-1])

    def _play(self) -> Iterator[Samples]:
        yield self.opening
        for number, (each, gap) in enumerate(zip(self.spoken, self.gaps), 1):
            yield from each.sound.play()
            yield np.zeros((gap, self.channels), np.float32)
            self.desk.tick("writing", number, len(self.spoken))

    def cues(self) -> Iterator[Cue]:
        """The words at their times."""
        for each, start in zip(self.spoken, self.starts):
            seconds = start / self.rate
            yield from (Cue(round(cue.start + seconds, 3), round(cue.end + seconds, 3), cue.text) for cue in each.cues)

    def chapters(self, title: str) -> list[Chapter]:
        """From each heading to the next; what stands before the first one is called `title`. A text without headings has none."""
        named = [(each.passage.text, start / self.rate) for each, start in zip(self.spoken, self.starts) if each.passage.heading]
        if named and self.spoken[0].passage.heading:
            named[0] = (named[0][0], 0.0)
        elif named:
            named.insert(0, (title, 0.0))
        ends = [start for _, start in named[1:]] + [self.seconds]
        return [Chapter(name, start, end) for (name, start), end in zip(named, ends)]


def _label(inputs: Inputs, bare: Path, spoken: Sequence[Spoken], tape: _Tape, chapters: Sequence[Chapter], reading: _Reading) -> Label:
    """A label with the hash of the text, of all passages together, and the chapters."""
    file = Path(inputs.file)
    options = inputs.model_dump(mode="json") | {"file": file.name, "files": {file.name: file_sha256(file)}}
    hashes = [each.label.content_sha256 for each in spoken]
    whole = dataclasses.replace(spoken[0].label, content_sha256=hashlib.sha256(canonical_json(hashes)).hexdigest())
    notes: dict[str, Any] = {"seconds": round(tape.seconds, 3), "passages": len(spoken), **spoken[0].label.notes}
    notes |= {"chapters": [[chapter.title, round(chapter.start, 3)] for chapter in chapters]} if chapters else {}
    notes |= {"unread": "".join(reading.unread)} if reading.unread else {}
    heard = rhythm.describe() if inputs.mark != "none" else ""
    request = Request.of("", **options)
    mime = sounds.MIMES[bare.suffix]
    return generate.assembled_file(bare, [whole], mime=mime, app="narrate", request=request, mark=heard, notes=notes)
