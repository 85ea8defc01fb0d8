"""A folder of pictures as something to measure, or to measure by: every picture below it, with the captions that lie beside.

Whoever made them; labelled files give the prompt and the style that were asked for, so a folder of `miaobi generate` is judged by them too.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from miaobi.core.errors import DataError
from miaobi.core.recipe import Source
from miaobi.core.types import Record
from miaobi.data.readers import read
from miaobi.engine.gallery import is_picture

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
    if len(found) < FEWEST:
        raise DataError(
            "{path} holds {count} pictures; at least {least} are needed to measure a set", path=folder, count=len(found), least=FEWEST
        )
    return [replace(record, id=str(record.id)) for record in found]
