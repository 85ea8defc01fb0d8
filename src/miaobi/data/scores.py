"""Scores: notes of parts with metre, tempo and key, read from MIDI and written to it.

Unusual: what a MIDI file has no field for (the mode beyond major and minor, the upbeat, the kind of piece, chords) stands in its markers as
`name=value`, which every player ignores and `read_midi` reads back. Times are in ticks from the start; `on_grid` brings any score to 24
ticks a quarter, which holds thirty-second notes and triplets alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from miaobi.core.errors import DataError, MissingExtra

GRID = 24  # ticks of a quarter note
MIME = "audio/midi"
MOST_BYTES = 16 << 20
MOST_NOTES = 400_000
MOST_SECONDS = 7200.0
MOST_QUARTERS = 100_000
USUAL_TEMPO = 120.0
MODES: dict[str, int] = {  # how many fifths a mode's signature lies above that of the major key on the same tonic
    "major": 0, "minor": -3, "dorian": -2, "phrygian": -4, "lydian": 1, "mixolydian": -1, "locrian": -5,
    "gong": 0, "shang": -2, "jue": -4, "zhi": -1, "yu": -3,
}  # fmt: skip
NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
FIFTHS = (0, -5, 2, -3, 4, -1, 6, 1, -4, 3, -2, 5)  # of the major keys on the twelve tonics


@dataclass(frozen=True, slots=True)
class Note:
    """One note; `pitch` as MIDI counts (60 is middle C), `velocity` 1 to 127."""

    start: int
    duration: int
    pitch: int
    velocity: int = 80

    @property
    def end(self) -> int:
        """The first tick after it."""
        return self.start + self.duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one player plays. `program` counts General MIDI's instruments from 0; `drums` are the tenth channel's."""

    notes: tuple[Note, ...]
    name: str = ""
    program: int = 0
    drums: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A tonic, 0 (C) to 11 (B), and one of `MODES`."""

    tonic: int
    mode: str = "major"

    def __str__(self) -> str:
        return f"{NAMES[self.tonic]} {self.mode}"

    @property
    def fifths(self) -> int:
        """Sharps (above 0) or flats of the signature, -6 to 6."""
        return (FIFTHS[self.tonic] + MODES[self.mode] + 6) % 12 - 6

    @classmethod
    def of(cls, text: str) -> Key:
        """The key that `str` wrote.

        Raises:
            ValueError: it is none.
        """
        name, _, mode = text.partition(" ")
        if name not in NAMES or mode not in MODES:
            raise ValueError(f"no key: {text!r}")
        return cls(tonic=NAMES.index(name), mode=mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A whole piece. `metres` and `tempos` (quarters a minute) are (tick, value) in order, the first at tick 0; `tempos` may be empty.

    `pickup` counts the ticks before the first full bar. `chords` are (tick, name), as `C`, `Am`, `Bdim`, `G7`.
    """

    parts: tuple[Part, ...]
    ticks: int = GRID  # of a quarter note
    metres: tuple[tuple[int, tuple[int, int]], ...] = ((0, (4, 4)),)
    tempos: tuple[tuple[int, float], ...] = ()
    key: Key | None = None
    pickup: int = 0
    title: str = ""
    kind: str = ""
    chords: tuple[tuple[int, str], ...] = ()

    @property
    def metre(self) -> tuple[int, int]:
        """The first metre."""
        return self.metres[0][1]

    @property
    def tempo(self) -> float:
        """The first tempo, in quarters a minute; MIDI's own where none is said."""
        return self.tempos[0][1] if self.tempos else USUAL_TEMPO

    @property
    def bar(self) -> int:
        """Ticks of a bar of the first metre."""
        return 4 * self.ticks * self.metre[0] // self.metre[1]

    @property
    def end(self) -> int:
        """The tick after the last note."""
        return max((note.end for part in self.parts for note in part.notes), default=0)

    @property
    def num_notes(self) -> int:
        """Notes of all parts."""
        return sum(len(part.notes) for part in self.parts)

    @property
    def seconds(self) -> float:
        """How long it sounds."""
        return seconds_at(self, [self.end])[0]

    def on_grid(self) -> Score:
        """The same piece with `GRID` ticks a quarter; notes keep at least one tick."""
        if self.ticks == GRID:
            return self

        def moved(tick: int) -> int:
            return round(tick * GRID / self.ticks)

        parts = tuple(
            replace(
                part,
                notes=tuple(
                    Note(moved(note.start), max(1, moved(note.end) - moved(note.start)), note.pitch, note.velocity) for note in part.notes
                ),
            )
            for part in self.parts
        )
        return replace(
            self,
            parts=parts,
            ticks=GRID,
            metres=tuple((moved(tick), metre) for tick, metre in self.metres),
            tempos=tuple((moved(tick), tempo) for tick, tempo in self.tempos),
            chords=tuple((moved(tick), name) for tick, name in self.chords),
            pickup=moved(self.pickup),
        )

    def transposed(self, semitones: int) -> Score:
        """Every note but drums, the key and the chords moved; notes that leave MIDI's range move by an octave back."""

        def pitch(old: int) -> int:
            new = old + semitones
            return new - 12 * math.ceil(max(0, new - 127) / 12) + 12 * math.ceil(max(0, -new) / 12)

        parts = tuple(
            part if part.drums else replace(part, notes=tuple(replace(note, pitch=pitch(note.pitch)) for note in part.notes))
            for part in self.parts
        )
        key = None if self.key is None else Key(tonic=(self.key.tonic + semitones) % 12, mode=self.key.mode)
        chords = tuple((tick, transposed_chord(name, semitones)) for tick, name in self.chords)
        return replace(self, parts=parts, key=key, chords=chords)


def transposed_chord(name: str, semitones: int) -> str:
    """A chord's name moved by so many semitones."""
    root = next(root for root in sorted(NAMES, key=len, reverse=True) if name.startswith(root))
    return NAMES[(NAMES.index(root) + semitones) % 12] + name.removeprefix(root)


def seconds_at(score: Score, ticks: Sequence[int]) -> list[float]:
    """When each tick sounds, by the tempos."""
    starts, total = [], 0.0
    tempos = score.tempos or ((0, USUAL_TEMPO),)
    for number, (tick, tempo) in enumerate(tempos):
        if number:
            before, speed = tempos[number - 1]
            total += (tick - before) / score.ticks * 60 / speed
        starts.append((tick, total, tempo))
    found, place = [], 0
    for tick in ticks:
        if tick < starts[place][0]:
            place = 0
        while place + 1 < len(starts) and starts[place + 1][0] <= tick:
            place += 1
        start, seconds, tempo = starts[place]
        found.append(seconds + (tick - start) / score.ticks * 60 / tempo)
    return found


def _symusic() -> Any:
    try:
        import symusic
    except ImportError:
        raise MissingExtra("MIDI", "music", "symusic") from None
    return symusic


def read_midi(data: bytes) -> Score:
    """The score in a MIDI file, in the file's own ticks; parts without a note are left out.

    Raises:
        DataError: no MIDI, damaged, without a note, or too large.
        MissingExtra: symusic is not installed.
    """
    symusic = _symusic()
    if len(data) > MOST_BYTES:
        raise DataError("the MIDI file has more than {most} bytes", most=MOST_BYTES)
    if data[:4] != b"MThd" or len(data) < 14 or not int.from_bytes(data[12:14], "big") & 0x7FFF:
        raise DataError("this is no MIDI file, or it is damaged")
    try:
        raw = symusic.Score.from_midi(data)
    except Exception as error:  # the library raises RuntimeError and ValueError of its own
        raise DataError("the MIDI file is damaged: {error}", error=str(error).splitlines()[0][:120] if str(error) else "?") from None
    parts = tuple(_part(track) for track in raw.tracks if len(track.notes))
    if not parts:
        raise DataError("the MIDI file holds no note")
    if sum(len(part.notes) for part in parts) > MOST_NOTES:
        raise DataError("the MIDI file has more than {most} notes", most=MOST_NOTES)
    metres = _first_at_zero([(sign.time, (sign.numerator, sign.denominator)) for sign in raw.time_signatures if sign.numerator], (4, 4))
    tempos = _first_at_zero([(tempo.time, round(float(tempo.qpm), 3)) for tempo in raw.tempos if tempo.qpm > 0], None)
    score = Score(parts=parts, ticks=int(raw.ticks_per_quarter), metres=metres, tempos=tempos, key=_signature(raw))
    return bounded(_marked(score, [(marker.time, marker.text) for marker in raw.markers]))


def bounded(score: Score) -> Score:
    """The score, if it is no longer than music can be.

    Raises:
        DataError: it is.
    """
    if score.seconds > MOST_SECONDS or score.end > MOST_QUARTERS * score.ticks:
        raise DataError("the music lasts longer than {hours} hours", hours=int(MOST_SECONDS // 3600))
    return score


def read(data: bytes, mime: str = "") -> Score:
    """A score in MIDI, MusicXML (plain or zipped) or ABC (the first tune), by what it begins with; `mime` names ABC.

    Raises:
        DataError: none of them, or damaged.
    """
    if data.startswith(b"MThd"):
        return read_midi(data)
    if data.startswith(b"PK") or b"<score-partwise" in data[:4096]:
        from miaobi.data import musicxml

        return musicxml.read(data)
    if "abc" in mime or data.lstrip()[:2] == b"X:":
        from miaobi.data import abc

        for _, tune in abc.tunes(data.decode("utf-8", "replace")):
            if isinstance(tune, DataError):
                raise tune
            return tune
    raise DataError("this is no score: MIDI, MusicXML and ABC are read")


def _part(track: Any) -> Part:
    notes = sorted(
        (Note(int(note.time), max(1, int(note.duration)), int(note.pitch), max(1, int(note.velocity))) for note in track.notes),
        key=lambda note: (note.start, note.pitch),
    )
    name = track.name.encode("utf-8", "replace").decode("utf-8", "replace").strip("\0 ")
    return Part(notes=tuple(notes), name=name, program=int(track.program), drums=bool(track.is_drum))


def _first_at_zero(found: Iterable[tuple[int, Any]], usual: Any) -> tuple[tuple[int, Any], ...]:
    by_tick = dict(sorted((int(tick), value) for tick, value in found))
    first = by_tick.get(0, next(iter(by_tick.values()), usual))
    if first is None:
        return ()
    return ((0, first), *((tick, value) for tick, value in by_tick.items() if tick > 0))


def _signature(raw: Any) -> Key | None:
    """The key of the first signature, major or minor."""
    for sign in raw.key_signatures:
        mode = "minor" if sign.tonality else "major"
        return Key(tonic=(7 * (int(sign.key) - MODES[mode])) % 12, mode=mode)
    return None


def _marked(score: Score, markers: Iterable[tuple[int, str]]) -> Score:
    """What our own markers say beside what the file says."""
    chords: list[tuple[int, str]] = []
    for tick, text in markers:
        name, _, value = text.partition("=")
        try:
            if name == "key":
                score = replace(score, key=Key.of(value))
            elif name == "pickup":
                score = replace(score, pickup=max(0, int(value)))
            elif name == "title":
                score = replace(score, title=value)
            elif name == "kind":
                score = replace(score, kind=value)
            elif name == "chord" and value.startswith(NAMES):
                chords.append((int(tick), value))
        except ValueError:
            continue  # a marker of another program that happens to look like ours
    return replace(score, chords=tuple(chords))


def write_midi(score: Score) -> bytes:
    """The score as a MIDI file of type 1; equal scores give equal bytes.

    Raises:
        MissingExtra: symusic is not installed.
    """
    symusic = _symusic()
    raw = symusic.Score(score.ticks)
    raw.time_signatures = [symusic.TimeSignature(tick, *metre) for tick, metre in score.metres]
    raw.tempos = [symusic.Tempo(tick, tempo) for tick, tempo in score.tempos]
    if score.key is not None:
        # shang is nearest to a minor key by its third, zhi to a major one; the marker holds the mode itself
        minor = score.key.mode in ("minor", "dorian", "phrygian", "locrian", "yu", "jue", "shang")
        raw.key_signatures = [symusic.KeySignature(0, score.key.fifths, int(minor))]
    said = {"title": score.title, "key": str(score.key or ""), "pickup": str(score.pickup or ""), "kind": score.kind}
    raw.markers = [symusic.TextMeta(0, f"{name}={value}") for name, value in said.items() if value]
    raw.markers.extend([symusic.TextMeta(tick, f"chord={name}") for tick, name in score.chords])
    for part in score.parts:
        track = symusic.Track(name=part.name, program=part.program, is_drum=part.drums)
        track.notes = [symusic.Note(note.start, note.duration, note.pitch, note.velocity) for note in part.notes]
        raw.tracks.append(track)
    return bytes(raw.dumps_midi())


def to_musicxml(midi: bytes) -> bytes:
    """A MIDI file as MusicXML.

    Raises:
        DataError: see `read_midi`.
    """
    from miaobi.data import musicxml

    return musicxml.write(read_midi(midi))
