"""Sounds of animals: birds, each with a song of its own, and crickets.

A bird's song is a phrase of whistled syllables that it repeats with small changes: glides, arches, trills and warbles between 2 and 6 kHz
(Catchpole and Slater 2008). A cricket's chirp is a few pulses of one tone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.random import Generator

from miaobi.models.effects.scene import Scene
from miaobi.models.effects.signal import Floats, band, coloured, levelled, scatter, slow

_SHAPES: tuple[Callable[[Floats], Floats], ...] = (  # pitch over a syllable, in octaves above its base, time from 0 to 1
    lambda part: 0.5 * part,
    lambda part: 0.6 * (1 - part) ** 1.5,
    lambda part: 0.45 * np.sin(np.pi * part),
    lambda part: 0.35 * (1 - np.sin(np.pi * part)),
    lambda part: 0.12 * np.sin(2 * np.pi * 6 * part),
    lambda part: 0.25 * (part > 0.45) + 0.05 * part,
)


def birds(rng: Generator, scene: Scene) -> Floats:
    """One bird to seven, in turn and together, over a very quiet wood."""
    grains: list[tuple[float, Floats, float]] = []
    for _ in range(1 + round(6 * scene.strength)):
        far = rng.uniform(0.25, 1.0)
        place = rng.uniform(-0.9, 0.9)
        grains += [(moment, far * sung, place) for moment, sung in _bird(rng, scene)]
    wood = coloured(rng, scene.count, scene.rate, lambda hertz, times: band(hertz, 150, 900, order=1) * slow(rng, times, 0.3, low=0.4))
    song = scatter(scene.count, scene.rate, grains)
    return levelled(song) + levelled(wood, 0.025)


def _bird(rng: Generator, scene: Scene) -> Iterator[tuple[float, Floats]]:
    """The songs of one bird as (moment, samples)."""
    base = scene.pitch * rng.uniform(2000, 4600) * (0.75 + 0.5 * scene.brightness)
    phrase = [_syllable(rng) for _ in range(rng.integers(2, 7))]
    pause = rng.uniform(1.2, 3.5)
    moment = rng.uniform(0, 1.5)
    while moment < scene.seconds:
        for shape, octave, seconds, gap, times in phrase:
            for _ in range(times):
                yield moment, _whistle(rng, scene.rate, base * 2 ** (octave + rng.normal(0, 0.01)), shape, seconds)
                moment += seconds + gap
        moment += pause * rng.uniform(0.6, 1.6)


def _syllable(rng: Generator) -> tuple[int, float, float, float, int]:
    """Shape, octaves above the bird's base, seconds, the pause behind it, and how often it is repeated."""
    trill = rng.random() < 0.3
    seconds = rng.uniform(0.03, 0.07) if trill else rng.uniform(0.07, 0.28)
    return (
        int(rng.integers(len(_SHAPES))),
        rng.uniform(-0.25, 0.4),
        seconds,
        rng.uniform(0.015, 0.07),
        int(rng.integers(4, 10)) if trill else 1,
    )


def _whistle(rng: Generator, rate: int, base: float, shape: int, seconds: float) -> Floats:
    """One syllable (T,): a tone with a little of its octave, swelling and fading."""
    count = max(8, round(seconds * rate))
    part = np.arange(count) / count
    hertz = np.minimum(base * 2 ** _SHAPES[shape](part), 0.4 * rate)
    phase = 2 * np.pi * np.cumsum(hertz) / rate + rng.uniform(0, 2 * np.pi)
    envelope = np.sin(np.pi * part**0.7) ** 1.3
    return np.asarray(envelope * (np.sin(phase) + 0.12 * np.sin(2 * phase) * (2 * hertz < 0.45 * rate)))


def crickets(rng: Generator, scene: Scene) -> Floats:
    """A summer night: crickets at their own pace, some near, and the shimmer of those that are far."""
    grains: list[tuple[float, Floats, float]] = []
    for _ in range(2 + round(8 * scene.strength)):
        far, place = rng.uniform(0.1, 1.0) ** 1.5, rng.uniform(-1, 1)
        tone = scene.pitch * rng.uniform(4000, 4900) * (0.9 + 0.2 * scene.brightness)
        chirp = far * _chirp(rng, scene.rate, min(tone, 0.42 * scene.rate))
        period = rng.uniform(0.32, 0.6)
        moment = rng.uniform(0, period)
        while moment < scene.seconds:
            grains.append((moment, chirp * rng.uniform(0.8, 1.0), place))
            moment += period * rng.uniform(0.97, 1.03)
    shimmer = coloured(
        rng, scene.count, scene.rate, lambda hertz, times: band(hertz, 4200, 5200, order=4) * slow(rng, times, 12.0, low=0.3)
    )
    night = coloured(rng, scene.count, scene.rate, lambda hertz, _: band(hertz, 100, 500, order=1))
    return levelled(scatter(scene.count, scene.rate, grains)) + levelled(shimmer, 0.12) + levelled(night, 0.02)


def _chirp(rng: Generator, rate: int, tone: float) -> Floats:
    """Three or four pulses of one tone (T,)."""
    pulses, period = int(rng.integers(3, 5)), 0.032
    time = np.arange(round(pulses * period * rate)) / rate
    part = (time % period) / period
    envelope = np.where(part < 0.65, np.sin(np.pi * part / 0.65) ** 2, 0) * (0.5 + 0.5 * np.minimum(1, time / period / 2))
    return np.asarray(envelope * np.sin(2 * np.pi * tone * time))
