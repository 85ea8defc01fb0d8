"""The contact sheet of a picture data set: a row a style or class, its pictures drawn by lot, in bounded memory.

The lot is the hash of the picture's content, so the sheet is the same whatever the order in which records come.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from typing import Any

from miaobi.core.types import Modality
from miaobi.data.pictures import Pixels, contact_sheet, decode

COLUMNS = 12
MOST_ROWS = 40
SIZE = 64
_FIELDS = ("style", "class")  # the first that a record has names its row


class Contact:
    """Keeps a few pictures of every row: those whose lots are the smallest."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[int, str, bytes]]] = {}

    def add(self, lot: int, values: Mapping[str, Any], blob: bytes) -> None:
        """Let one kept record, as it stands in its line, take part."""
        first = next((part for part in values.get("parts", ()) if isinstance(part, dict)), None)
        if first is None or first["modality"] != Modality.IMAGE:
            return
        name = next((str(values["meta"][field]) for field in _FIELDS if field in values["meta"]), "")
        if name not in self._rows and len(self._rows) >= MOST_ROWS:
            return
        row = self._rows.setdefault(name, [])
        bisect.insort(row, (lot, str(values["id"]), blob[: first["bytes"]]))
        del row[COLUMNS if len(self._rows) > 1 else COLUMNS * 8 :]

    def sheet(self) -> Pixels | None:
        """The sheet; None for a data set without pictures."""
        if not self._rows:
            return None
        if len(self._rows) == 1:
            [only] = self._rows.values()
            return contact_sheet([decode(blob) for _, _, blob in only], columns=COLUMNS, size=SIZE)
        import numpy as np

        clear = np.zeros((SIZE, SIZE, 4), np.uint8)
        cells = []
        for name in sorted(self._rows):
            pictures = [decode(blob) for _, _, blob in self._rows[name][:COLUMNS]]
            cells += (pictures + [clear] * COLUMNS)[:COLUMNS]
        return contact_sheet(cells, columns=COLUMNS, size=SIZE)

    @property
    def rows(self) -> list[str]:
        """What the rows show, from above."""
        return sorted(self._rows)
