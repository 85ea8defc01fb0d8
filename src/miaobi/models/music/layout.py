"""Scores to the rows of events that tokens name, and back: bars of parts, each a run of notes, holds and rests without a gap.

A score of one part is told bar by bar as its chords and then its notes. With more parts a bar is its first part's notes, then the chords,
then the other parts interleaved by position: who harmonises a melody has heard the bar that is to be harmonised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from miaobi.core.errors import DataError
from miaobi.data.harmony import chords_per_bar, recognised
from miaobi.data.instruments import by_program
from miaobi.data.scores import GRID, NAMES, Key, Note, Part, Score
from miaobi.models.music.vocabulary import HIGHEST, KINDS, LOWEST, METRES, MOST_PARTS, PLACES

MIDDLE = 70  # where the mean of a first part is put, to within half an octave


@dataclass(frozen=True, slots=True)
class Event:
    """A note (`pitch`), a rest (None) or what a note from the bar before sounds on (`held`), from tick `at` of the bar to tick `until`."""

    at: int
    until: int
    pitch: int | None = None
    held: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: events of each part, and (root above the tonic, quality) of its chords. `offset` is where an upbeat begins, else 0."""

    parts: tuple[tuple[Event, ...], ...]
    chords: tuple[tuple[int, str], ...]
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A piece as it is told: bars relative to the tonic, and `shift`, what was added to its pitches."""

    mode: str
    metre: tuple[int, int]
    kind: str
    tempo: float  # 0 where none is said
    instruments: tuple[str, ...]
    bars: tuple[Bar, ...]
    shift: int = 0

    @property
    def bar_ticks(self) -> int:
        """Ticks of a bar."""
        return 4 * GRID * self.metre[0] // self.metre[1]


def sheet_of(score: Score) -> Sheet:
    """A score that the step `score` tidied.

    Raises:
        DataError: a metre, a length or a pitch that the vocabulary has no word for.
    """
    score = score.on_grid()
    if score.metre not in METRES:
        raise DataError("music in {beats}/{unit} is not known to the model", beats=score.metre[0], unit=score.metre[1])
    if not 1 <= len(score.parts) <= MOST_PARTS:
        raise DataError("the model knows music of up to {most} parts, not {num}", most=MOST_PARTS, num=len(score.parts))
    key = score.key or Key(tonic=0)
    shift = register(score, key)
    score = score.transposed(shift)
    key = replace(key, tonic=0)
    bars = tuple(_bars(score, recognised(score, key)))
    return Sheet(
        mode=key.mode,
        metre=score.metre,
        kind=score.kind if score.kind in KINDS else "",
        tempo=score.tempo if score.tempos else 0.0,
        instruments=tuple(by_program(part.program).name for part in score.parts),
        bars=bars,
        shift=shift,
    )


def register(score: Score, key: Key) -> int:
    """The semitones that bring the tonic to a C and the first part's mean as near to `MIDDLE` as an octave allows."""
    notes = score.parts[0].notes
    mean = sum(note.pitch * note.duration for note in notes) / max(1, sum(note.duration for note in notes))
    return -key.tonic + 12 * round((MIDDLE - mean + key.tonic) / 12)


def _bars(score: Score, chords: Sequence[tuple[int, str]]) -> Iterator[Bar]:
    """The bars of a relative score."""
    length, pickup = score.bar, score.pickup % score.bar
    names = dict(chords)
    step = length // chords_per_bar(score.metre)
    stretches = [(-(length - pickup), True)] if pickup else []
    at = pickup
    while at < score.end:
        stretches.append((at, False))
        at += length
    for start, upbeat in stretches:
        begin = start + length - pickup if upbeat else start
        parts = tuple(tuple(_events(part, start, begin, start + length)) for part in score.parts)
        found = () if upbeat else tuple(_relative(names.get(tick, "C")) for tick in range(start, start + length, step))
        yield Bar(parts=parts, chords=found, offset=begin - start)


def _relative(name: str) -> tuple[int, str]:
    root = next(root for root in sorted(NAMES, key=len, reverse=True) if name.startswith(root))
    return NAMES.index(root), name.removeprefix(root)


def _events(part: Part, start: int, begin: int, stop: int) -> Iterator[Event]:
    """What a part does from `begin` to `stop`, without a gap; `at` counts from `start`."""
    at = begin
    for note in part.notes:
        end = min(note.end, stop)
        if end <= at or note.start >= stop:
            continue
        if not LOWEST <= note.pitch <= HIGHEST:
            raise DataError("the pitch {pitch} is out of the model's range", pitch=note.pitch)
        if note.start > at:
            yield _event(at - start, note.start - start, None)
            at = note.start
        yield _event(at - start, end - start, note.pitch, held=note.start < begin)
        at = end
    if at < stop:
        yield _event(at - start, stop - start, None)


def _event(at: int, until: int, pitch: int | None, *, held: bool = False) -> Event:
    if at not in PLACES or until not in PLACES:
        raise DataError("the place {tick} in a bar is not on the grid", tick=until)
    return Event(at, until, pitch, held)


def score_of(sheet: Sheet, *, key: Key, tempo: float, programs: Sequence[int], names: Sequence[str], title: str = "") -> Score:
    """The score that a sheet tells, its pitches moved back by `shift`."""
    length = sheet.bar_ticks
    pickup = length - sheet.bars[0].offset if sheet.bars and sheet.bars[0].offset else 0
    notes: list[list[Note]] = [[] for _ in sheet.instruments]
    chords: list[tuple[int, str]] = []
    at = pickup - length if pickup else 0
    for bar in sheet.bars:
        for voice, events in zip(notes, bar.parts):
            for event in events:
                if event.pitch is None:
                    continue
                start = at + event.at
                if event.held and voice and voice[-1].end == start:
                    voice[-1] = replace(voice[-1], duration=voice[-1].duration + event.until - event.at)
                else:
                    voice.append(Note(start, event.until - event.at, event.pitch - sheet.shift))
        for place, (root, quality) in enumerate(bar.chords):
            chords.append((at + place * length // len(bar.chords), NAMES[(root - sheet.shift) % 12] + quality))
        at += length
    parts = tuple(Part(notes=tuple(voice), name=name, program=program) for voice, program, name in zip(notes, programs, names, strict=True))
    return Score(
        parts=parts,
        metres=((0, sheet.metre),),
        tempos=((0, tempo),),
        key=key,
        pickup=pickup,
        title=title,
        kind=sheet.kind,
        chords=tuple(chords),
    )
