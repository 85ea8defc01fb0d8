"""Voices of a choir: what is parallel, and that it is avoided where it can be."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

pytest.importorskip("symusic")

from tests.music import test_write

from miaobi.data.scores import GRID, Note, Score
from miaobi.models.music.grammar import ScoreGrammar
from miaobi.models.music.leading import Motion, well_led
from miaobi.models.music.vocabulary import words


def test_fifths_octaves_and_unisons_are_parallel_and_nothing_else_is() -> None:
    assert Motion(67, 69).parallel(60, 62), "fifths"
    assert Motion(79, 81).parallel(60, 62), "twelfths"
    assert Motion(72, 67).parallel(60, 55), "octaves"
    assert Motion(72, 67).parallel(60, 67), "an octave to a unison"
    assert not Motion(67, 69).parallel(60, 65), "a fifth to a third"
    assert not Motion(64, 65).parallel(60, 62), "thirds"
    assert not Motion(67, 67).parallel(60, 60), "nobody moves"


def test_a_voice_goes_where_it_is_well_led_or_anywhere_if_it_must() -> None:
    fifths = [Motion(67, 69)]
    assert well_led([57, 62, 65], 60, fifths, above=69) == [57, 65]
    assert well_led([62], 60, fifths, above=69) == [62], "there is no other"
    assert well_led([50, 58], -1, [], above=69) == [58], "no more than an octave below"
    assert well_led([50], -1, [], above=69) == [50]
    assert well_led([62], -1, fifths, above=None) == [62], "the first tone comes from nowhere"


def parallels(score: Score) -> int:
    """Pairs of voices that move from a fifth or an octave to another one, from one beginning of a note to the next."""

    def at(notes: tuple[Note, ...], tick: int) -> Note | None:
        return next((note for note in notes if note.start <= tick < note.end), None)

    starts = sorted({note.start for part in score.parts for note in part.notes})
    found = 0
    for before, now in itertools.pairwise(starts):
        for upper, lower in itertools.combinations(score.parts, 2):
            notes = [at(part.notes, tick) for tick in (before, now) for part in (upper, lower)]
            if all(note is not None for note in notes):
                a, b, c, d = (note.pitch for note in notes if note is not None)
                found += a != c and b != d and (a - b) % 12 == (c - d) % 12 and (a - b) % 12 in (0, 7)
    return found


class Together(test_write.Noise):
    """All voices move on the beats, to tones by chance."""

    def _logits(self) -> Any:
        logits = super()._logits()
        logits[:, [number for number, word in enumerate(words()) if word.startswith("until ") and int(word[6:]) % GRID == 0]] += 9
        return logits


def test_choirs_by_chance_sing_hardly_any_parallels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_write, "Noise", Together)
    led, free = [], []
    for seed in range(3):
        led.append(parallels(test_write.written(parts=4, bars=4, key="D", metre="4/4", seed=seed)[0]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ScoreGrammar, "_led", lambda self, state, pitches: pitches)
            free.append(parallels(test_write.written(parts=4, bars=4, key="D", metre="4/4", seed=seed)[0]))
    assert sum(free) > 5
    assert sum(led) <= sum(free) / 3  # what is left is forced by the chords
