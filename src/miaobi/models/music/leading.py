"""How voices of a choir go together: no parallel fifths and octaves, and no gap of more than an octave between the upper three.

A rule of taste and not of form: where no tone keeps it, one that does not is sung. Two voices are parallel that move at the same moment
from a fifth (an octave, a unison) to another one, the rule of the textbooks since Fux (1725).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PARALLEL = frozenset({0, 7})  # semitones, octaves aside, of intervals that do not follow one another
WIDEST = 12  # semitones between soprano and alto, and between alto and tenor


@dataclass(frozen=True, slots=True)
class Motion:
    """Another voice that begins a tone at the same moment: the pitch that it comes from, and the one that it goes to."""

    before: int
    now: int

    def parallel(self, before: int, now: int) -> bool:
        """Whether a voice below it that goes from one pitch to another moves in fifths or octaves with it."""
        interval = (self.before - before) % 12
        return interval in PARALLEL and (self.now - now) % 12 == interval and now != before and self.now != self.before


def well_led(pitches: Sequence[int], before: int, motions: Sequence[Motion], *, above: int | None) -> list[int]:
    """The pitches that a voice may go to from `before`, under one that sounds `above` (None: no matter); all of them where none is good."""
    free = [pitch for pitch in pitches if before < 0 or not any(motion.parallel(before, pitch) for motion in motions)] or list(pitches)
    return [pitch for pitch in free if above is None or above - pitch <= WIDEST] or free
