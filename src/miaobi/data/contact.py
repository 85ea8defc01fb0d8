"""The contact sheet of a picture data set: a row a style or class, its pictures drawn by lot, in bounded memory.

The lot is the number that decides a record's side, so the sheet is the same whatever the order in which records come, and a split by
concept shows the same things in every row.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from typing import Any

import numpy as np

from miaobi.core.types import Modality
from miaobi.data.pictures import Pixels, contact_sheet, decode, fit

COLUMNS = 12
MOST_ROWS = 40
MOST_ALONE = 96  # pictures of a data set without styles or classes
SIZE = 64
_FIELDS = ("style", "class")  # the first that a record has names its row


class Contact:
    """Keeps a few small pictures of every row: those whose lots are the smallest."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[int, str, Pixels]]] = {}

    def add(self, lot: int, values: Mapping[str, Any], blob: bytes) -> None:
        """Let one kept record, as it stands in its line, take part."""
        first = next((part for part in values.get("parts", ()) if isinstance(part, dict)), None)
        if first is None or first["modality"] != Modality.IMAGE:
            return
        name = next((str(values["meta"][field]) for field in _FIELDS if field in values["meta"]), "")
        if name not in self._rows and len(self._rows) >= MOST_ROWS:
            return
        row = self._rows.setdefault(name, [])
        most, ticket = COLUMNS if name else MOST_ALONE, (lot, str(values["id"]))
        if len(row) < most or ticket < row[-1][:2]:
            bisect.insort(row, (*ticket, fit(decode(blob[: first["bytes"]]), SIZE)), key=lambda entry: entry[:2])
            del row[most:]

    def sheet(self) -> Pixels | None:
        """The sheet; None for a data set without pictures."""
        if not self._rows:
            return None
        clear = np.zeros((SIZE, SIZE, 4), np.uint8)
        cells: list[Pixels] = []
        for name in self.rows:
            cells += [pixels for _, _, pixels in self._rows[name]]
            cells += [clear] * (-len(cells) % COLUMNS) if len(self._rows) > 1 else []
        return contact_sheet(cells, columns=COLUMNS, size=SIZE)

    @property
    def rows(self) -> list[str]:
        """What the rows show, from above."""
        return sorted(self._rows)
