"""The stages of a work, one after the other: each says what decides it, and how it is made when that has changed.

poem → scenes → pictures, music, narration → film → page. What a missing model or package would make is left out with a reason, since a
poem with pictures is better than no work; what a person asked for by name must be there.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from miaobi.apps.create import replaced
from miaobi.apps.create.chosen import Chosen, writer
from miaobi.apps.create.moods import Mood, mood_of
from miaobi.apps.create.schema import NONE
from miaobi.apps.create.studio import Made, Studio, key_of
from miaobi.apps.create.words import Scene, how_visible, language_of, scenes, verses
from miaobi.core.apps import Desk, LoadedModel
from miaobi.core.errors import MissingExtra, UsageError
from miaobi.core.language import tr
from miaobi.core.types import Content, Media

BEFORE: Mapping[str, frozenset[str]] = {  # what each stage needs
    "poem": frozenset(),
    "scenes": frozenset({"poem"}),
    "picture": frozenset({"poem", "scenes"}),
    "music": frozenset({"poem", "scenes"}),
    "narration": frozenset({"poem", "scenes"}),
    "film": frozenset({"poem", "scenes", "picture", "music", "narration"}),
    "page": frozenset({"poem", "scenes", "picture", "music", "narration", "film"}),
}
STAGES = tuple(BEFORE)
SECONDS = {"poem": 6, "scenes": 0, "picture": 4, "music": 12, "narration": 5, "film": 35, "page": 1}  # of a part on two cores, about
POEMS = 3  # so many are written; the one whose lines show most is kept
Make = Callable[[], tuple[Sequence[str], Mapping[str, Any]]]  # the names of the files written, and what to remember


@dataclass(frozen=True, slots=True, kw_only=True)
class Poem:
    """The poem of the work, and what it leads to."""

    title: str
    text: str
    language: str
    mood: Mood
    scenes: tuple[Scene, ...]


class Work:
    """A work in its folder while it is made."""

    def __init__(self, studio: Studio, desk: Desk) -> None:
        self.studio, self.desk, self.order = studio, desk, studio.order
        self.wanted: frozenset[str] = frozenset(self.order.only) or frozenset(STAGES)
        self.needed: frozenset[str] = self.wanted.union(*(BEFORE[stage] for stage in self.wanted))
        for stage in self.wanted:
            studio.left_out.pop(stage, None)
        self.made_now: list[str] = []
        self.contents: dict[str, Content] = {}  # by file, what was made in this process
        self._models: dict[str, LoadedModel] = {}

    def part(self, part: str, stage: str, inputs: Mapping[str, Any], make: Make) -> Made | None:
        """A part of the work: as it is, when nothing that decides it has changed, else made. None where it is neither there nor needed."""
        own = self.own(part)
        if own is not None:
            inputs = {"replaced": hashlib.sha256(own.read_bytes()).hexdigest(), **inputs}
        key, known = key_of(stage, inputs), self.studio.known(part)
        if known is not None and (known.key == key or stage not in self.wanted):
            return known
        if stage not in self.needed:
            return None
        for name in self.studio.set_aside(part):
            self.desk.news("your changed file is kept as {name}; to use it: --replace {stage}=FILE", name=name, stage=stage)
        self.studio.begin(part)
        began = time.monotonic()
        try:
            files, about = make()
        except (MissingExtra, LeftOut) as reason:
            self.leave_out(stage, str(reason))
            return None
        from miaobi.core.artifact import file_sha256

        hashes = {name: file_sha256(self.studio.path(name)) for name in files}
        self.made_now.append(part)
        return self.studio.keep(
            Made(
                part=part, stage=stage, key=key, files=hashes, seconds=round(time.monotonic() - began, 2), about={**about, "inputs": inputs}
            )
        )

    def own(self, part: str) -> Path | None:
        """The person's file for a part, if there is one."""
        file = replaced.of(self.order.replace, part)
        return self.studio.path(file) if file else None

    def leave_out(self, stage: str, reason: str) -> None:
        """Remember why a stage is missing, and tell the person once."""
        if stage not in self.needed:
            return
        self.desk.news("left out: {stage} ({reason})", stage=tr(stage), reason=reason)
        self.studio.left_out[stage] = reason

    def write(self, content: Content, name: str, *, part: Media | None = None) -> str:
        """Write a labelled file of the work; returns its name."""
        from miaobi.trust import label

        label.write(content, self.studio.path(name), part=part)
        self.tell(content, name)
        return name

    def tell(self, content: Content, name: str) -> None:
        """A labelled file of the work is there."""
        self.contents[name] = content
        self.desk.made(content)

    def load(self, chosen: Chosen) -> LoadedModel:
        """The model, loaded once."""
        if chosen.name not in self._models:
            self._models[chosen.name] = self.desk.load(chosen.name)
        return self._models[chosen.name]

    def seed(self, part: str) -> int:
        """The seed of a part: the work's, and no other part's."""
        return int.from_bytes(hashlib.sha256(f"{self.order.seed}/{part}".encode()).digest()[:4], "big") >> 1

    def tick(self, stage: str, done: int, total: int) -> None:
        """How far a stage is, and how long the whole takes yet."""
        self.desk.tick(stage, done, total, tr("about {seconds} s left in all", seconds=self.seconds_left(stage, done)))

    def seconds_left(self, stage: str, done: int) -> int:
        """An estimate from what such parts took before, in this folder or on our machine; stages that are done count nothing."""
        scenes_here = sum(made.stage == "narration" for made in self.studio.parts.values()) or 5
        counts = {"picture": scenes_here, "narration": scenes_here}
        later = STAGES[STAGES.index(stage) :]
        left = 0.0
        for each in later:
            if each in self.needed and each not in self.studio.left_out:
                left += SECONDS[each] * max(0, counts.get(each, 1) - (done if each == stage else 0))
        return round(left)

    @cached_property
    def language(self) -> str:
        """Of the poem."""
        own = self.order.language
        return own if own != "auto" else language_of(self.order.brief)

    @property
    def mark(self) -> str:
        """The language of the visible marks; empty for none."""
        return {"auto": self.language, NONE: ""}.get(self.order.mark, self.order.mark)

    # ------------------------------------------------------------ poem and scenes

    def poem(self) -> Poem:
        """The poem, its scenes and its mood."""
        own = self.own("poem")
        chosen = None if own else writer(self.order, self.language)
        brief = {"brief": self.order.brief, "language": self.language, "form": self.order.form, "seed": self.order.seed}
        made = self.part("poem", "poem", {**brief, **(chosen.inputs if chosen else {})}, lambda: self._write_poem(chosen))
        assert made is not None, "a poem is always needed"
        text = str(made.about["text"])
        language = language_of(text)
        poem = Poem(
            title=str(made.about["title"]),
            text=text,
            language=language,
            mood=mood_of(self.order.brief, text),
            scenes=tuple(scenes(verses(text, language), self.order.brief, language)),
        )
        self.part("scenes", "scenes", {"poem": text, "title": poem.title, "mood": poem.mood.name}, lambda: self._write_scenes(poem))
        return poem

    def _write_poem(self, chosen: Chosen | None) -> tuple[Sequence[str], Mapping[str, Any]]:
        from miaobi.core.artifact import write_text

        self.tick("poem", 0, 1)
        title = title_of(self.order.brief)
        if chosen is None:
            own = self.own("poem")
            assert own is not None
            text = replaced.text(own.read_bytes())
            write_text(self.studio.path("poem.txt"), text + "\n")
            return ["poem.txt"], {"title": title, "text": text, "by": "you"}
        model = self.load(chosen)
        options = chosen.options(form=self.order.form)
        contents = model.generate(self.order.brief, n=POEMS, seed=self.seed("poem"), **options)
        best = max(contents, key=lambda content: how_visible(content.text, language_of(content.text)))
        if not best.text.strip():
            raise UsageError("the model {model} wrote nothing; choose another text model or seed", model=chosen.name)
        self.write(best, "poem.md")
        self.tick("poem", 1, 1)
        return ["poem.md"], {"title": title, "text": best.text.strip(), **by(best)}

    def _write_scenes(self, poem: Poem) -> tuple[Sequence[str], Mapping[str, Any]]:
        import json

        from miaobi.core.artifact import write_text

        rows = [
            {"lines": list(scene.lines), "picture": {"en": scene.picture.en, "zh": scene.picture.zh}, "word": scene.word}
            for scene in poem.scenes
        ]
        values = {"title": poem.title, "language": poem.language, "mood": poem.mood.name, "scenes": rows}
        write_text(self.studio.path("scenes.json"), json.dumps(values, ensure_ascii=False, indent=2) + "\n")
        return ["scenes.json"], {"mood": poem.mood.name}


class LeftOut(Exception):
    """Why a part cannot be made, in the person's language."""


def by(content: Content) -> dict[str, Any]:
    """Who made it, for the manifest."""
    label = content.label
    return {"by": label.model, "source": label.source, "seed": label.seed, "content_sha256": label.content_sha256}


def title_of(brief: str) -> str:
    """What the work is called: the brief in one line, in capitals as English titles have them."""
    line = " ".join(brief.split())
    if language_of(line) == "en":
        small = {"a", "an", "the", "and", "but", "or", "of", "in", "on", "at", "to", "by", "for", "from", "with", "into", "over", "as"}
        words = [word if place and word in small else word[:1].upper() + word[1:] for place, word in enumerate(line.split())]
        line = " ".join(words)
    return line if len(line) <= 60 else line[:59].rstrip() + "…"
