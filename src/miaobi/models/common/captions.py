"""What a record of a picture is called, in Chinese and in English, and which records show the same thing."""

from __future__ import annotations

from collections.abc import Sequence

from miaobi.core.types import Record

LANGUAGES = ("zh", "en")


def captions_of(record: Record, language: str) -> tuple[str, ...]:
    """The captions in a language, the best first; none where the record has none."""
    named = record.meta.get("caption") or {}
    found = named.get(language, ()) if hasattr(named, "get") else ()
    return tuple(str(text) for text in ([found] if isinstance(found, str) else found) if str(text).strip())


def concept_of(record: Record) -> str:
    """What the picture shows, whatever its style: two records of one concept are right answers to each other's captions."""
    if record.meta.get("concept"):
        return str(record.meta["concept"])
    return next((text for language in LANGUAGES for text in captions_of(record, language)), record.id)


def concept_numbers(records: Sequence[Record]) -> list[int]:
    """A number for each record, equal where the concepts are."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(concept_of(record), len(numbers)) for record in records]
