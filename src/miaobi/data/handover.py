"""Records on their way to another process, which is told in plain values where they lie.

The shards of a data set stay where they are; records that are only in memory are written into a folder, in the lines of a data set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from miaobi.core.types import Record
from miaobi.data.dataset import Split
from miaobi.data.records import blob_of, from_line, line_of, num_media_bytes, plain_parts


def hand(records: Sequence[Record], folder: Path, name: str) -> dict[str, Any]:
    """Where `records` lie; those in memory are written to files of that name in `folder`."""
    if isinstance(records, Split):
        return {"split": records.described()}
    lines = folder / f"{name}.jsonl"
    with lines.open("wb") as file, lines.with_suffix(".media").open("wb") as blobs:
        for record in records:
            values = {"id": record.id, "text": record.text, "parts": plain_parts(record), "meta": dict(record.meta), "source": 0}
            file.write(line_of(values))
            blobs.write(blob_of(record))
    return {"lines": str(lines)}


def take(described: Mapping[str, Any]) -> Sequence[Record]:
    """The records that `hand` described."""
    if "split" in described:
        return Split.at(described["split"])
    lines = Path(described["lines"])
    records: list[Record] = []
    with lines.open("rb") as file, lines.with_suffix(".media").open("rb") as blobs:
        for line in file:
            records.append(from_line(line, [{}], blobs.read(num_media_bytes(json.loads(line)))))
    return records
