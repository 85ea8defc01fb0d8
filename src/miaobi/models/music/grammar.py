"""What may follow in a score, as an automaton for decoding: every bar is filled to its end, every pitch is in range and in the mode.

Beside the form that the vocabulary gives (`layout`): a triplet is finished before anything else begins and short notes do not run over
the beat; voices of a choir do not cross, move in parallel fifths or octaves, or part too far where that can be helped (`leading`), and on
a beat they sing tones of the chord that was named; the last note is the tonic, and long enough to be an end. In a piece of periods the
fifth and the sixth bar of every eight are the first and the second again. A melody that is given is forced note by note; everything around
it is free.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from miaobi.data.harmony import CHORDS, PARENTS, PENTATONIC, SCALES, chords_per_bar
from miaobi.data.scores import GRID
from miaobi.models.music.codec import END
from miaobi.models.music.layout import Event
from miaobi.models.music.leading import Motion, well_led
from miaobi.models.music.vocabulary import HIGHEST, LONGEST, LOWEST, MOST_BARS, PLACES, id_of, words

Mask = NDArray[np.bool_]
REST, HOLD = -1, -2  # what is sounding or chosen, where it is no pitch
_TRIAD = (0, 3, 4, 7)
LEAP = 12  # semitones from one note to the next, at most


@dataclass(frozen=True, slots=True)
class State:
    """Where a score stands. `untils` and `pitches` are of each part; `melody` is what the first part does in this bar."""

    want: str  # bar, from, chord, what, until, part, end
    left: int  # bars to come behind this one
    upbeat: bool = False
    number: int = -1  # of the bar, from 0
    untils: tuple[int, ...] = ()
    pitches: tuple[int, ...] = ()
    chords: int = 0  # still to be named in this bar
    part: int = 0
    what: int = REST
    offset: int = 0
    melody: tuple[tuple[int, int], ...] = ()  # (until, pitch)
    named: tuple[int, ...] = ()  # the chords of this bar, as tokens
    past: tuple[tuple[tuple[tuple[int, int], ...], tuple[int, ...]], ...] = ()  # melody and chords of every bar before
    moved: tuple[tuple[int, int], ...] = ()  # of each part: where its event of this bar began, and the pitch before it


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a request asks. `ranges` are relative pitches, lowest and highest of each part."""

    mode: str
    metre: tuple[int, int]
    bars: int
    ranges: tuple[tuple[int, int], ...]
    upbeat: int | None = None  # ticks; None leaves it to the model
    strict: bool = True  # no tone outside of the mode
    periods: bool = False  # bars 5 and 6 of every eight are bars 1 and 2
    given: tuple[tuple[Event, ...], ...] | None = None  # the first part, bar by bar

    @property
    def length(self) -> int:
        """Ticks of a bar."""
        return 4 * GRID * self.metre[0] // self.metre[1]


class ScoreGrammar:
    """A `Constraint` over the tokens behind a header. `told` are tokens that stand in the prompt already."""

    def __init__(self, rules: Rules, *, told: Sequence[int] = ()) -> None:
        self.rules = rules
        self.size = len(words())
        scale = set(SCALES[rules.mode]) | ({9, 11} if rules.mode == "minor" else set())
        self.scale = frozenset(range(12)) if not rules.strict else frozenset(scale)
        last = [event.pitch for bar in (rules.given or ())[-1:] for event in bar if event.pitch is not None]
        self.open_end = bool(last) and last[-1] % 12 not in _TRIAD  # a given melody that does not come home
        self.first = State(want="bar", left=rules.bars, pitches=(REST,) * len(rules.ranges))
        for token in told:
            self.first = self.advance(self.first, token)

    def start(self) -> State:
        """Behind the prompt."""
        return self.first

    def allowed(self, state: State) -> Mask:
        """The tokens that may come, (V,)."""
        mask: Mask = getattr(self, f"_{state.want}")(state)
        return mask

    def advance(self, state: State, token: int) -> State:
        """The state behind a token."""
        name, _, value = words()[token].partition(" ")
        if name == "bar":
            return self._begun(state, int(value))
        if name == "from":
            start = int(value)
            return replace(state, want="what", offset=start, untils=(start,) * len(state.pitches))
        if name == "chord":
            state = replace(state, chords=state.chords - 1, named=(*state.named, token))
            return state if state.chords else self._next(state)
        if name == "part":
            return replace(state, want="what", part=int(value) - 1)
        if name in ("pitch", "rest", "hold"):
            return replace(state, want="until", what={"rest": REST, "hold": HOLD}.get(name) or int(value))
        if name == "until":
            return self._sounded(state, int(value))
        return replace(state, want="end")

    # ------------------------------------------------------------------ states

    def _begun(self, state: State, number: int) -> State:
        upbeat = number == 0
        left = state.left if upbeat else state.left - 1
        chords = 0 if upbeat else chords_per_bar(self.rules.metre)
        past = (*state.past, (state.melody, state.named)) if state.number >= 0 else ()
        fresh = replace(
            state, left=left, upbeat=upbeat, number=state.number + 1, untils=(0,) * len(state.pitches), chords=chords, part=0, offset=0,
            melody=(), named=(), past=past, moved=((-1, REST),) * len(state.pitches),
        )  # fmt: skip
        if upbeat:
            return replace(fresh, want="from")
        return replace(fresh, want="chord" if len(state.pitches) == 1 else "what")

    def _sounded(self, state: State, until: int) -> State:
        part = state.part
        pitch = state.pitches[part] if state.what == HOLD else state.what
        untils = tuple(until if number == part else old for number, old in enumerate(state.untils))
        pitches = tuple(pitch if number == part else old for number, old in enumerate(state.pitches))
        melody = (*state.melody, (until, pitch)) if part == 0 else state.melody
        here = (state.untils[part], state.pitches[part])
        moved = tuple(here if number == part else old for number, old in enumerate(state.moved))
        return self._next(replace(state, untils=untils, pitches=pitches, melody=melody, moved=moved))

    def _next(self, state: State) -> State:
        """What comes when an event or the last chord is complete."""
        length = self.rules.length
        if state.untils[0] < length:
            return replace(state, want="what", part=0)
        if len(state.untils) > 1:
            if state.chords:
                return replace(state, want="chord")
            until, part = min((until, part) for part, until in enumerate(state.untils) if part)
            if until < length:
                return replace(state, want="part", part=part)
        return replace(state, want="bar" if state.left else "end")

    # ------------------------------------------------------------------ masks

    def _bar(self, state: State) -> Mask:
        full = id_of("bar", min(MOST_BARS, state.left))
        if state.number >= 0 or self.rules.upbeat == 0:
            return _only(self.size, full)
        if self.rules.upbeat:
            return _only(self.size, id_of("bar", 0))
        return _only(self.size, full, id_of("bar", 0))

    def _from(self, state: State) -> Mask:
        length = self.rules.length
        if self.rules.upbeat:
            return _only(self.size, id_of("from", length - self.rules.upbeat))
        return _only(self.size, *(id_of("from", tick) for tick in PLACES if length // 2 <= tick < length and tick % 6 == 0))

    def _chord(self, state: State) -> Mask:
        if (copied := self._again(state)) is not None:
            return _only(self.size, copied[1][len(state.named)])
        mask = chord_mask(self.rules.mode, self.rules.strict)
        if len(state.untils) == 1:
            return mask
        pitch = _at(state.melody, self.rules.length * len(state.named) // chords_per_bar(self.rules.metre))
        fitting = mask & with_tone(pitch % 12) if pitch >= 0 else mask
        if not state.left and state.chords == 1:
            last = next((pitch for _, pitch in reversed(state.melody) if pitch >= 0), REST)
            if last >= 0 and (home := mask & with_tone(last % 12) & on_tonic()).any():
                return home
        return fitting if fitting.any() else mask

    def _part(self, state: State) -> Mask:
        return _only(self.size, id_of("part", state.part + 1))

    def _end(self, state: State) -> Mask:
        return _only(self.size, END)

    def _what(self, state: State) -> Mask:
        if state.part == 0 and (event := self._forced(state)) is not None:
            return _only(self.size, id_of("hold") if event.held else id_of("rest") if event.pitch is None else id_of("pitch", event.pitch))
        start, before = state.untils[state.part], state.pitches[state.part]
        low, high = self._bounds(state)
        tones = self._tones(state)
        pitches = [pitch for pitch in range(low, high + 1) if pitch % 12 in tones and (before < 0 or abs(pitch - before) <= LEAP)]
        pitches = pitches or [pitch for pitch in range(low, high + 1) if pitch % 12 in tones]
        pitches = pitches or [pitch for pitch in range(low, high + 1) if pitch % 12 in self.scale] or [(low + high) // 2]
        free = bool(state.left or state.upbeat or self._ends(state))  # else this is the last note, and has to come home
        wanted = [pitch for pitch in pitches if free or self._final(pitch, state.part)]
        mask = _only(self.size, *(id_of("pitch", pitch) for pitch in self._led(state, wanted)))
        if self._may_rest(state) and (free or self._final(before, state.part)):
            mask[id_of("rest")] = True
        if start == 0 and before >= 0 and state.number > 0 and low <= before <= high and (free or self._final(before, state.part)):
            mask[id_of("hold")] = True
        if not mask.any():  # home is out of reach for a chord tone or a step: then a leap to it, or what can be sung without crossing
            near = [pitch for pitch in range(low, high + 1) if self._final(pitch, state.part)] or pitches
            mask = _only(self.size, *(id_of("pitch", pitch) for pitch in self._led(state, near)))
        return mask

    def _led(self, state: State, pitches: Sequence[int]) -> Sequence[int]:
        """In a choir, the pitches that go well with the voices above; see `leading`."""
        if not state.part or not pitches:
            return pitches
        start, part = state.untils[state.part], state.part
        motions = [
            Motion(before, state.pitches[other]) for other, (at, before) in enumerate(state.moved) if 0 < other < part and at == start
        ]
        if (soprano := self._soprano(state, start)) is not None:
            motions.append(soprano)
        sounding = _at(state.melody, start) if part == 1 else state.pitches[part - 1]
        bass = part == len(state.untils) - 1
        return well_led(
            pitches,
            state.pitches[part],
            [motion for motion in motions if motion.before >= 0 and motion.now >= 0],
            above=None if bass or sounding < 0 else sounding,
        )

    def _soprano(self, state: State, start: int) -> Motion | None:
        """What the first part does at a tick of the bar, if it begins an event there."""
        places = [0 if not state.upbeat else state.offset, *(until for until, _ in state.melody)]
        if start not in places[:-1]:
            return None
        number = places.index(start)
        earlier = state.melody[number - 1][1] if number else state.past[-1][0][-1][1] if state.past else REST
        return Motion(earlier, state.melody[number][1])

    def _until(self, state: State) -> Mask:
        if state.part == 0 and (event := self._forced(state)) is not None:
            return _only(self.size, id_of("until", event.until))
        ends = list(self._ends(state))
        pitch = state.pitches[state.part] if state.what in (REST, HOLD) else state.what
        if not ends or state.left or state.upbeat or self._final(pitch, state.part):
            ends.append(self.rules.length)
        if state.part:  # the melody of the bar is known: a voice under it ends before it would be crossed
            last = self._crossed(state.melody, state.untils[state.part], pitch)
            ends = [tick for tick in ends if tick <= last] or ends[:1]
        return _only(self.size, *(id_of("until", tick) for tick in ends))

    # ------------------------------------------------------------------ music

    def _forced(self, state: State) -> Event | None:
        """The next event of a given melody, or of a bar that comes again."""
        if self.rules.given is not None:
            return self.rules.given[state.number][len(state.melody)]
        if (copied := self._again(state)) is None:
            return None
        until, pitch = copied[0][len(state.melody)]
        return Event(state.untils[0], until, pitch if pitch >= 0 else None)

    def _again(self, state: State) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]] | None:
        """The melody and the chords of the bar that this one repeats, if it does; the last bar never does."""
        began_early = state.upbeat or (bool(state.past) and not state.past[0][1])  # an upbeat names no chords
        bar = state.number - began_early
        if not self.rules.periods or state.upbeat or bar % 8 not in (4, 5) or not state.left:
            return None
        return state.past[state.number - 4]

    def _tones(self, state: State) -> frozenset[int]:
        """What a part may sing now: in a choir on a beat the chord's tones, the bass its root or third; else the mode's."""
        start = state.untils[state.part]
        if not state.part or start % GRID or not state.named:
            return self.scale
        number = start * len(state.named) // self.rules.length
        root, *others = chord_tones(state.named[min(number, len(state.named) - 1)])
        step = self.rules.length // len(state.named)
        bass = state.part == len(state.untils) - 1 and start % step == 0
        return frozenset({root, others[0]} if bass else {root, *others})

    def _ends(self, state: State) -> tuple[int, ...]:
        """Where an event that begins now may end, the end of the bar aside; in the last bar a beat before it at the latest."""
        length = self.rules.length
        start = state.untils[state.part]
        last = length if state.left or state.upbeat else length - min(GRID, length // 2)
        return tuple(tick for tick in ends_from(start, length) if tick < length and tick <= last)

    def _crossed(self, melody: Sequence[tuple[int, int]], start: int, pitch: int) -> int:
        """The first tick behind `start` from which the melody is below a pitch; the end of the bar where it never is."""
        begins = [0, *(until for until, _ in melody)]
        under = (begin for begin, (until, above) in zip(begins, melody) if until > start and 0 <= above < pitch)
        return max(next(under, self.rules.length), start + 1)

    def _final(self, pitch: int, part: int) -> bool:
        """Whether a piece may end on this: the tonic; within a choir any tone of its chord."""
        if pitch < 0:
            return False
        if self.open_end:
            return True
        if part == 0 and len(self.rules.ranges) == 1:
            return pitch % 12 == 0
        if part == len(self.rules.ranges) - 1:
            return pitch % 12 == 0
        return pitch % 12 in _TRIAD

    def _may_rest(self, state: State) -> bool:
        """One rest a bar at most, none on the first beat of a melody, and only where a choir rests as well."""
        if len(state.untils) > 1 and state.part > 0:
            return _at(state.melody, state.untils[state.part]) == REST
        return state.untils[0] >= GRID and not any(pitch == REST for _, pitch in state.melody) and bool(state.melody)

    def _bounds(self, state: State) -> tuple[int, int]:
        """The range of the part now: its own, and between the voices above and below that are sounding."""
        low, high = self.rules.ranges[state.part]
        if not state.part:
            return low, high
        start = state.untils[state.part]
        under = [pitch for pitch, until in zip(state.pitches[state.part + 1 :], state.untils[state.part + 1 :]) if until > start]
        low = max([low, *under])
        over = [pitch for pitch in (*state.pitches[1 : state.part], _at(state.melody, start)) if pitch >= 0]
        for above in ([*over, *self._melody_ahead(state)], over):
            if low <= min([high, *above]):
                return low, min([high, *above])
        return self.rules.ranges[state.part]

    def _melody_ahead(self, state: State) -> list[int]:
        """What the melody sings while the shortest event that can begin now lasts."""
        start = state.untils[state.part]
        shortest = min([*self._ends(state), self.rules.length])
        begins = [0, *(until for until, _ in state.melody)]
        return [pitch for begin, (until, pitch) in zip(begins, state.melody) if until > start and begin < shortest and pitch >= 0]


def _only(size: int, *ids: int) -> Mask:
    mask = np.zeros(size, dtype=bool)
    mask[list(ids)] = True
    return mask


def _at(melody: Sequence[tuple[int, int]], tick: int) -> int:
    """What the first part sounds at a tick of the bar."""
    return next((pitch for until, pitch in melody if until > tick), REST)


@functools.cache
def ends_from(start: int, length: int) -> tuple[int, ...]:
    """Where a note that begins at `start` may end within a bar: triplets are completed, and short notes stay within their beat."""
    found = []
    for tick in PLACES:
        if start < tick <= min(length, LONGEST) and _flows(start, tick):
            found.append(tick)
    return tuple(found)


def _flows(start: int, tick: int) -> bool:
    ticks = tick - start
    if start % 3:  # inside of a triplet
        return ticks in (4, 8, 16) and start % GRID + ticks <= GRID
    if tick % 3:  # into one
        return (ticks == 4 and start % 12 == 0) or (ticks in (8, 16) and start % GRID == 0)
    if start % 6:  # behind an odd thirty-second note
        return tick <= start - start % 12 + 12
    if start % 12:  # behind an odd sixteenth
        return tick <= start - start % GRID + GRID
    return tick % 6 == 0 or ticks in (3, 9)


@functools.cache
def chord_mask(mode: str, strict: bool) -> Mask:
    """Chords of the mode (of a pentatonic one: of the mode that it comes from), or all."""
    size = len(words())
    names = [word for word in words() if word.startswith("chord ")]
    if not strict:
        return _only(size, *(id_of(name) for name in names))
    scale = set(SCALES[PARENTS[mode][0] if mode in PENTATONIC else mode]) | ({11} if mode == "minor" else set())
    return _only(size, *(id_of(name) for name in names if scale.issuperset(chord_tones(id_of(name)))))


@functools.cache
def chord_tones(token: int) -> tuple[int, ...]:
    """The tones of a chord above the tonic, its root first."""
    root, _, quality = words()[token].removeprefix("chord ").partition(":")
    return tuple((int(root) + tone) % 12 for tone in CHORDS[quality])


@functools.cache
def with_tone(tone: int) -> Mask:
    """The chords that a tone belongs to."""
    chords = [token for token, word in enumerate(words()) if word.startswith("chord ")]
    return _only(len(words()), *(token for token in chords if tone in chord_tones(token)))


@functools.cache
def on_tonic() -> Mask:
    """The triads on the tonic."""
    return _only(len(words()), id_of("chord", "0:"), id_of("chord", "0:m"))


def relative_range(low: int, high: int, shift: int) -> tuple[int, int]:
    """An instrument's range among relative pitches, at least an octave of it."""
    first, last = max(LOWEST, low + shift), min(HIGHEST, high + shift)
    return (first, last) if last - first >= 12 else (min(first, HIGHEST - 12), max(last, LOWEST + 12))
