"""The film of a work: its timeline is written down, so that a person can change it and render it again, and rendered.

With a voice a scene lasts as long as its words; without one as long as reading them takes. Either way the whole is stretched to at least
fifteen seconds, and pauses shrink before it passes forty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from miaobi.apps.create.chosen import makes_effects
from miaobi.apps.create.media import spoken
from miaobi.apps.create.pictures import size_of
from miaobi.apps.create.work import Poem, Work

if TYPE_CHECKING:
    from miaobi.apps.create.studio import Made

SHORTEST, LONGEST = 15.0, 40.0  # seconds
DISSOLVE = 0.6
DRAFT_FPS = 12
BEFORE_VOICE, AFTER_VOICE, COVER_SECONDS = 0.45, 0.9, 2.6
MOVES = ("zoom-in", "pan-right", "zoom-out", "pan-left")
LETTERS_A_SECOND = {"zh": 3.2, "en": 13.0}  # of a reader who also looks at the picture
FILES = ("film.mp4", "film.srt", "film.vtt")


def film(work: Work, poem: Poem, pictures: Sequence[Made], music: Made | None, voices: Mapping[int, Made]) -> Made | None:
    """The film with its subtitles; see `apps.common.film.render`."""
    timeline = timeline_of(work, poem, pictures, music, voices)
    hashes = {name: sha for made in (*pictures, *([music] if music else []), *voices.values()) for name, sha in made.files.items()}
    own = work.own("film")
    inputs = {"yours": True} if own else {"timeline": timeline, "files": hashes}
    return work.part("film", "film", inputs, lambda: _own(work) if own else _rendered(work, timeline))


def _own(work: Work) -> tuple[Sequence[str], Mapping[str, Any]]:
    from miaobi.core.artifact import write_bytes
    from miaobi.data import videos

    own = work.own("film")
    assert own is not None
    name = f"film{own.suffix.lower()}"
    write_bytes(work.studio.path(name), own.read_bytes())
    return [name], {"by": "you", "length": round(videos.probe(own).seconds, 2)}


def _rendered(work: Work, timeline: Mapping[str, Any]) -> tuple[Sequence[str], Mapping[str, Any]]:
    import yaml

    from miaobi.apps.common.film import render
    from miaobi.apps.common.script import Script
    from miaobi.core.artifact import write_text

    path = work.studio.path("timeline.yaml")
    write_text(path, yaml.safe_dump(dict(timeline), allow_unicode=True, sort_keys=False))
    made = render(Script.load(path), work.studio.path(FILES[0]), work.desk, app="create")
    work.tell(made.content(), FILES[0])
    subtitles = [each.name for each in made.subtitles]
    about = {
        "by": "create",
        "length": round(made.seconds, 2),
        "starts": [round(start, 2) for start in made.starts],
        "size": list(made.size),
    }
    return [FILES[0], *subtitles, path.name], about


def timeline_of(work: Work, poem: Poem, pictures: Sequence[Made], music: Made | None, voices: Mapping[int, Made]) -> dict[str, Any]:
    """The timeline as plain values; its files are named from the work's folder."""
    lengths = durations(poem, {number: float(made.about["length"]) for number, made in voices.items()})
    files = {made.part: next(name for name in made.files if name.startswith(("parts/scene-", "parts/cover"))) for made in pictures}
    shown = [("cover", poem.title), *((f"picture-{number}", spoken(scene, poem.language)) for number, scene in enumerate(poem.scenes, 1))]
    scenes: list[dict[str, Any]] = []
    for number, (part, text) in enumerate(shown):
        scene: dict[str, Any] = {"picture": files[part], "seconds": lengths[number], "move": {"kind": MOVES[number % 4], "amount": 0.08}}
        if number:
            scene["transition"] = {"kind": "dissolve", "seconds": DISSOLVE}
        if number in voices:
            # the cover shows its own words
            scene["narration"] = {"file": voices[number].file, "text": text, "at": BEFORE_VOICE, **({} if number else {"subtitle": ""})}
        scenes.append(scene)
    found: dict[str, Any] = {"version": 1, "title": poem.title, "size": list(size_of(work.order)), "scenes": scenes}
    if work.order.draft:
        found["fps"] = DRAFT_FPS
    if music is not None:
        found["music"] = {"file": next(name for name in music.files if name.startswith("music.")), "volume": 0 if voices else 6}
    if poem.mood.sound and makes_effects():
        found["effects"] = [{"effect": poem.mood.sound, "seconds": round(total(lengths), 2), "volume": -6, "fade": 1.5}]
    cues = _cues(poem, lengths, voices)
    found["subtitles"] = {"size": 0.064, **({"cues": cues} if cues else {})}
    found["mark"] = work.mark or "none"
    return found


def durations(poem: Poem, voices: Mapping[int, float]) -> list[float]:
    """Seconds of the cover and of each scene, transitions included."""
    texts = [poem.title, *(spoken(scene, poem.language) for scene in poem.scenes)]
    found = []
    for number, text in enumerate(texts):
        if number in voices:
            least = BEFORE_VOICE + voices[number] + (0 if number == len(texts) - 1 else DISSOLVE)
            found.append(max(COVER_SECONDS, least + AFTER_VOICE))
        else:
            found.append(max(COVER_SECONDS, 1.6 + len(text) / LETTERS_A_SECOND[poem.language]) if number else COVER_SECONDS + 0.4)
    whole = total(found)
    if whole < SHORTEST:
        found = [seconds * (SHORTEST + 0.5) / whole for seconds in found]
    elif whole > LONGEST:
        most = [seconds - (AFTER_VOICE - 0.1 if number in voices else 0) for number, seconds in enumerate(found)]
        share = max(0.0, min(1.0, (LONGEST - 0.5 - total(most)) / max(1e-6, whole - total(most))))
        found = [low + share * (seconds - low) for low, seconds in zip(most, found)]
        if not voices:
            found = [max(1.8, seconds * (LONGEST - 0.5) / whole) for seconds in found]
    return [round(seconds, 2) for seconds in found]


def total(lengths: Sequence[float]) -> float:
    """Of the whole film: transitions lie over two scenes."""
    return sum(lengths) - DISSOLVE * (len(lengths) - 1)


def _cues(poem: Poem, lengths: Sequence[float], voices: Mapping[int, Made]) -> list[dict[str, Any]]:
    """The words of scenes that nobody reads, for as long as their picture is seen alone."""
    found, start = [], 0.0
    for number, seconds in enumerate(lengths):
        if number and number not in voices:
            text = spoken(poem.scenes[number - 1], poem.language)
            found.append({"start": round(start + DISSOLVE / 2, 2), "end": round(start + seconds - DISSOLVE / 2, 2), "text": text})
        start += seconds - DISSOLVE
    return found
