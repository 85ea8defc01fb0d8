"""Records on disk: one JSON line each, the bytes of media in a file beside; and `Dropped`, the other thing that may become of a record.

Source and licence are the same for thousands of records, so a line holds the number of its source only; `Dataset` puts them back. A line of
a record with media says how many bytes each part has; where they begin follows from the records before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miaobi.core.types import Media, Modality, Part, Record


@dataclass(frozen=True, slots=True)
class Dropped:
    """Why a record, a row or a file did not come through. `reason` is a short word that is counted; `detail` is for people."""

    reason: str
    detail: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of a record's media: their marks (see `data.looks`) and each part's width and height."""

    look: str
    sizes: Sequence[tuple[int, int]]


def media_of(record: Record) -> list[Media]:
    """The media parts, in order."""
    return [part for part in record.parts if isinstance(part, Media)]


def blob_of(record: Record) -> bytes:
    """The bytes of all media parts, one after the other."""
    return b"".join(part.data for part in media_of(record))


def to_line(record: Record, source: int, seen: Seen | None = None) -> bytes:
    """`record` as one JSON line; keys in a fixed order, so equal records give equal bytes. Media need `seen`."""
    values: dict[str, Any] = {"id": record.id}
    if seen is None:
        assert all(isinstance(part, str) for part in record.parts), "a record with media was not looked at"
        values["text"] = record.parts[0] if len(record.parts) == 1 else list(record.parts)
    else:
        values |= {"text": record.text, "parts": plain_parts(record, seen.sizes), "look": seen.look}
    return line_of({**values, "meta": dict(record.meta), "source": source})


def line_of(values: Mapping[str, Any]) -> bytes:
    """Plain values as one line of a shard."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "surrogatepass") + b"\n"


def plain_parts(record: Record, sizes: Sequence[tuple[int, int]] = ()) -> list[str | dict[str, Any]]:
    """Its parts, each of the media described: what it is, how many bytes it has, and its size where sizes are known."""
    parts: list[str | dict[str, Any]] = []
    known = iter(sizes)
    for part in record.parts:
        if isinstance(part, str):
            parts.append(part)
        else:
            described = {"modality": part.modality, "mime": part.mime, "name": part.name, "bytes": len(part.data)}
            parts.append(described | ({"size": list(next(known))} if sizes else {}))
    return parts


def num_media_bytes(values: Mapping[str, Any]) -> int:
    """How many bytes the media of a line have."""
    return sum(part["bytes"] for part in values.get("parts", ()) if isinstance(part, dict))


def captions_of(meta: Mapping[str, Any]) -> list[str]:
    """The captions of a picture in all languages; none of a text."""
    captions = meta.get("caption")
    return [caption for language in captions.values() for caption in language] if isinstance(captions, Mapping) else []


def from_line(line: bytes, common: Sequence[Mapping[str, Any]], blob: bytes = b"") -> Record:
    """The record of a line; `common[source]` is the meta that all records of a source share, `blob` the bytes of its media.

    Readers name records within their source: where there are several, the number of the source makes the id one of a kind, which whoever
    remembers something of a record relies on.
    """
    values = json.loads(line)
    text = values["text"]
    parts: tuple[Part, ...] = _media(values["parts"], blob) if "parts" in values else (text,) if isinstance(text, str) else tuple(text)
    id = values["id"] if len(common) == 1 else f"{values['source']}/{values['id']}"
    return Record(id=id, parts=parts, meta={**values["meta"], **common[values["source"]]})


def _media(described: Sequence[Any], blob: bytes) -> tuple[Part, ...]:
    parts: list[Part] = []
    start = 0
    for part in described:
        if isinstance(part, str):
            parts.append(part)
            continue
        data = blob[start : start + part["bytes"]]
        parts.append(Media(modality=Modality(part["modality"]), mime=part["mime"], data=data, name=part["name"]))
        start += part["bytes"]
    return tuple(parts)
