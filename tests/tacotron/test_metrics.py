"""Distances of speech: 0 for the same, blind to what they should be blind to, and larger for what is farther."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from miaobi.data.sounds import Sound
from miaobi.engine.metrics.speech import band_distance, cepstral_distortion, warping

RATE = 8000


def vowels(*formants: tuple[float, float], seconds: float = 0.2, rate: int = RATE, loudness: float = 0.3) -> Sound:
    """A buzz of 120 Hz through two resonances, one vowel after the other."""
    parts: list[NDArray[np.float32]] = []
    time = np.arange(round(seconds * rate)) / rate
    for resonances in formants:
        harmonics = np.arange(120, rate / 2 - 200, 120)
        strengths = sum(1 / (1 + ((harmonics - one) / 120) ** 2) for one in resonances)
        wave = (strengths[:, None] * np.sin(2 * np.pi * harmonics[:, None] * time + harmonics[:, None])).sum(axis=0)
        parts.append((loudness * wave / np.abs(wave).max()).astype(np.float32))
    return Sound(np.concatenate(parts), rate)


AH, EE, OO = (700, 1200), (300, 2300), (320, 800)


def test_the_same_sound_has_no_distance() -> None:
    sound = vowels(AH, EE, OO)
    assert band_distance(sound, sound) == 0
    assert cepstral_distortion(sound, sound) == 0


def test_distortion_is_blind_to_loudness_and_pace_and_not_to_vowels() -> None:
    plain = vowels(AH, EE, OO)
    quiet = vowels(AH, EE, OO, loudness=0.1)
    slow = vowels(AH, EE, OO, seconds=0.3)
    other = vowels(AH, OO, OO)
    assert cepstral_distortion(quiet, plain) < 0.3
    assert band_distance(quiet, plain) == pytest.approx(20 * np.log10(3), abs=1.5), "the bands tell loudness"
    assert cepstral_distortion(slow, plain) < cepstral_distortion(other, plain) / 2


def test_silence_at_the_ends_counts_nothing() -> None:
    plain = vowels(AH, EE)
    padded = Sound(np.pad(plain.samples, ((2000, 3000), (0, 0))), RATE)
    assert cepstral_distortion(padded, plain) < 0.3


def test_sounds_of_two_rates_are_compared_at_the_lower() -> None:
    pytest.importorskip("soxr")
    plain, fine = vowels(AH, EE), vowels(AH, EE, rate=2 * RATE)
    assert cepstral_distortion(fine, plain) < cepstral_distortion(vowels(AH, OO), plain)


def test_the_warping_path_is_the_cheapest() -> None:
    """Held against the plain recursion."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(7, 2)), rng.normal(size=(5, 2))
    path = warping(first, second)
    costs = np.linalg.norm(first[:, None] - second[None], axis=2)
    best = np.full((8, 6), np.inf)
    best[0, 0] = 0
    for row in range(7):
        for column in range(5):
            best[row + 1, column + 1] = costs[row, column] + min(best[row, column], best[row, column + 1], best[row + 1, column])
    assert costs[path[:, 0], path[:, 1]].sum() == pytest.approx(best[7, 5])
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [6, 4]
    assert (np.diff(path, axis=0).max(axis=1) == 1).all()
