"""What the page of an evaluation shows of pictures: what was made, beside real ones; who is nearest in the training set; copies.

A pure choice from the evidence. Pictures are sent to the page as PNG in their own size, small ones doubled so that one sees their pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from miaobi.core.types import Record
from miaobi.data.pictures import Pixels, contact_sheet, encode, fit
from miaobi.engine.gallery import LANGUAGES, Gallery, caption
from miaobi.engine.metrics import Pictures

MADE, PAIRS, ROWS, COLUMNS, COPIES = 48, 16, 24, 10, 16
CELL, LARGEST = 96, 192  # pixels of a sheet's cell, and of a picture that stands alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """One picture on the page, PNG, and what stands below it."""

    data: bytes
    words: str = ""


def exhibits(shown: Pictures) -> Mapping[str, Sequence[Exhibit]]:
    """By section of the page: `made`, `nearest` (pairs, the closest first), `styles` (rows of made and real), `copies`, `real`."""
    found = {
        "made": [_alone(shown.made, place, asked(shown.made.records[place])) for place in range(min(MADE, len(shown.made)))],
        "real": [Exhibit(data=_sheet(shown.real, range(min(2 * COLUMNS, len(shown.real)))))] if len(shown.real) else [],
        "nearest": list(_pairs(shown)),
        "styles": list(_rows(shown)),
        "copies": list(_copies(shown)),
    }
    return {name: items for name, items in found.items() if items}


def sheet(shown: Pictures) -> bytes:
    """The first of the made pictures on one sheet, PNG."""
    return _sheet(shown.made, range(min(4 * COLUMNS, len(shown.made)))) if len(shown.made) else b""


def asked(record: Record) -> str:
    """What a picture was asked for, in a few words: its caption, its class, its style."""
    words = [text for text in (caption(record, language) for language in LANGUAGES) if text][:1]
    words += [str(record.meta[key]) for key in ("class", "style") if record.meta.get(key)]
    return " · ".join(words)


def _pairs(shown: Pictures) -> Iterable[Exhibit]:
    """A made picture beside the nearest training picture, the closest pairs first."""
    if "neighbours" not in vars(shown):
        return
    places, gaps = shown.neighbours
    for made in np.argsort(gaps, kind="stable")[:PAIRS].tolist():
        place = int(places[made])
        pair = contact_sheet([shown.made.pixels(made), shown.known.pixels(place)], columns=2, size=CELL)
        yield Exhibit(data=encode(pair), words=f"{gaps[made]:.3g} · {shown.known.records[place].id}")


def _rows(shown: Pictures) -> Iterable[Exhibit]:
    """For each style (or class) a row of made pictures above a row of real ones."""
    for key in ("style", "class"):
        made, real = _by_name(shown.made, key), _by_name(shown.real, key)
        names = [name for name in made if name][:ROWS]
        if len(names) > 1:
            for name in names:
                rows = [_pixels(shown.made, made[name]), _pixels(shown.real, real.get(name, []))]
                yield Exhibit(data=encode(_stacked(rows)), words=name)
            return


def _copies(shown: Pictures) -> Iterable[Exhibit]:
    """An original above what the model makes of it."""
    for place, copy in enumerate(shown.copies[:COPIES]):
        original = fit(shown.real.pixels(place), (copy.shape[1], copy.shape[0]))
        yield Exhibit(data=encode(contact_sheet([original, copy], columns=1, size=CELL)))


def _alone(gallery: Gallery, place: int, words: str) -> Exhibit:
    pixels = gallery.pixels(place)
    longest = max(pixels.shape[:2])
    if longest < CELL:
        times = -(-CELL // longest)
        pixels = pixels.repeat(times, axis=0).repeat(times, axis=1)
    elif longest > LARGEST:
        pixels = fit(pixels, LARGEST)
    return Exhibit(data=encode(pixels), words=words)


def _by_name(gallery: Gallery, key: str) -> dict[str, list[int]]:
    """The places of the pictures of each style, in the order in which styles come up."""
    found: dict[str, list[int]] = {}
    for place, name in enumerate(gallery.known(key)):
        found.setdefault(name, []).append(place)
    return dict(sorted(found.items()))


def _pixels(gallery: Gallery, places: Sequence[int]) -> list[Pixels]:
    return [gallery.pixels(place) for place in places[:COLUMNS]]


def _stacked(rows: Sequence[Sequence[Pixels]]) -> Pixels:
    """Rows of up to `COLUMNS` pictures; short rows end in white."""
    blank = np.zeros((1, 1, 4), np.uint8)
    cells = [one for row in rows if row for one in [*row, *[blank] * (COLUMNS - len(row))]]
    return contact_sheet(cells, columns=COLUMNS, size=CELL // 2)


def _sheet(gallery: Gallery, places: Iterable[int]) -> bytes:
    return encode(contact_sheet([gallery.pixels(place) for place in places], columns=COLUMNS, size=CELL))
