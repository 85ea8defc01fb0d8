"""MusicXML (4.0, partwise; also zipped, `.mxl`) to scores and back.

Unusual: a score knows ticks and MIDI pitches only, so writing decides what a page needs: notes are cut at bar lines and into values that a
stem can show, tied where they were one, triplets are marked, rests fill each voice, and pitches are spelt by the key. Reading takes notes,
ties, chords and voices; repeats are not unfolded.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from xml.etree import ElementTree as ET

from miaobi.core.errors import DataError
from miaobi.data.scores import FIFTHS, GRID, MOST_BYTES, NAMES, Key, Note, Part, Score, bounded

_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_VALUES = {  # ticks of the grid: name, dots, and whether it is a part of a triplet
    96: ("whole", 0, False), 144: ("whole", 1, False), 48: ("half", 0, False), 72: ("half", 1, False), 24: ("quarter", 0, False),
    36: ("quarter", 1, False), 12: ("eighth", 0, False), 18: ("eighth", 1, False), 6: ("16th", 0, False), 9: ("16th", 1, False),
    3: ("32nd", 0, False), 16: ("quarter", 0, True), 8: ("eighth", 0, True), 4: ("16th", 0, True), 2: ("32nd", 0, True),
    1: ("64th", 0, True),
}  # fmt: skip
_SHARP = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_FLAT = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "Cb")
_MOST_NOTES = 200_000


def read(data: bytes) -> Score:
    """The score of a MusicXML file, plain or zipped, on the grid.

    Raises:
        DataError: no MusicXML, damaged, too large, without a note, or with a metre that is none.
    """
    try:
        root = ET.fromstring(_unzipped(data))
    except (ET.ParseError, ValueError, LookupError) as error:  # the last of an encoding that nobody knows
        raise DataError("the MusicXML cannot be read: {error}", error=str(error)[:120]) from None
    if root.tag != "score-partwise":
        raise DataError("this is no partwise MusicXML (its root is {tag})", tag=root.tag[:40])
    names = {part.get("id", ""): part for part in root.iter("score-part")}
    try:
        read_parts = [_Part(part, names.get(part.get("id", ""))) for part in root.findall("part")]
    except (ValueError, OverflowError) as error:  # a number that is none
        raise DataError("the MusicXML cannot be read: {error}", error=str(error)[:120]) from None
    parts = tuple(part.done() for part in read_parts if part.notes)
    if not parts:
        raise DataError("the MusicXML holds no note")
    first = read_parts[0]
    title = root.findtext("work/work-title") or root.findtext("movement-title") or ""
    score = Score(
        parts=parts,
        metres=first.metres or ((0, (4, 4)),),
        tempos=tuple((0, part.tempo) for part in read_parts if part.tempo)[:1],
        key=first.key,
        pickup=first.pickup,
        title=title.strip(),
    )
    return bounded(score)


def _unzipped(data: bytes) -> bytes:
    if len(data) > MOST_BYTES:
        raise DataError("the MusicXML has more than {most} bytes", most=MOST_BYTES)
    if not data.startswith(b"PK"):
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if name.endswith((".xml", ".musicxml")) and not name.startswith("META-INF")]
            if not names or archive.getinfo(names[0]).file_size > 4 * MOST_BYTES:
                raise DataError("the zipped MusicXML holds no score, or one that is too large")
            return archive.read(names[0])
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise DataError("the MusicXML cannot be read: {error}", error=str(error)[:120]) from None


class _Part:
    """One part on its way: measures are read in order, positions counted in ticks of the grid."""

    def __init__(self, element: ET.Element, about: ET.Element | None) -> None:
        self.name = ((about.findtext("part-name") if about is not None else "") or "").strip()
        program = about.findtext("midi-instrument/midi-program") if about is not None else None
        self.program = min(127, max(0, int(program) - 1)) if program and program.strip().isdigit() else 0
        self.notes: list[Note] = []
        self.metres: tuple[tuple[int, tuple[int, int]], ...] = ()
        self.key: Key | None = None
        self.tempo = 0.0
        self.pickup = 0
        self._divisions, self._transpose, self._at, self._last = 1, 0, 0, 0
        self._open: dict[tuple[str, int], int] = {}  # (voice, pitch) of a tie to the place of its note
        for number, measure in enumerate(element.findall("measure")):
            self._measure(measure, number)

    def _measure(self, measure: ET.Element, number: int) -> None:
        start = longest = self._at
        for item in measure:
            if item.tag == "attributes":
                self._attributes(item)
            elif item.tag == "note":
                self._note(item)
            elif item.tag in ("backup", "forward"):
                self._at += self._ticks(item) * (-1 if item.tag == "backup" else 1)
            elif (sound := item if item.tag == "sound" else item.find("sound")) is not None and not self.tempo:
                self.tempo = min(400.0, max(20.0, float(sound.get("tempo") or 0))) if sound.get("tempo") else 0.0
            longest = max(longest, self._at)
        self._at = longest
        full = 4 * GRID * self.metres[-1][1][0] // self.metres[-1][1][1] if self.metres else 96
        if number == 0 and longest - start < full:
            self.pickup = longest - start

    def _attributes(self, item: ET.Element) -> None:
        try:
            if divisions := item.findtext("divisions"):
                self._divisions = max(1, int(divisions))
            if (beats := item.findtext("time/beats")) and (kind := item.findtext("time/beat-type")):
                metre = (sum(int(beat) for beat in beats.split("+")), int(kind))
                if not 1 <= metre[0] <= 32 or metre[1] not in (1, 2, 4, 8, 16):
                    raise ValueError(beats)
                if not self.metres or self.metres[-1][1] != metre:
                    self.metres = (*self.metres, (self._at if self.metres else 0, metre))
            if (fifths := item.findtext("key/fifths")) and self.key is None:
                mode = (item.findtext("key/mode") or "").strip()
                self.key = _key(int(fifths), mode)
            if chromatic := item.findtext("transpose/chromatic"):
                self._transpose = int(chromatic) + 12 * int(item.findtext("transpose/octave-change") or 0)
        except ValueError as error:
            raise DataError("the MusicXML cannot be read: {error}", error=str(error)[:120]) from None

    def _ticks(self, item: ET.Element) -> int:
        try:
            return max(0, round(float(item.findtext("duration") or 0) * GRID / self._divisions))
        except (ValueError, OverflowError) as error:
            raise DataError("the MusicXML cannot be read: {error}", error=str(error)[:120]) from None

    def _note(self, item: ET.Element) -> None:
        if item.find("grace") is not None or item.find("cue") is not None:
            return
        ticks = self._ticks(item)
        at = self._last if item.find("chord") is not None else self._at
        self._last, self._at = at, max(self._at, at + ticks) if item.find("chord") is not None else at + ticks
        step = item.findtext("pitch/step")
        if step not in _STEPS or not ticks:
            return
        octave, alter = item.findtext("pitch/octave") or "4", item.findtext("pitch/alter") or "0"
        pitch = 12 * (int(octave) + 1) + _STEPS[step] + round(float(alter)) + self._transpose
        kinds = {tie.get("type") for tie in item.findall("tie")}
        place = self._open.pop((item.findtext("voice") or "1", pitch), None) if "stop" in kinds else None
        if place is not None and self.notes[place].end == at:
            self.notes[place] = replace(self.notes[place], duration=self.notes[place].duration + ticks)
        else:
            place = len(self.notes)
            self.notes.append(Note(at, ticks, min(127, max(0, pitch))))
        if "start" in kinds:
            self._open[item.findtext("voice") or "1", pitch] = place
        if len(self.notes) > _MOST_NOTES:
            raise DataError("the MusicXML has more than {most} notes", most=_MOST_NOTES)

    def done(self) -> Part:
        notes = tuple(sorted(self.notes, key=lambda note: (note.start, note.pitch)))
        return Part(notes=notes, name=self.name, program=self.program)


def _key(fifths: int, mode: str) -> Key | None:
    """A signature's key; None where it does not say its mode, because chorales in minor carry the signature alone."""
    offsets = {"major": 0, "minor": -3, "dorian": -2, "phrygian": -4, "lydian": 1, "mixolydian": -1}
    return Key(tonic=7 * (fifths - offsets[mode]) % 12, mode=mode) if mode in offsets else None


def write(score: Score) -> bytes:
    """The score as MusicXML; equal scores give equal bytes."""
    score = score.on_grid()
    root = ET.Element("score-partwise", version="4.0")
    if score.title:
        ET.SubElement(ET.SubElement(root, "work"), "work-title").text = _clean(score.title)
    listed = ET.SubElement(root, "part-list")
    for number, part in enumerate(score.parts, 1):
        about = ET.SubElement(listed, "score-part", id=f"P{number}")
        ET.SubElement(about, "part-name").text = _clean(part.name) or f"Part {number}"
        ET.SubElement(ET.SubElement(about, "score-instrument", id=f"P{number}-I1"), "instrument-name").text = _clean(part.name) or "?"
        midi = ET.SubElement(about, "midi-instrument", id=f"P{number}-I1")
        ET.SubElement(midi, "midi-channel").text = "10" if part.drums else str(1 + (number - 1) % 9)
        ET.SubElement(midi, "midi-program").text = str(part.program + 1)
    bars = list(_bars(score))
    for number, part in enumerate(score.parts, 1):
        element = ET.SubElement(root, "part", id=f"P{number}")
        _write_part(element, part, score, bars, first=number == 1)
    ET.indent(root, " ")
    head = b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" '
    body: bytes = ET.tostring(root, encoding="utf-8")
    return head + b'"http://www.musicxml.org/dtds/partwise.dtd">\n' + body + b"\n"


def _clean(text: str) -> str:
    """Without the control characters that XML has no place for."""
    return "".join(char for char in text if char >= " ")[:200]


def _bars(score: Score) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """(start, length, metre) of every bar to the end of the last note; an upbeat is a short bar of its own."""
    at, place = 0, 0
    if 0 < score.pickup < score.bar:
        yield 0, score.pickup, score.metre
        at = score.pickup
    while at < score.end:
        while place + 1 < len(score.metres) and score.metres[place + 1][0] <= at:
            place += 1
        metre = score.metres[place][1]
        length = max(1, 4 * GRID * metre[0] // metre[1])
        yield at, length, metre
        at += length


def _write_part(element: ET.Element, part: Part, score: Score, bars: Sequence[tuple[int, int, tuple[int, int]]], *, first: bool) -> None:
    voices = _voices(part.notes)
    pieces = [_pieces(voice, bars) for voice in voices]
    upbeat = bool(bars) and bars[0][1] < score.bar and score.pickup > 0
    for number, (start, length, metre) in enumerate(bars):
        measure = ET.SubElement(element, "measure", number=str(number if upbeat else number + 1))
        if upbeat and number == 0:
            measure.set("implicit", "yes")
        if number == 0 or metre != bars[number - 1][2]:
            _write_attributes(measure, score, metre, part, whole=number == 0)
        if number == 0 and first:
            ET.SubElement(ET.SubElement(measure, "direction", placement="above"), "direction-type").append(_metronome(score.tempo))
            ET.SubElement(measure[-1], "sound", tempo=f"{score.tempo:g}")
        if first:
            _write_chords(measure, score, start, length)
        for voice, found in enumerate(pieces):
            if voice:
                ET.SubElement(ET.SubElement(measure, "backup"), "duration").text = str(length)
            _write_voice(measure, found[number], start, length, voice + 1, score.key, drums=part.drums)
    if len(element):
        ET.SubElement(ET.SubElement(element[-1], "barline", location="right"), "bar-style").text = "light-heavy"


def _write_attributes(measure: ET.Element, score: Score, metre: tuple[int, int], part: Part, *, whole: bool) -> None:
    attributes = ET.SubElement(measure, "attributes")
    if whole:
        ET.SubElement(attributes, "divisions").text = str(GRID)
        key = ET.SubElement(attributes, "key")
        ET.SubElement(key, "fifths").text = str(score.key.fifths if score.key else 0)
        if score.key and score.key.mode in ("major", "minor", "dorian", "phrygian", "lydian", "mixolydian", "locrian"):
            ET.SubElement(key, "mode").text = score.key.mode
    time = ET.SubElement(attributes, "time")
    ET.SubElement(time, "beats").text = str(metre[0])
    ET.SubElement(time, "beat-type").text = str(metre[1])
    if whole:
        pitches = sorted(note.pitch for note in part.notes)
        low = bool(pitches) and pitches[len(pitches) // 2] < 57
        clef = ET.SubElement(attributes, "clef")
        sign, line = ("percussion", "2") if part.drums else ("F", "4") if low else ("G", "2")
        ET.SubElement(clef, "sign").text = sign
        ET.SubElement(clef, "line").text = line


def _metronome(tempo: float) -> ET.Element:
    mark = ET.Element("metronome")
    ET.SubElement(mark, "beat-unit").text = "quarter"
    ET.SubElement(mark, "per-minute").text = f"{tempo:g}"
    return mark


def _write_chords(measure: ET.Element, score: Score, start: int, length: int) -> None:
    kinds = {"": "major", "m": "minor", "dim": "diminished", "7": "dominant"}
    for tick, name in score.chords:
        if not start <= tick < start + length:
            continue
        root = next(root for root in sorted(NAMES, key=len, reverse=True) if name.startswith(root))
        harmony = ET.SubElement(measure, "harmony")
        _write_letter(ET.SubElement(harmony, "root"), root, "root-")
        ET.SubElement(harmony, "kind").text = kinds.get(name.removeprefix(root), "other")
        if tick > start:
            ET.SubElement(harmony, "offset").text = str(tick - start)


def _write_letter(element: ET.Element, name: str, prefix: str = "") -> None:
    ET.SubElement(element, f"{prefix}step").text = name[0]
    if name[1:]:
        ET.SubElement(element, f"{prefix}alter").text = {"#": "1", "b": "-1"}[name[1:]]


def _voices(notes: Sequence[Note]) -> list[list[Note]]:
    """Notes in as few lines as hold them without overlap; notes that begin and end together are one chord in one line."""
    lines: list[list[Note]] = []
    for note in sorted(notes, key=lambda note: (note.start, -note.duration, -note.pitch)):
        for line in lines:
            last = line[-1]
            if last.end <= note.start or (last.start, last.end) == (note.start, note.end):
                line.append(note)
                break
        else:
            lines.append([note])
    return lines or [[]]


def _pieces(notes: Sequence[Note], bars: Sequence[tuple[int, int, tuple[int, int]]]) -> list[list[tuple[Note, bool, bool]]]:
    """By bar, the notes cut at the bar lines: (piece, tied to what was before, tied to what follows)."""
    found: list[list[tuple[Note, bool, bool]]] = [[] for _ in bars]
    place = 0
    for note in notes:
        while place and bars[place][0] > note.start:
            place -= 1
        while place + 1 < len(bars) and bars[place + 1][0] <= note.start:
            place += 1
        number, at = place, note.start
        while at < note.end and number < len(bars):
            stop = min(note.end, bars[number][0] + bars[number][1])
            found[number].append((replace(note, start=at, duration=stop - at), at > note.start, stop < note.end))
            number, at = number + 1, stop
    return found


def _write_voice(
    measure: ET.Element, pieces: Sequence[tuple[Note, bool, bool]], start: int, length: int, voice: int, key: Key | None, *, drums: bool
) -> None:
    """One voice of a bar, rests between the notes."""
    at = start
    for place, (note, before, after) in enumerate(pieces):
        chord = place > 0 and pieces[place - 1][0].start == note.start
        if note.start > at and not chord:
            for begin, ticks in split(at - start, note.start - at):
                _write_value(measure, ticks, voice, start=begin)
        values = list(split(note.start - start, note.duration))
        for number, (begin, ticks) in enumerate(values):
            ties = (before or number > 0, after or number < len(values) - 1)
            _write_value(measure, ticks, voice, start=begin, pitch=note.pitch, ties=ties, chord=chord, key=key, drums=drums)
            if chord and len(values) > 1:
                break  # a chord whose value needs a tie keeps its lower notes for the first stem
        at = note.end
    if at < start + length:
        for begin, ticks in split(at - start, start + length - at):
            _write_value(measure, ticks, voice, start=begin)


def split(at: int, ticks: int) -> Iterator[tuple[int, int]]:
    """A length as values that stems can show, the longest first; from a place within a beat it fills the beat first."""
    while ticks > 0:
        inside = at % GRID
        room = GRID - inside if inside and ticks > GRID - inside and GRID - inside in _VALUES and ticks not in _VALUES else ticks
        triplet = inside % 3 != 0
        fitting = [value for value, (_, _, three) in _VALUES.items() if value <= min(room, ticks) and (three or not triplet)]
        whole = [value for value in fitting if value == min(room, ticks)]
        value = whole[0] if whole else max(fitting)
        yield at, value
        at += value
        ticks -= value


def _write_value(
    measure: ET.Element,
    ticks: int,
    voice: int,
    *,
    start: int,
    pitch: int | None = None,
    ties: tuple[bool, bool] = (False, False),
    chord: bool = False,
    key: Key | None = None,
    drums: bool = False,
) -> None:
    """One note or rest of one value."""
    del start
    note = ET.SubElement(measure, "note")
    if chord:
        ET.SubElement(note, "chord")
    if pitch is None:
        ET.SubElement(note, "rest")
    elif drums:
        name = spelt(pitch, None)
        unpitched = ET.SubElement(note, "unpitched")
        ET.SubElement(unpitched, "display-step").text = name[0]
        ET.SubElement(unpitched, "display-octave").text = str(pitch // 12 - 1)
    else:
        _write_pitch(ET.SubElement(note, "pitch"), pitch, key)
    ET.SubElement(note, "duration").text = str(ticks)
    kinds = [kind for kind, wanted in zip(("stop", "start"), ties) if wanted and pitch is not None]
    for kind in kinds:
        ET.SubElement(note, "tie", type=kind)
    ET.SubElement(note, "voice").text = str(voice)
    name, dots, triplet = _VALUES[ticks]
    ET.SubElement(note, "type").text = name
    for _ in range(dots):
        ET.SubElement(note, "dot")
    if triplet:
        modified = ET.SubElement(note, "time-modification")
        ET.SubElement(modified, "actual-notes").text = "3"
        ET.SubElement(modified, "normal-notes").text = "2"
    if kinds:
        notations = ET.SubElement(note, "notations")
        for kind in kinds:
            ET.SubElement(notations, "tied", type=kind)


def _write_pitch(element: ET.Element, pitch: int, key: Key | None) -> None:
    name = spelt(pitch, key)
    _write_letter(element, name)
    octave = pitch // 12 - 1 + (1 if name == "Cb" else 0)
    ET.SubElement(element, "octave").text = str(octave)


def spelt(pitch: int, key: Key | None) -> str:
    """The name of a pitch: leading notes of minor keys rise, else sharps in sharp keys and flats in flat ones."""
    fifths = key.fifths if key else 0
    if key and key.mode in ("minor", "yu") and pitch % 12 == (key.tonic + 11) % 12 and FIFTHS[key.tonic] >= -4:
        return _SHARP[pitch % 12]
    if pitch % 12 == 11:
        return "Cb" if fifths <= -6 else "B"
    if fifths == 0:
        return NAMES[pitch % 12]
    return (_SHARP if fifths > 0 else _FLAT)[pitch % 12]
