"""What the data card counts, one record at a time and in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from miaobi.core.types import Modality
from miaobi.data.records import captions_of

MOST_VALUES = 100_000  # a field with more different values is no category, and is no longer counted
MOST_FIELDS = 100
MOST_SIZES = 10_000
MOST_LENGTHS = 4096  # longer texts are counted together by their power of two


class Statistics:
    """Counts by split: records, characters, lengths, values of meta; by source: records; of pictures: sizes, formats, bytes, captions."""

    def __init__(self, num_sources: int) -> None:
        self.records: Counter[str] = Counter()
        self.lengths: Counter[int] = Counter()
        self.characters: dict[str, Counter[str]] = {"train": Counter(), "val": Counter(), "test": Counter()}
        self.meta: dict[str, Counter[str] | None] = {}
        self.sources = [0] * num_sources
        self.pictures: Counter[str] = Counter()  # "sizes 64x64", "formats image/png", "captioned zh", "captions zh"
        self.picture_bytes = 0

    def add(self, split: str, values: Mapping[str, Any]) -> None:
        """Count one kept record, as it stands in its line."""
        text = values["text"] if isinstance(values["text"], str) else "\n".join(values["text"])
        self.records[split] += 1
        self.sources[values["source"]] += 1
        for counted in captions_of(values["meta"]) if "parts" in values and not text else [text]:
            self.characters[split].update(counted)
            self.lengths[len(counted) if len(counted) < MOST_LENGTHS else 1 << (len(counted) - 1).bit_length()] += 1
        for key, value in values["meta"].items():
            if isinstance(value, str | int | bool):
                self._count(key, str(value))
        if "parts" in values:
            self._pictures(values)

    def _pictures(self, values: Mapping[str, Any]) -> None:
        """Sizes and formats of the pictures of a record, and in which languages it is described."""
        for part in values["parts"]:
            if isinstance(part, dict) and part["modality"] == Modality.IMAGE:
                width, height = part["size"]
                size = f"sizes {width}x{height}"
                self.pictures.update((f"formats {part['mime']}", "pictures all"))
                self.pictures[size if size in self.pictures or len(self.pictures) < MOST_SIZES else "sizes others"] += 1
                self.picture_bytes += part["bytes"]
        captions = values["meta"].get("caption")
        for language, texts in captions.items() if isinstance(captions, Mapping) else ():
            self.pictures[f"captioned {language}"] += 1
            self.pictures[f"captions {language}"] += len(texts)

    def _count(self, key: str, value: str) -> None:
        if key not in self.meta and len(self.meta) < MOST_FIELDS:
            self.meta[key] = Counter()
        counter = self.meta.get(key)
        if counter is not None:
            counter[value] += 1
            if len(counter) > MOST_VALUES:
                self.meta[key] = None
