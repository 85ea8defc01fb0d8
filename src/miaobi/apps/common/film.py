"""From a timeline to a labelled film: everything gathered, planned, mixed and drawn; the same timeline gives the same bytes.

The frames go to the encoder one by one and the sound two seconds at a time, so a film of any length needs the memory of the scenes that
are seen at once. The film takes its final name when it is whole and its label has been read back. Until then what models made and every
eight seconds of frames are kept beside it (see `apps.common.parts`): after an interruption the same command goes on from there, and gives
the bytes of an unbroken run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from miaobi.apps.common import cues
from miaobi.apps.common.fonts import Fonts
from miaobi.apps.common.lettering import Overlay
from miaobi.apps.common.materials import Gathering, Materials, gather, picture_of
from miaobi.apps.common.mixing import mix
from miaobi.apps.common.painters import APPEAR, Painter, Stage, painter, words
from miaobi.apps.common.parts import Parts
from miaobi.apps.common.plan import Noise, Plan, given_cues, plan, repeats
from miaobi.apps.common.script import Script
from miaobi.apps.common.timeline import Transition
from miaobi.apps.common.transitions import between
from miaobi.core.apps import Desk
from miaobi.core.artifact import explain_os_errors
from miaobi.core.errors import DataError, unknown
from miaobi.core.types import NOTHING, Content, Label, Media, Modality, Request
from miaobi.data import videos
from miaobi.data.pictures import Pixels, colour, rgba
from miaobi.data.recordings import Recording
from miaobi.data.subtitles import Cue
from miaobi.data.video_writer import CONTAINERS
from miaobi.engine import generate
from miaobi.trust import label, mark
from miaobi.trust.stored import Stored

DISSOLVE = Transition(kind="dissolve")
DRAFT_FPS = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """What was made."""

    path: Path
    label: Label
    seconds: float
    num_frames: int
    size: tuple[int, int]
    cues: tuple[Cue, ...]
    subtitles: tuple[Path, ...]
    starts: tuple[float, ...]  # of the scenes, in seconds

    def content(self) -> Content:
        """The film as a content, its bytes held in memory."""
        media = Media(
            modality=Modality.VIDEO, mime=videos.MIMES[self.path.suffix.lower()], data=self.path.read_bytes(), name=self.path.name
        )
        return generate.restored((media,), self.label)


def render(script: Script, out: Path, desk: Desk, *, app: str = "film", options: Mapping[str, Any] = NOTHING, created: str = "") -> Film:
    """Make the film of a timeline at `out` (.mp4 or .webm), and its subtitles beside it.

    `app` and `options` go into its label: who made it, and how.

    Raises:
        UsageError: something in the timeline that cannot be, by line and field.
        DataError: a file that it names cannot be read.
        MissingExtra: a package is not installed.
        MiaobiError: the disk is full, or no permission.
        Busy: another process is making the same film.
    """
    check_target(out)
    fonts = Fonts.named(script.timeline.font)
    given_cues(script)  # they can be wrong before anything is read aloud
    with explain_os_errors(out), Parts.of(out, desk) as parts:
        materials = gather(script, desk, parts)
        planned = plan(script, materials)
        _tell_missing_letters(script, planned, fonts, desk)
        sound = _sound(script, materials, planned, desk, parts)
        bare = parts.folder / f"film{out.suffix.lower()}"
        frames_folder = parts.keyed("frames", _decides(script, materials, planned, fonts, bare))
        _write(script, materials, planned, Stage(script.timeline.size, planned.fps, fonts), sound, bare, desk, frames_folder)
        written = _label(script, materials, planned, bare, app=app, options=options, created=created)
        label.write_stored(bare, out, written, videos.MIMES[bare.suffix])
    return Film(
        path=out,
        label=written,
        seconds=planned.seconds,
        num_frames=planned.num_frames,
        size=script.timeline.size,
        cues=planned.cues,
        subtitles=_subtitles(script, planned, out),
        starts=tuple(span.start / planned.fps for span in planned.spans),
    )


def _decides(script: Script, materials: Materials, planned: Plan, fonts: Fonts, bare: Path) -> object:
    """All that frames depend on, as plain values."""
    given = script.timeline.model_dump(mode="json")
    made = [written.content_sha256 for written in materials.made]
    letters = [[path.name, path.stat().st_size] for path in fonts.paths]
    mark = mark_language(script, planned)
    times = [*map(dataclasses.astuple, planned.spans), *map(dataclasses.astuple, planned.cues)]
    return [given, materials.used, made, times, letters, mark, bare.name, videos.encoder_version()]


def _label(script: Script, materials: Materials, planned: Plan, film: Path, *, app: str, options: Mapping[str, Any], created: str) -> Label:
    """A label that holds the timeline and the hashes of everything that went into the film."""
    request = Request.of(script.text, files=dict(sorted(materials.used.items())), **options)
    language = mark_language(script, planned)
    words = mark.describe(language, script.timeline.mark.corner) if language else ""
    mime = videos.MIMES[film.suffix]
    return generate.assembled_file(film, materials.made, mime=mime, app=app, request=request, created=created, mark=words)


def draft(script: Script) -> Script:
    """The same film, small and coarse."""
    timeline = script.timeline
    width, height = (max(32, side // 4 * 2) for side in timeline.size)
    return dataclasses.replace(script, timeline=timeline.model_copy(update={"size": (width, height), "fps": min(timeline.fps, DRAFT_FPS)}))


def check_target(out: Path) -> None:
    """Refuse a file ending that no film has before anything takes its time."""
    if videos.MIMES.get(out.suffix.lower()) not in CONTAINERS:
        raise unknown("film format", out.suffix, [suffix for suffix, mime in videos.MIMES.items() if mime in CONTAINERS])


def frames(script: Script, materials: Materials, planned: Plan, stage: Stage, *, first: int = 0) -> Iterator[Pixels]:
    """Every frame of the film from number `first` on, with its words and its visible mark."""
    timeline = script.timeline
    blank = np.full((stage.size[1], stage.size[0], 3), colour(timeline.background), np.uint8)
    overlays = _Overlays(script, planned, stage)
    open_scenes: dict[int, Painter] = {}
    for number in range(first, planned.num_frames):
        seen = [index for index, span in enumerate(planned.spans) if span.start <= number < span.end]
        for index in seen:
            if index not in open_scenes:
                open_scenes[index] = _painter(script, materials, planned, index, stage, number)
        open_scenes = {index: open_scenes[index] for index in seen}
        drawn = [_scene(script, planned, index, number, open_scenes[index], stage, overlays) for index in seen]
        frame = drawn[0]
        if len(drawn) > 1:
            into, span = timeline.scenes[seen[1]].transition, planned.spans[seen[1]]
            frame = between(drawn[0], drawn[1], into, share=(number - span.start + 1) / (span.overlap + 1), background=blank)
        yield overlays.onto(_edges(script, planned, frame, number, blank), number)


def _painter(script: Script, materials: Materials, planned: Plan, index: int, stage: Stage, number: int) -> Painter:
    scene, clip = script.timeline.scenes[index], materials.clips.get(("scenes", index, "clip"))
    picture = materials.pictures.get(("scenes", index, "picture"))
    return painter(
        scene,
        stage,
        planned.spans[index].frames,
        background=script.timeline.background,
        picture=None if picture is None else picture_of(picture, stage.size),
        clip=clip,
        repeat=clip is not None and repeats(scene, clip),
        first=number - planned.spans[index].start,
    )


def _scene(script: Script, planned: Plan, index: int, number: int, drawer: Painter, stage: Stage, overlays: _Overlays) -> Pixels:
    """A scene's frame with its caption, which appears and goes with it."""
    at = number - planned.spans[index].start
    frame = drawer.frame(at)
    caption = overlays.caption(index)
    if caption is not None:
        caption.onto(frame, (at / stage.fps) / APPEAR)
    return frame


def _edges(script: Script, planned: Plan, frame: Pixels, number: int, blank: Pixels) -> Pixels:
    """The film's first frames come out of the background when its first scene has a transition, its last ones go back to it."""
    first, ending = script.timeline.scenes[0].transition, script.timeline.ending
    rising = round(first.seconds * planned.fps) if first.kind != "cut" else 0
    falling = round(ending.seconds * planned.fps) if ending.kind != "cut" else 0
    left = planned.num_frames - 1 - number
    if number < rising:
        frame = between(blank, frame, DISSOLVE if first.kind == "fade" else first, share=number / rising, background=blank)
    if left < falling:
        frame = between(blank, frame, DISSOLVE, share=left / falling, background=blank)
    return frame


class _Overlays:
    """Words that lie over scenes: drawn once, when they are first seen."""

    def __init__(self, script: Script, planned: Plan, stage: Stage) -> None:
        self.script, self.planned, self.stage = script, planned, stage
        self.captions: dict[int, Overlay | None] = {}
        self.shown: dict[int, Overlay] = {}
        self.mark = mark_language(script, planned)

    def caption(self, index: int) -> Overlay | None:
        """The words over a scene's picture."""
        if index not in self.captions:
            given = self.script.timeline.scenes[index].caption
            self.captions[index] = (
                None if given is None else words(given.text, self.stage, size=given.size, ink=given.colour, where=given.where)
            )
        return self.captions[index]

    def onto(self, frame: Pixels, number: int) -> Pixels:
        """The frame with its subtitle, and in the opening with the mark."""
        timeline = self.script.timeline
        middle = (number + 0.5) / self.planned.fps
        if timeline.subtitles.burn:
            index = next((index for index, cue in enumerate(self.planned.cues) if cue.start <= middle < cue.end), None)
            if index is not None:
                self._subtitle(index).onto(frame)
        if self.mark and number < timeline.mark.seconds * self.planned.fps:
            frame = mark.draw(rgba(frame), self.mark, corner=timeline.mark.corner)[..., :3]
        return frame

    def _subtitle(self, index: int) -> Overlay:
        if index not in self.shown:
            style = self.script.timeline.subtitles
            self.shown = {index: words(self.planned.cues[index].text, self.stage, size=style.size, ink=style.colour, where=style.where)}
        return self.shown[index]


def mark_language(script: Script, planned: Plan | None = None) -> str:
    """The language of the visible mark: Chinese for a film with Chinese words; empty for none."""
    wanted = script.timeline.mark.language
    if wanted == "auto":
        return label.visible_language(" ".join(_texts(script, planned)))
    return "" if wanted == "none" else wanted


def _texts(script: Script, planned: Plan | None) -> Iterator[str]:
    """Every word that is seen."""
    for scene in script.timeline.scenes:
        if scene.card:
            yield from (scene.card.title, scene.card.text)
        if scene.caption:
            yield scene.caption.text
        if scene.narration:
            yield scene.narration.words
    yield from (voice.words for voice in script.timeline.voices)
    yield from (cue.text for cue in planned.cues) if planned else ()


def _tell_missing_letters(script: Script, planned: Plan, fonts: Fonts, desk: Desk) -> None:
    missing = fonts.missing("".join(_texts(script, planned)))
    if missing:
        desk.news(
            "no font here has {letters}: empty boxes stand for them. Install a font that has them, or name one (font:)",
            letters=missing,
        )


def _sound(script: Script, materials: Materials, planned: Plan, desk: Desk, parts: Parts) -> Recording | None:
    """Everything that is heard, mixed."""
    noises: list[tuple[Noise, Recording]] = []
    for noise in planned.noises:
        if noise.effect is None:
            clip = materials.clips[noise.place]
            begin = script.timeline.scenes[int(noise.place[1])].begin
            try:
                noises.append((noise, Recording.of(Stored.at(clip.path)).between(begin, begin + noise.seconds)))
            except DataError as error:
                raise script.at(noise.place, error) from None
        elif noise.place in materials.sounds:
            noises.append((noise, materials.sounds[noise.place]))
        else:
            noises.append((noise, Gathering(script, desk, parts, materials).effect(noise.place, noise.effect, noise.seconds)))
    music = script.timeline.music
    desk.tick("mixing", 0, 1)
    played = (music, materials.sounds["music",]) if music else None
    mixed = mix(planned, noises, music=played, lufs=script.timeline.loudness, room=parts.folder)
    desk.tick("mixing", 1, 1)
    return mixed


def _write(
    script: Script, materials: Materials, planned: Plan, stage: Stage, sound: Recording | None, path: Path, desk: Desk, folder: Path
) -> None:
    """The film without its label; `folder` keeps its frames until it is whole."""
    timeline = script.timeline
    with videos.Writer(path, size=timeline.size, fps=timeline.fps, quality=timeline.quality, parts=folder) as writer:
        there = writer.num_frames
        if there:
            desk.news("going on: {there:,} of {total:,} frames are there already", there=there, total=planned.num_frames)
        desk.tick("rendering", there, planned.num_frames)
        for number, frame in enumerate(frames(script, materials, planned, stage, first=there), there + 1):
            writer.add(frame)
            desk.tick("rendering", number, planned.num_frames)
        if sound is not None:
            writer.add_sound(sound)


def _subtitles(script: Script, planned: Plan, out: Path) -> tuple[Path, ...]:
    """The words as .srt and .vtt files beside the film."""
    paths = tuple(out.with_suffix(f".{kind}") for kind in script.timeline.subtitles.files) if planned.cues else ()
    for path in paths:
        cues.write(path, planned.cues)
    return paths


def to_dict(film: Film) -> dict[str, Any]:
    """What the command line tells."""
    return {
        "film": str(film.path),
        "seconds": round(film.seconds, 3),
        "frames": film.num_frames,
        "size": list(film.size),
        "subtitles": [str(path) for path in film.subtitles],
        "scenes": [round(start, 3) for start in film.starts],
        "cues": [dataclasses.asdict(cue) for cue in film.cues],
    }
