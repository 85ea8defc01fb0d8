"""Tunes that are small, real and known by heart."""

from __future__ import annotations

import pytest

from miaobi.core.types import Media, Modality, Record
from miaobi.data import abc, scores
from miaobi.data.scores import Note, Part, Score

JIG = """X: 7
T: A Small Jig
R: jig
M: 6/8
L: 1/8
Q: 3/8=110
K: G
D | G2B dBG | A2c e3 | dcB AGF | G3 G2 :|
B | d2g bgd | e2a c'3 | bag f2d |1 g3 g2 :|2 g3 G2 |]
"""
AIR = """X: 8
T: Slow Air
M: 3/4
L: 1/4
K: Am
A>B c | e2 d | (3c/d/c/ B A | ^G3- | G A B | A3 |]
"""


@pytest.fixture
def jig() -> Score:
    """Eight bars of 6/8 in G with an upbeat."""
    return abc.read_tune(JIG)


@pytest.fixture
def air() -> Score:
    """Six bars of 3/4 in A minor with a triplet and a tie over a bar line."""
    return abc.read_tune(AIR)


@pytest.fixture
def choir() -> Score:
    """Two bars of four parts in C: I IV V I."""
    voices = [(72, 72, 71, 72), (67, 69, 67, 67), (64, 65, 62, 64), (48, 53, 55, 48)]
    parts = tuple(
        Part(name=name, program=52, notes=tuple(Note(48 * place, 48, pitch) for place, pitch in enumerate(pitches)))
        for name, pitches in zip(("Soprano", "Alto", "Tenor", "Bass"), voices)
    )
    return Score(parts=parts, key=scores.Key(tonic=0), tempos=((0, 72.0),), kind="chorale")


@pytest.fixture
def records(jig: Score, air: Score, choir: Score) -> list[Record]:
    """The three pieces as records."""
    return [record(score, str(number)) for number, score in enumerate((jig, air, choir))]


def record(score: Score, name: str) -> Record:
    """A score as a record."""
    return Record(id=name, parts=(Media(modality=Modality.MUSIC, mime=scores.MIME, data=scores.write_midi(score)),))
