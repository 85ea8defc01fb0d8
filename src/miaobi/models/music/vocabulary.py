"""The words of a score: about four hundred tokens that never change, so a model's ids mean the same in every version of it.

REMI (Huang & Yang, 2020) with five changes: pitches are relative to the tonic, which stands at a C; a bar says how many are left, itself
included; what sounds on over a bar line is *held*; a rest is a note without pitch, so that every bar is filled to its end; and in place of
a position and a duration a note says *until* which place in the bar it sounds, where the next one begins: two words a note and not three.
"""

from __future__ import annotations

from functools import cache

from miaobi.data.abc import KINDS as TUNES
from miaobi.data.harmony import QUALITIES
from miaobi.data.instruments import INSTRUMENTS
from miaobi.data.scores import MODES

KINDS = (*TUNES, "chorale")
METRES = ((2, 2), (4, 4), (2, 4), (3, 4), (6, 8), (9, 8), (3, 8), (12, 8), (6, 4), (3, 2))
TEMPOS = (70, 92, 112, 140, 180)  # upper ends of the classes, in quarters a minute; the last class has none
MOST_PARTS = 4
MOST_BARS = 64  # that a bar can say are left; with more it says this
LOWEST, HIGHEST = 24, 103
LONGEST = 144  # ticks of a bar
PLACES = tuple(tick for tick in range(LONGEST + 1) if tick % 3 == 0 or tick % 4 == 0)


@cache
def words() -> tuple[str, ...]:
    """Every token's name, by id."""
    return (
        "<pad>", "<begin>", "<end>",
        "kind any", *(f"kind {kind}" for kind in KINDS),
        *(f"mode {mode}" for mode in MODES),
        *(f"metre {beats}/{unit}" for beats, unit in METRES),
        "tempo any", *(f"tempo {number}" for number in range(len(TEMPOS) + 1)),
        *(f"instrument {name}" for name in INSTRUMENTS),
        *(f"part {number}" for number in range(2, MOST_PARTS + 1)),
        *(f"bar {left}" for left in range(MOST_BARS + 1)),  # bar 0 is the upbeat
        *(f"from {tick}" for tick in PLACES if 0 < tick < LONGEST),  # where an upbeat begins
        *(f"chord {root}:{quality}" for root in range(12) for quality in QUALITIES),
        *(f"pitch {pitch}" for pitch in range(LOWEST, HIGHEST + 1)), "rest", "hold",
        *(f"until {tick}" for tick in PLACES if tick),
    )  # fmt: skip


@cache
def ids() -> dict[str, int]:
    """Every token's id, by name."""
    return {word: number for number, word in enumerate(words())}


def id_of(*parts: object) -> int:
    """The id of a token: `id_of("pitch", 60)`."""
    return ids()[" ".join(map(str, parts))]


def tempo_class(tempo: float) -> int:
    """Which class a tempo falls into."""
    return sum(tempo > end for end in TEMPOS)
