"""The step `score`: pieces on one grid, with one metre and a key, in at most so many parts of one note at a time."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from pydantic import Field

from miaobi.core.errors import DataError
from miaobi.core.schema import Schema
from miaobi.core.types import Modality, Record
from miaobi.data.harmony import estimated_key
from miaobi.data.records import Dropped, media_of
from miaobi.data.scores import Note, Part, Score, read_midi, write_midi
from miaobi.data.steps import Step, register

_CHOIR = ("soprano", "alto", "tenor", "bass")


class Tidy(Schema):
    """Bring scores to one form for learning: of chords the highest note, one metre, a key; drop what has more parts or too few bars.

    A source's `meta` may say the `kind` of pieces that do not say it themselves, and the `program` (as General MIDI counts from 0).
    """

    parts: int = Field(4, ge=1, le=4)
    """The most parts; of a piece with more the four voices of a choir are taken where it has them."""
    least_bars: int = Field(4, ge=1)
    """The fewest full bars."""
    most_bars: int = Field(256, ge=1)
    """The most bars."""
    metres: list[str] = Field(default_factory=list)
    """Only these metres (`4/4`); all when empty."""


def build_score(options: Tidy) -> Step:
    """One score a record; its key goes into the meta."""

    def step(record: Record) -> Record | Dropped:
        found = next((part for part in media_of(record) if part.modality == Modality.MUSIC), None)
        if found is None:
            return Dropped("no_score")
        try:
            score = tidied(read_midi(found.data), options)
            if isinstance(score, Score):
                score = _described(score, record)
        except DataError as error:
            return Dropped("unreadable", error.template.format(**error.values))
        if isinstance(score, Dropped):
            return score
        media = dataclasses.replace(found, data=write_midi(score))
        meta = {**record.meta, "key": str(score.key), **({"kind": score.kind} if score.kind else {})}
        return dataclasses.replace(record, parts=(media,), meta=meta)

    return step


def tidied(score: Score, options: Tidy) -> Score | Dropped:
    """The score in the form that models learn, or why it is none."""
    score = score.on_grid()
    if len({metre for _, metre in score.metres}) > 1:
        return Dropped("several_metres")
    metre = "{}/{}".format(*score.metre)
    if options.metres and metre not in options.metres:
        return Dropped("other_metre", metre)
    parts = _chosen([part for part in score.parts if not part.drums], options.parts)
    if not parts:
        return Dropped("too_many_parts", f"{len(score.parts)} parts")
    pickup = score.pickup % score.bar
    parts = [dataclasses.replace(part, notes=one_at_a_time(part.notes)) for part in parts]
    score = dataclasses.replace(score, parts=tuple(parts), metres=score.metres[:1], tempos=score.tempos[:1], pickup=pickup)
    bars = -(-(score.end - pickup) // score.bar)
    if not options.least_bars <= bars <= options.most_bars:
        return Dropped("too_few_bars" if bars < options.least_bars else "too_many_bars", str(bars))
    if any(off_grid(part, score.bar, pickup) for part in parts):
        return Dropped("off_the_grid", "lengths that are neither thirty-second notes nor parts of triplets")
    return dataclasses.replace(score, key=score.key or estimated_key(score))


def off_grid(part: Part, bar: int, pickup: int) -> bool:
    """Whether a note, or the silence between two, begins or lasts where neither thirty-second notes nor triplets reach."""
    ends = {tick for note in part.notes for tick in (note.start, note.end)}
    last = max(ends, default=0)
    places = sorted(ends | {0} | set(range(pickup, last + bar, bar)))
    inside = [(place - pickup) % bar for place in places]
    return any(place % 3 and place % 4 for place in inside) or any(b - a in (1, 2, 5) for a, b in itertools.pairwise(places))


def _described(score: Score, record: Record) -> Score:
    """What the meta of the source says and the piece itself does not: its kind, and the program of all parts."""
    program, kind = str(record.meta.get("program", "")), str(record.meta.get("kind") or "")
    if program.isdigit() and int(program) <= 127:
        score = dataclasses.replace(score, parts=tuple(dataclasses.replace(part, program=int(program)) for part in score.parts))
    return dataclasses.replace(score, kind=score.kind or kind)


def _chosen(parts: Sequence[Part], most: int) -> list[Part]:
    """All parts; the voices of the choir where there are more than wanted; nothing where it has none."""
    if len(parts) <= most:
        return list(parts)
    voices = [next((part for part in parts if part.name.lower().startswith(voice)), None) for voice in _CHOIR[:most]]
    return [part for part in voices if part is not None] if all(voices) else []


def one_at_a_time(notes: Sequence[Note]) -> tuple[Note, ...]:
    """Of notes that begin together the highest, each cut off where the next begins."""
    highest: dict[int, Note] = {}
    for note in notes:
        if note.start not in highest or note.pitch > highest[note.start].pitch:
            highest[note.start] = note
    ordered = [highest[start] for start in sorted(highest)]
    return tuple(
        dataclasses.replace(note, duration=min(note.duration, following.start - note.start) if following else note.duration)
        for note, following in zip(ordered, [*ordered[1:], None])
    )


register("score", Tidy, build_score)
