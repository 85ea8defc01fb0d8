"""A folder of pictures as something to measure, or to measure by: every picture below it, with the captions that lie beside.

Whoever made them; where captions are missing, a picture's own label gives the prompt and the style that were asked for, so a folder that
`miaobi generate` wrote is judged by them. Its contact sheet is no picture of the set: the label says that it shows others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from miaobi.core.errors import DataError
from miaobi.core.recipe import Source
from miaobi.core.types import NOTHING, Media, Record
from miaobi.data.readers import read
from miaobi.engine.gallery import is_picture
from miaobi.trust import containers, xmp

FEWEST = 2  # a set has a spread


def pictures_in(folder: Path) -> list[Record]:
    """The pictures below a folder, as records in the order of their names.

    Raises:
        DataError: no such folder, or fewer than two pictures in it.
    """
    if not folder.is_dir():
        raise DataError("there is no folder at {path}", path=folder)
    try:
        found = [record for record in read(Source(path=str(folder)), on_dropped=lambda dropped: None) if is_picture(record)]
    except DataError:  # an empty folder, or files that nobody can read
        found = []
    labelled = [(record, _label(record)) for record in found]
    pictures = [_asked(record, label) for record, label in labelled if "pictures" not in label.get("notes", ())]
    if len(pictures) < FEWEST:
        raise DataError(
            "{path} holds {count} pictures; at least {least} are needed to measure a set", path=folder, count=len(pictures), least=FEWEST
        )
    return pictures


def _label(record: Record) -> Mapping[str, Any]:
    """The label in the picture's file, as plain values; nothing where there is none."""
    [media] = [part for part in record.parts if isinstance(part, Media)][:1]
    try:
        return xmp.decode(containers.packets(media.data)).label
    except DataError:
        return NOTHING


def _asked(record: Record, label: Mapping[str, Any]) -> Record:
    """The record with the prompt of the label as its caption, and with its style, where it says nothing itself."""
    prompt, style = str(label.get("prompt") or ""), str(label.get("options", NOTHING).get("style") or "")
    language = "zh" if any("\u3400" <= letter <= "\u9fff" for letter in prompt) else "en"
    said: dict[str, Any] = {"caption": {language: [prompt]}} if prompt else {}
    said |= {"style": style} if style else {}
    return replace(record, meta={**said, **record.meta})
