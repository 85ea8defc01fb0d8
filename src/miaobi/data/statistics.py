"""What the data card counts, one record at a time and in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

MOST_VALUES = 100_000  # a field with more different values is no category, and is no longer counted
MOST_FIELDS = 100
MOST_LENGTHS = 4096  # longer texts are counted together by their power of two


class Statistics:
    """Counts by split: records, characters, lengths, values of meta; by source: records."""

    def __init__(self, num_sources: int) -> None:
        self.records: Counter[str] = Counter()
        self.lengths: Counter[int] = Counter()
        self.characters: dict[str, Counter[str]] = {"train": Counter(), "val": Counter(), "test": Counter()}
        self.meta: dict[str, Counter[str] | None] = {}
        self.sources = [0] * num_sources

    def add(self, split: str, values: Mapping[str, Any]) -> None:
        """Count one kept record, as it stands in its line."""
        text = values["text"] if isinstance(values["text"], str) else "\n".join(values["text"])
        self.records[split] += 1
        self.sources[values["source"]] += 1
        self.characters[split].update(text)
        self.lengths[len(text) if len(text) < MOST_LENGTHS else 1 << (len(text) - 1).bit_length()] += 1
        for key, value in values["meta"].items():
            if isinstance(value, str | int | bool):
                self._count(key, str(value))

    def _count(self, key: str, value: str) -> None:
        if key not in self.meta and len(self.meta) < MOST_FIELDS:
            self.meta[key] = Counter()
        counter = self.meta.get(key)
        if counter is not None:
            counter[value] += 1
            if len(counter) > MOST_VALUES:
                self.meta[key] = None
