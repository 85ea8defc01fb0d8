"""When everything of a film happens: scenes in whole frames, voices, effects and words in seconds.

A scene lasts as long as it says, or as its narration or its clip takes. A transition belongs to both of its scenes, which overlap for its
time. What cannot be (a voice over another one, two transitions that are longer than their scene) is told by line and field.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from miaobi.apps.common.cues import columns_for, of_narration, read
from miaobi.apps.common.materials import ClipFile, Materials, Speech
from miaobi.apps.common.script import Place, Script
from miaobi.apps.common.timeline import Effect, Narration, Scene
from miaobi.core.errors import MiaobiError, UsageError
from miaobi.data.subtitles import LINGER, Cue
from miaobi.data.videos import LOOPS

USUAL = 4.0  # seconds of a scene that nothing sets
AFTER = 0.6  # seconds that a scene stays when its narration has ended
LONGEST = 3 * 3600  # seconds of a film
WIDE = 0.86  # the share of the frame's width that subtitles take


@dataclass(frozen=True, slots=True)
class Span:
    """The frames of a scene, `start` to before `end`; for the first `overlap` of them the scene before is seen, too."""

    start: int
    end: int
    overlap: int

    @property
    def frames(self) -> int:
        """How many."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Voice:
    """A narration and when it begins, in seconds."""

    place: Place
    start: float
    narration: Narration
    speech: Speech

    @property
    def end(self) -> float:
        """When it is over."""
        return self.start + self.speech.sound.seconds


@dataclass(frozen=True, slots=True)
class Noise:
    """An effect, or a clip's own sound: when it begins, how long it may last, how loud and how softly it comes and goes."""

    place: Place
    start: float
    seconds: float
    volume: float
    fade: float
    effect: Effect | None = None  # None: the sound of a clip, which keeps its own loudness


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole film."""

    spans: tuple[Span, ...]
    fps: float
    voices: tuple[Voice, ...]
    noises: tuple[Noise, ...]
    cues: tuple[Cue, ...]

    @property
    def num_frames(self) -> int:
        """Of the film."""
        return self.spans[-1].end

    @property
    def seconds(self) -> float:
        """Of the film."""
        return self.num_frames / self.fps


def plan(script: Script, materials: Materials) -> Plan:
    """Every scene, voice, effect and cue at its time.

    Raises:
        UsageError: something overlaps that must not, or lies outside of its scene or of the film.
    """
    spans = _spans(script, materials)
    fps = script.timeline.fps
    voices = _voices(script, materials, spans)
    noises = _noises(script, materials, spans)
    made = Plan(spans, fps, voices, noises, ())
    return Plan(spans, fps, voices, noises, _cues(script, made))


def _spans(script: Script, materials: Materials) -> tuple[Span, ...]:
    fps, spans, end = script.timeline.fps, list[Span](), 0
    overlaps = [_overlap(script, number) for number in range(len(script.timeline.scenes))] + [0]
    for number, scene in enumerate(script.timeline.scenes):
        place: Place = ("scenes", number)
        frames = max(1, round(_seconds(script, materials, place, scene, overlaps[number + 1] / fps) * fps))
        if overlaps[number] + overlaps[number + 1] > frames:
            raise script.at(
                ("scenes", number if overlaps[number] else number + 1, "transition"),
                UsageError(
                    "the transitions into this scene and out of it take {both:.2f} s together, and the scene lasts {seconds:.2f} s",
                    both=(overlaps[number] + overlaps[number + 1]) / fps,
                    seconds=frames / fps,
                ),
            )
        start = end - overlaps[number]
        spans.append(Span(start, start + frames, overlaps[number]))
        end = start + frames
        if end / fps > LONGEST:
            raise script.at(place, UsageError("the film would be longer than {hours} hours here", hours=LONGEST // 3600))
    return tuple(spans)


def _overlap(script: Script, number: int) -> int:
    """Frames that a scene shares with the one before; the first scene comes out of the background alone."""
    transition = script.timeline.scenes[number].transition
    return 0 if number == 0 or transition.kind == "cut" else max(1, round(transition.seconds * script.timeline.fps))


def _seconds(script: Script, materials: Materials, place: Place, scene: Scene, after: float) -> float:
    """How long a scene lasts; `after` are the seconds of the transition out of it."""
    speech, clip = materials.speech.get((*place, "narration")), materials.clips.get((*place, "clip"))
    spoken = scene.narration.at + speech.sound.seconds if scene.narration and speech else 0.0
    if clip is not None and clip.about.seconds and scene.begin >= clip.about.seconds:
        raise script.at((*place, "begin"), UsageError("the clip lasts {seconds:.2f} s only", seconds=clip.about.seconds))
    if scene.seconds is not None:
        if spoken > scene.seconds + 0.01:
            raise script.at(
                (*place, "seconds"),
                UsageError(
                    "the narration ends {spoken:.2f} s after the scene's start, and the scene lasts {seconds:.2f} s. Leave `seconds` out",
                    spoken=spoken,
                    seconds=scene.seconds,
                ),
            )
        return scene.seconds
    shown = (clip.about.seconds - scene.begin) / scene.speed if clip is not None and clip.about.seconds else 0.0
    if clip is not None and repeats(scene, clip) and shown:
        shown = max(1, round(USUAL / shown)) * shown  # whole rounds, so that a loop does not jump
    still = AFTER / 2 + after if after else AFTER  # the last word is over before the transition begins
    return max(spoken + still if spoken else 0.0, shown) or USUAL


def repeats(scene: Scene, clip: ClipFile) -> bool:
    """Whether a clip begins again when it is over."""
    return scene.repeat if scene.repeat is not None else clip.about.mime in LOOPS


def _voices(script: Script, materials: Materials, spans: Sequence[Span]) -> tuple[Voice, ...]:
    """All narrations in order; no two at a time."""
    fps, found = script.timeline.fps, list[Voice]()
    for number, scene in enumerate(script.timeline.scenes):
        place: Place = ("scenes", number, "narration")
        if scene.narration is not None:
            found.append(Voice(place, spans[number].start / fps + scene.narration.at, scene.narration, materials.speech[place]))
    for index, narration in enumerate(script.timeline.voices):
        place = ("voices", index)
        found.append(Voice(place, narration.at, narration, materials.speech[place]))
    found.sort(key=lambda voice: voice.start)
    for before, after in itertools.pairwise(found):
        if after.start < before.end - 0.01:
            raise script.at(
                after.place,
                UsageError(
                    "this voice begins at {start:.2f} s, before the one at {other} has ended ({end:.2f} s)",
                    start=after.start,
                    end=before.end,
                    other=".".join(map(str, before.place)),
                ),
            )
    length = spans[-1].end / fps
    for voice in found:
        if voice.end > length + 0.01:
            raise script.at(
                voice.place, UsageError("this voice ends at {end:.2f} s, and the film lasts {seconds:.2f} s", end=voice.end, seconds=length)
            )
    return tuple(found)


def _noises(script: Script, materials: Materials, spans: Sequence[Span]) -> tuple[Noise, ...]:
    """Effects of scenes, effects of the film, and the sounds of clips."""
    fps, found = script.timeline.fps, list[Noise]()
    for number, scene in enumerate(script.timeline.scenes):
        start, seconds = spans[number].start / fps, spans[number].frames / fps
        for index, effect in enumerate(scene.effects):
            found.append(_noise(script, ("scenes", number, "effects", index), effect, start, seconds))
        clip = materials.clips.get(("scenes", number, "clip"))
        if clip is not None and clip.about.has_sound and scene.sound and scene.speed == 1:
            found.append(Noise(("scenes", number, "clip"), start, seconds, scene.volume, spans[number].overlap / fps))
    for index, effect in enumerate(script.timeline.effects):
        found.append(_noise(script, ("effects", index), effect, 0.0, spans[-1].end / fps))
    return tuple(found)


def _noise(script: Script, place: Place, effect: Effect, start: float, seconds: float) -> Noise:
    """An effect within `seconds` from `start` on."""
    if effect.at >= seconds:
        raise script.at((*place, "at"), UsageError("the effect would begin after {seconds:.2f} s, when all is over", seconds=seconds))
    return Noise(
        place, start + effect.at, min(effect.seconds or seconds - effect.at, seconds - effect.at), effect.volume, effect.fade, effect
    )


def _cues(script: Script, made: Plan) -> tuple[Cue, ...]:
    """The words of all voices and those given by hand, in order; no two at a time."""
    found = [(cue, voice.place) for voice in made.voices for cue in _of_voice(script, voice)]
    found += given_cues(script)
    found.sort(key=lambda pair: pair[0].start)
    shown = list[Cue]()
    for number, (cue, place) in enumerate(found):
        end = min(cue.end, made.seconds)
        if cue.start >= made.seconds:
            raise script.at(place, UsageError("these words begin at {start:.2f} s, after the film's end", start=cue.start))
        if number + 1 < len(found) and found[number + 1][0].start < end:
            after, other = found[number + 1]
            if end - after.start > LINGER + 0.01:
                raise script.at(other, UsageError("these words begin at {start:.2f} s, when others are still shown", start=after.start))
            end = after.start
        if end > cue.start:
            shown.append(Cue(round(cue.start, 3), round(end, 3), cue.text))
    return tuple(shown)


def _of_voice(script: Script, voice: Voice) -> list[Cue]:
    """What is shown while somebody speaks."""
    words, style = voice.narration.words, script.timeline.subtitles
    columns = columns_for(round(script.timeline.size[0] * WIDE), style.size * min(script.timeline.size), words)
    notes = voice.speech.notes if voice.narration.subtitle is None else {}
    return of_narration(words, notes, start=voice.start, seconds=voice.speech.sound.seconds, columns=columns)


def given_cues(script: Script) -> list[tuple[Cue, Place]]:
    """The cues that the timeline holds itself, or those of a file.

    Raises:
        UsageError: two of them overlap, or one ends before it begins; there is no such file.
        DataError: the file holds no cues, or is damaged.
    """
    place: Place = ("subtitles", "cues")
    given = script.timeline.subtitles.cues
    if isinstance(given, str):
        path = script.path(given, place)
        try:
            return [(cue, place) for cue in read(path)]
        except MiaobiError as error:
            raise script.at(place, error) from None
    end = 0.0
    for index, each in enumerate(given):
        if each.end <= each.start:
            raise script.at((*place, index), UsageError("these words end at {end:.2f} s, before they begin", end=each.end))
        if each.start < end - 0.01:
            raise script.at(
                (*place, index), UsageError("these words begin at {start:.2f} s, when others are still shown", start=each.start)
            )
        end = each.end
    return [(Cue(each.start, each.end, each.text), (*place, index)) for index, each in enumerate(given)]
