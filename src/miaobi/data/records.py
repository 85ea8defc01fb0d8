"""Records on disk: one JSON line each, and `Dropped`, the other thing that may become of a record.

Source and licence are the same for thousands of records, so a line holds the number of its source only; `Dataset` puts them back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miaobi.core.types import Record


@dataclass(frozen=True, slots=True)
class Dropped:
    """Why a record, a row or a file did not come through. `reason` is a short word that is counted; `detail` is for people."""

    reason: str
    detail: str = ""
    id: str = ""


def to_line(record: Record, source: int) -> bytes:
    """`record` as one JSON line; keys in a fixed order, so equal records give equal bytes."""
    assert all(isinstance(part, str) for part in record.parts), "media records have no JSON line yet"
    text: Any = record.parts[0] if len(record.parts) == 1 else list(record.parts)
    values = {"id": record.id, "text": text, "meta": dict(record.meta), "source": source}
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "surrogatepass") + b"\n"


def from_line(line: bytes, common: Sequence[Mapping[str, Any]]) -> Record:
    """The record of a line; `common[source]` is the meta that all records of a source share."""
    values = json.loads(line)
    text = values["text"]
    parts = (text,) if isinstance(text, str) else tuple(text)
    return Record(id=values["id"], parts=parts, meta={**values["meta"], **common[values["source"]]})
