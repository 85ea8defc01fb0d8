"""What a film is put together from: the files that a timeline names, and what models make for it.

A thing that cannot be read, is missing or of the wrong kind is told by the line and the field that names it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from miaobi.apps.common import asked
from miaobi.apps.common.parts import Kept, Parts
from miaobi.apps.common.script import Place, Script
from miaobi.apps.common.timeline import Effect, Narration, Thing
from miaobi.core.apps import Desk
from miaobi.core.artifact import file_sha256
from miaobi.core.errors import MiaobiError, MissingExtra, UsageError
from miaobi.core.types import Label, Modality
from miaobi.data import pictures, videos
from miaobi.data.pictures import Pixels
from miaobi.data.recordings import Recording
from miaobi.trust.stored import Stored

MIDI = (".mid", ".midi")
NEEDED = 2  # frames; the camera zooms in no further
ROUND = 60.0  # seconds; an effect that lasts longer goes round


@dataclass(frozen=True, slots=True)
class ClipFile:
    """A film to take frames from, and what its header says."""

    path: Path
    about: videos.About


@dataclass(frozen=True, slots=True)
class Source:
    """Where a thing lies; a score is still to be played."""

    path: Path
    score: bool = False


@dataclass(frozen=True, slots=True)
class Speech:
    """What somebody says; `notes` are those of its label, with the times of sentences and words where a model tells them."""

    sound: Recording
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Materials:
    """Everything by the place in the timeline that asks for it; `used` holds the SHA-256 of every file, `made` the labels of what models
    made.
    """

    pictures: dict[Place, Path] = field(default_factory=dict)
    clips: dict[Place, ClipFile] = field(default_factory=dict)
    speech: dict[Place, Speech] = field(default_factory=dict)
    sounds: dict[Place, Recording] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)
    made: list[Label] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Gathering:
    """Fills the materials of one timeline; models come from the desk, and what they made before an interruption from the parts."""

    script: Script
    desk: Desk
    parts: Parts
    found: Materials

    def check(self, place: Place, thing: Thing) -> None:
        """Tell now what a model would refuse after others have taken their time."""
        with self._told(place):
            options = _of_voice(thing) if isinstance(thing, Narration) else thing.options
            asked.check(self.desk, thing.model or thing.usual_model(), options)

    def take(self, place: Place, thing: Thing) -> None:
        """Put one thing where it belongs."""
        kind = next(step for step in reversed(place) if isinstance(step, str))
        if isinstance(thing, Narration):
            self.found.speech[place] = self._speech(place, thing)
        elif kind == "picture":
            path = self._source(place, thing).path
            with self._told(place):
                picture_of(path, self.script.timeline.size)  # to see now, and not in the middle of the film, whether it can be
            self.found.pictures[place] = path
        elif kind == "clip":
            path = self._source(place, thing).path
            with self._told(place):
                self.found.clips[place] = ClipFile(path, videos.probe(path))
        else:
            self.found.sounds[place] = self._sound(place, self._source(place, thing))

    def effect(self, place: Place, effect: Effect, seconds: float) -> Recording:
        """An effect of this length, made by a model."""
        loop = {"loop": True} if seconds > ROUND else {}
        options = {"seconds": round(min(seconds, ROUND), 3), **loop, **effect.options}
        return self._sound(place, self._medium(place, self._made(place, effect, effect.prompt or effect.effect, options)))

    def _source(self, place: Place, thing: Thing) -> Source:
        """The file, or what a model makes."""
        if not thing.file:
            return self._medium(place, self._made(place, thing, thing.prompt, thing.options))
        path = self.script.path(thing.file, place)
        self.found.used[thing.file] = file_sha256(path)
        return Source(path, path.suffix.lower() in MIDI)

    def _made(self, place: Place, thing: Thing, prompt: str, options: Mapping[str, Any]) -> Kept:
        with self._told(place):
            return self.parts.made(self.desk.load(thing.model or thing.usual_model()), prompt, seed=thing.seed, options=options)

    def _medium(self, place: Place, kept: Kept) -> Source:
        """The first part that is no text."""
        medium = kept.medium()
        if medium is None:
            raise self.script.at(
                place, UsageError("the model {model} made text, which cannot be used here", model=kept.content.label.model)
            )
        self.found.made.append(kept.content.label)
        return Source(medium[1], medium[0].modality is Modality.MUSIC)

    def _sound(self, place: Place, source: Source) -> Recording:
        """A sound; a score is played by the instruments that come along."""
        with self._told(place):
            if not source.score:
                return Recording.of(Stored.at(source.path))
            from miaobi.engine import synth

            return Recording.of_sound(synth.render(source.path.read_bytes()))

    def _speech(self, place: Place, voice: Narration) -> Speech:
        """A recording, or the words read by a model."""
        if voice.file:
            return Speech(self._sound(place, self._source(place, voice)))
        kept = self._made(place, voice, voice.text, _of_voice(voice))
        return Speech(self._sound(place, self._medium(place, kept)), kept.content.label.notes)

    @contextlib.contextmanager
    def _told(self, place: Place) -> Iterator[None]:
        """What goes wrong inside is told by line and field; a missing package stays what it is."""
        try:
            yield
        except MissingExtra:
            raise
        except MiaobiError as error:
            raise self.script.at(place, error) from None


def _of_voice(voice: Narration) -> dict[str, Any]:
    """The options of a narration; a model need not know what nobody asks for."""
    wanted = {"voice": voice.voice, "speed": voice.speed if voice.speed != 1 else None}
    return {**{key: value for key, value in wanted.items() if value}, **voice.options}


def gather(script: Script, desk: Desk, parts: Parts) -> Materials:
    """Read and make everything but the effects whose length depends on their scene; see `Gathering.effect`.

    Raises:
        UsageError: a file is missing, a model is unknown or makes something else.
        DataError: a file cannot be read.
    """
    gathering = Gathering(script, desk, parts, Materials())
    wanted = sorted(things(script), key=lambda pair: not pair[1].file)  # files first: what is wrong with them takes no time to see
    for place, thing in wanted:
        if not thing.file:
            gathering.check(place, thing)
    for number, (place, thing) in enumerate(wanted):
        desk.tick("gathering", number, len(wanted), thing.file or thing.model)
        gathering.take(place, thing)
    desk.tick("gathering", len(wanted), len(wanted))
    return gathering.found


def picture_of(path: Path, frame: tuple[int, int]) -> Pixels:
    """A picture as a film of that size needs it; decoded when its scene begins, since those of a long film do not fit together.

    Raises:
        DataError: it cannot be read.
    """
    return reduced(pictures.decode(path.read_bytes()), frame)


def reduced(pixels: Pixels, frame: tuple[int, int]) -> Pixels:
    """An opaque picture as RGB, by a whole factor smaller where it is larger than any camera needs: photographs would fill the memory."""
    if (pixels[..., 3] != 255).any():
        return pixels
    factor = int(min(pixels.shape[1] / (NEEDED * frame[0]), pixels.shape[0] / (NEEDED * frame[1])))
    image = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    return np.asarray(image.reduce(factor) if factor > 1 else image)


def things(script: Script) -> Iterator[tuple[Place, Thing]]:
    """Every picture, clip, voice and piece of music, and every effect that is a file, with its place."""
    timeline = script.timeline
    for number, scene in enumerate(timeline.scenes):
        place: Place = ("scenes", number)
        for name in ("picture", "clip", "narration"):
            thing = getattr(scene, name)
            if thing is not None:
                yield (*place, name), thing
        yield from (((*place, "effects", index), effect) for index, effect in enumerate(scene.effects) if effect.file)
    yield from ((("voices", index), voice) for index, voice in enumerate(timeline.voices))
    yield from ((("effects", index), effect) for index, effect in enumerate(timeline.effects) if effect.file)
    if timeline.music is not None:
        yield ("music",), timeline.music
