"""Tunes in ABC notation (Walshaw, standard 2.1) as scores of one part.

Unusual: repeats are not unfolded, since a tune that says everything twice teaches nothing more; of first and second endings the second is
kept. Partial bars around a repeat sign are joined to the full bar that they are. What is not melody (chord names, ornaments, slurs, words,
fingerings) is skipped; of a chord the highest note sounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from miaobi.core.errors import DataError
from miaobi.data.scores import GRID, Key, Note, Part, Score, bounded

_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_SHARPS, _FLATS = "FCGDAEB", "BEADGCF"
_MODES = {
    "": "major", "maj": "major", "ion": "major", "m": "minor", "min": "minor", "aeo": "minor", "dor": "dorian", "phr": "phrygian",
    "lyd": "lydian", "mix": "mixolydian", "loc": "locrian",
}  # fmt: skip
KINDS = (
    "strathspey", "hornpipe", "reel", "slip jig", "jig", "march", "waltz", "minuet", "gavotte", "cotillon", "quick step", "clog", "fling",
    "polka", "slide", "lament", "air",
)  # fmt: skip
_TOKEN = re.compile(
    r"""(?P<field>\[[A-Za-z]:[^\]]*\])
    |(?P<text>"[^"]*")
    |(?P<grace>\{[^}]*\})
    |(?P<mark>![^!\s]*!|\+[^+\s]*\+)
    |(?P<bar>:*\|+[\]:]*\d?(?:,\d)*|::|:*\|\]|\[\||\[\d(?:,\d)*)
    |(?P<tuplet>\(\d(?::\d?)?(?::\d?)?)
    |(?P<chord>\[(?:[\^_=]*[A-Ga-g][,']*[\d/]*-?\s*|"[^"]*"|[uvT~.])+\](?P<chord_length>\d*/*\d*))
    |(?P<rest>[zx])(?P<rest_length>\d*/*\d*)
    |(?P<bars>Z)(?P<num_bars>\d*)
    |(?P<accidental>\^\^|\^|__|_|=)?(?P<letter>[A-Ga-g])(?P<octave>[,']*)(?P<length>\d*/*\d*)
    |(?P<broken>>+|<+)
    |(?P<tie>-)
    |(?P<overlay>&)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(slots=True)
class _Bar:
    """A bar as it is written: (length in quarters, pitch or None, tied to the next) one after the other."""

    notes: list[tuple[Fraction, int | None, bool]] = field(default_factory=list)
    ending: int = 0  # of which ending it is, 0 of none
    repeat: bool = False  # a repeat sign stands behind it

    @property
    def length(self) -> Fraction:
        return sum((length for length, _, _ in self.notes), Fraction(0))


def tunes(text: str) -> Iterator[tuple[str, Score | DataError]]:
    """Every tune of a file by its number: a score, or why it is none."""
    for block in re.split(r"(?m)^(?=X:)", text.replace("\r\n", "\n").replace("\r", "\n")):
        if block.startswith("X:"):
            number = block[2:].partition("\n")[0].partition("%")[0].strip() or "1"
            try:
                yield number, read_tune(block)
            except DataError as error:
                yield number, error


def read_tune(block: str) -> Score:
    """One tune.

    Raises:
        DataError: it has several voices, no metre, no note, numbers that are none, or bars that do not fit its metre.
    """
    try:
        return _read(block)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise DataError("the tune cannot be read: {error}", error=str(error)[:120]) from None


def _read(block: str) -> Score:
    header, body = _parted(block)
    if header.get("V", "1") not in ("1", "") or re.search(r"(?m)^V:|\[V:", body):
        raise DataError("the tune has several voices")
    metre = _metre(header.get("M", ""))
    key = _key(header.get("K", ""))
    unit = _unit(header.get("L", ""), metre)
    bars = _bars(body, key, unit)
    notes, pickup = _laid_out(_chosen(bars), Fraction(4 * metre[0], metre[1]))
    if not notes:
        raise DataError("the tune has no note")
    tempo = _tempo(header.get("Q", ""), unit)
    title = header.get("T", "").strip()
    score = Score(
        parts=(Part(notes=tuple(notes), name=title, program=40),),
        metres=((0, metre),),
        tempos=((0, tempo),) if tempo else (),
        key=key,
        pickup=pickup,
        title=title,
        kind=kind_of(header.get("R", "") or title, metre),
    )
    return bounded(score)


def kind_of(text: str, metre: tuple[int, int]) -> str:
    """The kind of piece that a rhythm field or a title names; empty when none."""
    lowered = text.lower().replace("slipjig", "slip jig").replace("quickstep", "quick step")
    found = next((kind for kind in KINDS if re.search(rf"\b{kind}", lowered)), "")
    return "slip jig" if found == "jig" and metre == (9, 8) else found


def _parted(block: str) -> tuple[dict[str, str], str]:
    """Header fields (the first of each) and the lines of music, comments and continuations resolved."""
    header: dict[str, str] = {}
    body: list[str] = []
    for line in block.split("\n"):
        line = re.sub(r"(?<!\\)%.*", "", line).rstrip()
        if match := re.match(r"([A-Za-z]):(.*)", line):
            name, value = match[1], match[2].strip()
            if "K" not in header:
                header.setdefault(name, value)
            elif name in "KML":
                body.append(f"[{name}:{value}]")
            elif name == "V":
                body.append("[V:]")
        elif "K" in header and line.strip():
            body.append(line.rstrip("\\ "))
    return header, "\n".join(body)


def _metre(text: str) -> tuple[int, int]:
    text = text.strip()
    if text in ("C", ""):
        return (4, 4)
    if text == "C|":
        return (2, 2)
    match = re.match(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= 32 or int(match[2]) not in (1, 2, 4, 8, 16):
        raise DataError("the tune has no metre that is known: {metre}", metre=text[:40])
    return int(match[1]), int(match[2])


def _key(text: str) -> Key:
    text = text.strip()
    if text.startswith(("Hp", "HP")):
        return Key(tonic=9, mode="mixolydian")
    match = re.match(r"([A-G])([#b]?)\s*([A-Za-z]*)", text)
    if not match:
        return Key(tonic=0)
    mode = _MODES.get(match[3].lower()[:3], "major")
    return Key(tonic=(_LETTERS[match[1]] + {"#": 1, "b": -1, "": 0}[match[2]]) % 12, mode=mode)


def _unit(text: str, metre: tuple[int, int]) -> Fraction:
    """The unit of length in quarters; where none is given, by the metre."""
    if match := re.match(r"(\d+)/(\d+)", text.strip()):
        return Fraction(4 * int(match[1]), int(match[2]))
    return Fraction(1, 4) if Fraction(*metre) < Fraction(3, 4) else Fraction(1, 2)


def _tempo(text: str, unit: Fraction) -> float:
    """Quarters a minute; 0 when the field gives no number."""
    if match := re.search(r"(\d+)/(\d+)\s*=\s*(\d+)", text):
        return _bounded(Fraction(4 * int(match[1]), max(1, int(match[2]))) * int(match[3]))
    if match := re.match(r"\s*(\d+)\s*$", text):
        return _bounded(unit * int(match[1]))
    return 0.0


def _bounded(tempo: Fraction) -> float:
    return min(400.0, max(20.0, float(tempo)))


def _length(text: str, unit: Fraction) -> Fraction:
    """`3/2`, `/`, `//`, `2` of the unit."""
    match = re.fullmatch(r"(\d*)(/*)(\d*)", text)
    assert match
    above = int(match[1]) if match[1] else 1
    below = (int(match[3]) if match[3] else 2 ** len(match[2])) if match[2] else 1
    return unit * above / max(1, below)


def _alterations(key: Key) -> dict[str, int]:
    """The signature: which letters are raised or lowered."""
    fifths = key.fifths
    return dict.fromkeys(_SHARPS[:fifths], 1) if fifths >= 0 else dict.fromkeys(_FLATS[:-fifths], -1)


class _Reader:
    """Goes over the music once; bars come out."""

    def __init__(self, key: Key, unit: Fraction) -> None:
        self.signature, self.unit = _alterations(key), unit
        self.bars: list[_Bar] = [_Bar()]
        self.local: dict[str, int] = {}  # accidentals of this bar
        self.tuplet: list[Fraction] = []  # factors of the next notes
        self.broken = Fraction(1)  # of the next note
        self.skipping = False  # an overlaid voice, to the end of its bar
        self.place, self.altered, self.tied_to = "", 0, ""  # of the last note: its letter, how far it is raised; what a tie leads to

    def read(self, body: str) -> list[_Bar]:
        for match in _TOKEN.finditer(body):
            if match["bar"]:
                self._bar(match["bar"])
            elif self.skipping:
                continue
            elif match["field"]:
                self._field(match["field"])
            elif match["tuplet"]:
                self._tuplet(match["tuplet"])
            elif match["chord"]:
                self._chord(match["chord"], match["chord_length"] or "")
            elif match["rest"]:
                self._note(None, match["rest_length"])
            elif match["letter"]:
                self._note(self._pitch(match["accidental"] or "", match["letter"], match["octave"]), match["length"])
            elif match["broken"]:
                self._break(match["broken"])
            elif match["tie"]:
                self._tie()
            elif match["bars"]:
                raise DataError("the tune has rests of several bars")
            elif match["overlay"]:
                self.skipping = True
        return [bar for bar in self.bars if bar.notes or bar.repeat]

    def _bar(self, sign: str) -> None:
        self.local, self.skipping = {}, False
        digits = re.search(r"\d", sign)
        current = self.bars[-1]
        current.repeat |= sign.startswith(":")
        closed = current.repeat or "||" in sign or "]" in sign or sign.startswith("[|") or sign.endswith(":")
        fresh = _Bar(ending=int(digits[0]) if digits else 0 if closed else current.ending)
        if current.notes or current.repeat:
            self.bars.append(fresh)
        else:
            current.ending = fresh.ending

    def _field(self, text: str) -> None:
        if text[1] == "K":
            self.signature = _alterations(_key(text[3:-1]))
        elif text[1] == "L":
            self.unit = _unit(text[3:-1], (4, 4))
        elif text[1] == "M":
            raise DataError("the tune changes its metre")

    def _tuplet(self, text: str) -> None:
        numbers = [int(number) if number else 0 for number in text[1:].split(":")] + [0, 0]
        p = numbers[0]
        q = numbers[1] or {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}.get(p, 2)
        self.tuplet = [Fraction(q, max(1, p))] * (numbers[2] or p)

    def _pitch(self, accidental: str, letter: str, octave: str) -> int:
        name = letter.upper()
        place = name + octave + ("'" if letter.islower() else "")
        if accidental:
            self.local[place] = {"^": 1, "^^": 2, "_": -1, "__": -2, "=": 0}[accidental]
        elif self.tied_to == place:  # a tie takes the accidental along over the bar line
            self.local[place] = self.altered
        altered = self.local.get(place, self.signature.get(name, 0))
        self.place, self.altered, self.tied_to = place, altered, ""
        return 60 + _LETTERS[name] + (12 if letter.islower() else 0) + 12 * (octave.count("'") - octave.count(",")) + altered

    def _chord(self, text: str, length: str) -> None:
        inner = re.sub(r'"[^"]*"', "", text[1 : text.rindex("]")])
        found = re.findall(r"(\^\^|\^|__|_|=)?([A-Ga-g])([,']*)(\d*/*\d*)", inner)
        if found:
            self._note(max(self._pitch(*parts[:3]) for parts in found), length or found[0][3])

    def _note(self, pitch: int | None, length: str) -> None:
        value = _length(length, self.unit) * self.broken
        self.broken = Fraction(1)
        if self.tuplet:
            value *= self.tuplet.pop(0)
        self.bars[-1].notes.append((value, pitch, False))

    def _break(self, sign: str) -> None:
        """`a>b` dots the first and halves the second; `<` the other way round; twice or thrice for more."""
        notes = self.bars[-1].notes
        if not notes:
            return
        short = Fraction(1, 2 ** len(sign))
        first, self.broken = (2 - short, short) if sign[0] == ">" else (short, 2 - short)
        length, pitch, tied = notes[-1]
        notes[-1] = (length * first, pitch, tied)

    def _tie(self) -> None:
        for bar in reversed(self.bars):
            if bar.notes:
                length, pitch, _ = bar.notes[-1]
                bar.notes[-1] = (length, pitch, pitch is not None)
                self.tied_to = self.place
                return


def _bars(body: str, key: Key, unit: Fraction) -> list[_Bar]:
    return _Reader(key, unit).read(body)


def _chosen(bars: Sequence[_Bar]) -> list[_Bar]:
    """Without first endings that have a second one behind them."""
    kept = []
    for place, bar in enumerate(bars):
        after = next((later.ending for later in bars[place + 1 :] if later.ending != bar.ending), 0)
        if bar.ending != 1 or after < 2:
            kept.append(bar)
    return [bar for bar in kept if bar.notes]


def _laid_out(bars: Sequence[_Bar], full: Fraction) -> tuple[list[Note], int]:
    """Notes on the grid and the ticks of the upbeat.

    Raises:
        DataError: more than every eighth bar is neither full nor a part of a full one.
    """
    notes: list[Note] = []
    odd = num_bars = place = 0
    start = pickup = Fraction(0)
    open_tie = False
    while place < len(bars):
        group = [bars[place]]
        length = bars[place].length
        if length < full and place == 0:
            pickup = length
        elif length < full and place + 1 < len(bars) and length + bars[place + 1].length == full:
            group.append(bars[place + 1])
        elif length > full:
            raise DataError("bar {number} is longer than the metre", number=num_bars + 1)
        elif length < full:
            odd += place + 1 < len(bars)  # the last one lacks what the upbeat has
        at = start
        for value, pitch, tied in (note for bar in group for note in bar.notes):
            open_tie = _append(notes, at, value, pitch, tied=tied, held=open_tie)
            at += value
        whole_bar = place > 0 or length >= full
        start += full if whole_bar else length
        num_bars += whole_bar
        place += len(group)
    if odd > max(1, num_bars // 8):
        raise DataError("{odd} bars are neither full nor a part of a full one", odd=odd)
    return notes, round(pickup * GRID)


def _append(notes: list[Note], start: Fraction, length: Fraction, pitch: int | None, *, tied: bool, held: bool) -> bool:
    """Add a note, or lengthen the one before when it is tied to this; whether this one is tied to the next."""
    if pitch is None:
        return False
    first, last = round(start * GRID), round((start + length) * GRID)
    if last <= first:
        raise DataError("the tune has notes shorter than the grid")
    if held and notes and notes[-1].pitch == pitch and notes[-1].end == first:
        notes[-1] = Note(notes[-1].start, last - notes[-1].start, pitch)
    else:
        notes.append(Note(first, last - first, pitch))
    return tied
