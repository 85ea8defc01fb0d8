"""What a film is put together from: the files that a timeline names, and what models make for it.

A thing that cannot be read, is missing or of the wrong kind is told by the line and the field that names it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from miaobi.apps.common.script import Place, Script
from miaobi.apps.common.timeline import Effect, Narration, Thing
from miaobi.core.apps import Desk
from miaobi.core.artifact import file_sha256
from miaobi.core.errors import DataError, MiaobiError, MissingExtra, UsageError
from miaobi.core.types import NOTHING, Content, Media, Modality
from miaobi.data import pictures, sounds, videos
from miaobi.data.pictures import Pixels
from miaobi.data.sounds import Sound

MIDI = (".mid", ".midi")


@dataclass(frozen=True, slots=True)
class ClipFile:
    """A film to take frames from, and what its header says."""

    source: bytes | Path
    about: videos.About


@dataclass(frozen=True, slots=True)
class Speech:
    """What somebody says; `times` are the words and when each is heard (seconds), where a model tells that."""

    sound: Sound
    times: tuple[tuple[str, float, float], ...] = ()


@dataclass(slots=True)
class Materials:
    """Everything by the place in the timeline that asks for it; `used` holds the SHA-256 of every file and the label of what was made."""

    pictures: dict[Place, Pixels] = field(default_factory=dict)
    clips: dict[Place, ClipFile] = field(default_factory=dict)
    speech: dict[Place, Speech] = field(default_factory=dict)
    sounds: dict[Place, Sound] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)


def gather(script: Script, desk: Desk) -> Materials:
    """Read and make everything but the effects whose length depends on their scene; see `make_effect`.

    Raises:
        UsageError: a file is missing, a model is unknown or makes something else.
        DataError: a file cannot be read.
    """
    found = Materials()
    wanted = list(things(script))
    for number, (place, thing) in enumerate(wanted):
        desk.tick("gathering", number, len(wanted), thing.file or thing.prompt[:20])
        _take(script, desk, place, thing, found)
    desk.tick("gathering", len(wanted), len(wanted))
    return found


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


def make_effect(script: Script, desk: Desk, place: Place, effect: Effect, seconds: float, found: Materials) -> Sound:
    """An effect of this length, made by a model."""
    options = {"seconds": seconds, **effect.options}
    return _decoded_sound(script, place, _made(script, desk, place, effect, effect.prompt or effect.effect, options, found))


def _take(script: Script, desk: Desk, place: Place, thing: Thing, found: Materials) -> None:
    """Put one thing where it belongs."""
    kind = "music" if place == ("music",) else str(place[-1]) if isinstance(place[-1], str) else str(place[-2])
    if kind in ("narration", "voices"):
        assert isinstance(thing, Narration)
        found.speech[place] = _speech(script, desk, place, thing, found)
    elif kind == "picture":
        found.pictures[place] = _picture(script, place, _source(script, desk, place, thing, found))
    elif kind == "clip":
        source = _source(script, desk, place, thing, found)
        try:
            about = videos.probe(source.data if isinstance(source, Media) else source)
        except DataError as error:
            raise script.at(place, error) from None
        found.clips[place] = ClipFile(source.data if isinstance(source, Media) else source, about)
    else:
        found.sounds[place] = _decoded_sound(script, place, _source(script, desk, place, thing, found))


def _source(script: Script, desk: Desk, place: Place, thing: Thing, found: Materials) -> Media | Path:
    """The file, or the medium that a model made."""
    if thing.file:
        path = script.path(thing.file, place)
        found.used[thing.file] = file_sha256(path)
        return path
    return _made(script, desk, place, thing, thing.prompt, thing.options, found)


def _made(script: Script, desk: Desk, place: Place, thing: Thing, prompt: str, options: Mapping[str, Any], found: Materials) -> Media:
    """What a model makes: its first part that is no text."""
    content = _content(script, desk, place, thing, prompt, options)
    media = next((part for part in content.parts if isinstance(part, Media)), None)
    if media is None:
        raise script.at(place, UsageError("the model {model} made text, which cannot be used here", model=content.label.model))
    found.used[f"{content.label.model}: {prompt}"] = hashlib.sha256(media.data).hexdigest()
    return media


def _content(script: Script, desk: Desk, place: Place, thing: Thing, prompt: str, options: Mapping[str, Any]) -> Content:
    name = thing.model or thing._default_model()
    try:
        contents = desk.load(name).generate(prompt, seed=thing.seed, **options)
    except MissingExtra:
        raise
    except MiaobiError as error:
        raise script.at(place, error) from None
    return contents[0]


def _picture(script: Script, place: Place, source: Media | Path) -> Pixels:
    try:
        return pictures.decode(source.data if isinstance(source, Media) else source.read_bytes())
    except DataError as error:
        raise script.at(place, error) from None


def _decoded_sound(script: Script, place: Place, source: Media | Path) -> Sound:
    """A sound; a score is played by the instruments that come along."""
    data = source.data if isinstance(source, Media) else source.read_bytes()
    score = source.modality is Modality.MUSIC if isinstance(source, Media) else source.suffix.lower() in MIDI
    try:
        if score:
            from miaobi.engine import synth

            return synth.render(data)
        return sounds.decode(data)
    except DataError as error:
        raise script.at(place, error) from None


def _speech(script: Script, desk: Desk, place: Place, voice: Narration, found: Materials) -> Speech:
    """A recording, or the words read by a model."""
    if voice.file:
        return Speech(_decoded_sound(script, place, _source(script, desk, place, voice, found)))
    if not voice.text.strip():
        raise script.at(place, UsageError("the narration has no words"))
    options = {**({"voice": voice.voice} if voice.voice else {}), "speed": voice.speed, **voice.options}
    content = _content(script, desk, place, voice, voice.text, options)
    media = next((part for part in content.parts if isinstance(part, Media)), None)
    if media is None:
        raise script.at(place, UsageError("the model {model} made text, which cannot be used here", model=content.label.model))
    found.used[f"{content.label.model}: {voice.text}"] = hashlib.sha256(media.data).hexdigest()
    return Speech(_decoded_sound(script, place, media), _times(content.label.notes))


def _times(notes: Mapping[str, Any] = NOTHING) -> tuple[tuple[str, float, float], ...]:
    """Word times as the narrator's label tells them."""
    return tuple((str(word), float(start), float(end)) for word, start, end in notes.get("words", ()))
