"""What plays under a melody and how loud each note is: by rule, from the chords that the melody suggests and from the metre."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from miaobi.data.harmony import CHORDS, PENTATONIC, SCALES, recognised
from miaobi.data.instruments import INSTRUMENTS
from miaobi.data.scores import GRID, NAMES, Key, Note, Part, Score

SOFT, BUSY = 56, 132.0  # the velocity of an accompaniment, and the tempo from which it moves in quarters
LOWEST = 43


def harmony(score: Score) -> tuple[tuple[int, str], ...]:
    """The chords that the finished melody suggests, the last one its tonic: a melody does not always keep to what was planned for it."""
    assert score.key is not None
    chords = recognised(replace(score, chords=()), score.key)
    third_is_high = 4 in SCALES[score.key.mode] or 3 not in SCALES[score.key.mode]
    home = NAMES[score.key.tonic] + ("" if third_is_high else "m")
    last_bar = score.end - (score.end - score.pickup - 1) % score.bar - 1
    return tuple((tick, home if tick >= last_bar else name) for tick, name in chords if tick < score.end)


def accompanied(score: Score, style: str, name: str) -> Score:
    """The score with one more part in `style`: chords, arpeggio or drone."""
    assert score.key is not None
    instrument = INSTRUMENTS[name]
    base = max(instrument.low, LOWEST)
    spans = list(_spans(score))
    notes: list[Note] = []
    for number, (start, stop, chord) in enumerate(spans):
        tones = _tones(chord, score.key, base)
        if number == len(spans) - 1 or style == "drone":
            notes += [Note(start, stop - start, pitch, SOFT) for pitch in (tones[0], tones[1], tones[2])]
        elif style == "arpeggio":
            notes += _arpeggio(tones, start, stop, 2 * GRID if score.tempo > 2 * BUSY else GRID if score.tempo > BUSY else GRID // 2)
        else:
            notes += _struck(tones, start, stop, score.metre)
    part = Part(notes=tuple(note for note in notes if note.pitch <= instrument.high), name=name, program=instrument.program)
    return replace(score, parts=(*score.parts, part))


def _spans(score: Score) -> Iterator[tuple[int, int, str]]:
    """(start, stop, chord); equal neighbours within a bar are one, and the last bar is one."""
    last_bar = score.end - (score.end - score.pickup - 1) % score.bar - 1
    stops = [tick for tick, _ in score.chords[1:]] + [max(score.end, score.chords[-1][0] + 1)] if score.chords else []
    for (start, name), stop in zip(score.chords, stops):
        if start > last_bar:
            return
        yield start, score.end if start == last_bar else stop, name


def _tones(chord: str, key: Key, base: int) -> tuple[int, ...]:
    """Root, fifth, octave, third and fifth above it; in a pentatonic mode tones outside of it give way to their neighbours."""
    root = next(root for root in sorted(NAMES, key=len, reverse=True) if chord.startswith(root))
    third, fifth = CHORDS[chord.removeprefix(root)][1:3]
    lowest = base + (NAMES.index(root) - base) % 12
    tones = (lowest, lowest + fifth, lowest + 12, lowest + 12 + third, lowest + 12 + fifth)
    if key.mode not in PENTATONIC:
        return tones
    scale = {(key.tonic + step) % 12 for step in SCALES[key.mode]}
    return tuple(next(pitch + move for move in (0, -1, 1, -2, 2) if (pitch + move) % 12 in scale) for pitch in tones)


def _arpeggio(tones: Sequence[int], start: int, stop: int, step: int) -> Iterator[Note]:
    """Up and down through the tones; each rings until the end of the span."""
    order = (0, 1, 2, 3, 4, 3, 2, 1)
    for number, at in enumerate(range(start, stop, step)):
        yield Note(at, min(stop - at, 4 * step), tones[order[number % len(order)]], SOFT - 4 * (number % 2))


def _struck(tones: Sequence[int], start: int, stop: int, metre: tuple[int, int]) -> Iterator[Note]:
    """The root on the beat and the chord behind it."""
    beat = 3 * GRID // 2 if metre[1] == 8 and metre[0] % 3 == 0 else 2 * GRID if metre[1] == 2 else GRID
    step = GRID if beat in (3 * GRID // 2, 2 * GRID) else beat
    at = start
    while at < stop:
        yield Note(at, min(step, stop - at), tones[0], SOFT + 4)
        behind = [at + step] if beat > step else list(range(at + beat, stop, beat))
        for later in behind:
            length = min(beat - step if beat > step else beat, stop - later)
            if length > 0:
                yield from (Note(later, max(6, length * 3 // 4), pitch, SOFT - 8) for pitch in tones[1:4])
        at += beat if beat > step else stop - at


def shaped(score: Score) -> Score:
    """Loudness by the metre: first beats stand out, four-bar phrases rise and fall a little, the end is soft."""
    beat = 3 * GRID // 2 if score.metre[1] == 8 and score.metre[0] % 3 == 0 else GRID * 4 // score.metre[1]

    def velocity(note: Note) -> int:
        at = (note.start - score.pickup) % score.bar
        accent = 10 if at == 0 else 5 if at % beat == 0 else 0
        phrase = (note.start - score.pickup) / (4 * score.bar) % 1
        return round(74 + accent + 8 * (1 - abs(2 * phrase - 0.9)) - (8 if note.end >= score.end else 0))

    parts = tuple(
        replace(part, notes=tuple(replace(note, velocity=min(112, velocity(note))) for note in part.notes)) for part in score.parts
    )
    return replace(score, parts=parts)
