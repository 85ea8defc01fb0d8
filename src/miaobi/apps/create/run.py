"""`miaobi create`: the stages in order, in a folder that remembers what is done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from miaobi.apps.create import film as filming
from miaobi.apps.create import media, page, replaced
from miaobi.apps.create.chosen import OF_STAGE, check
from miaobi.apps.create.schema import Inputs
from miaobi.apps.create.studio import MANIFEST, Studio, open_studio
from miaobi.apps.create.work import Work
from miaobi.core.apps import Desk


def run(inputs: Inputs, out: Path, desk: Desk, /) -> Mapping[str, Any]:
    """The work in the folder `out`; what is there already and has the same inputs stays.

    Raises:
        UsageError: an empty brief, an unknown model, style, voice or form, a replacement of the wrong kind, a folder with other files.
        Busy: another process works in the folder.
        MiaobiError: the disk is full, or no permission.
    """
    replaced.check({target: file for target, file in inputs.replace.items() if file})
    with open_studio(out, inputs) as studio:
        work = Work(studio, desk)
        check(work.order, work.needed | _asked(inputs), work.language)
        poem = work.poem()
        replaced.check_numbers(inputs.replace, len(poem.scenes))
        pictures = media.pictures(work, poem)
        music = media.music(work, poem)
        voices = media.narration(work, poem)
        whole = len(pictures) == len(poem.scenes) + 1
        film = filming.film(work, poem, pictures, music, voices) if whole else None
        shown = page.page(work, poem, pictures, music, film) if whole else None
        studio.save()
        return _told(studio, work, poem.title, poem.text, shown is not None)


def _asked(inputs: Inputs) -> set[str]:
    """The stages that the person says something about now: it is remembered, so it has to be right even where it is not needed yet."""
    return {stage for stage, fields in OF_STAGE.items() if inputs.model_fields_set.intersection(fields)}


def _told(studio: Studio, work: Work, title: str, text: str, shown: bool) -> dict[str, Any]:
    """What the command line tells: plain values."""
    film = studio.parts.get("film")
    return {
        "folder": str(studio.folder),
        "open": str(studio.path(page.PAGE)) if shown else "",
        "title": title,
        "poem": text,
        "seed": work.order.seed,
        "made": work.made_now,
        "left_out": dict(studio.left_out),
        "film_seconds": film.about.get("length") if film else None,
        "manifest": str(studio.path(MANIFEST)),
        "contents": work.contents,
        "files": sorted({name for made in studio.parts.values() for name in made.files}),
    }
