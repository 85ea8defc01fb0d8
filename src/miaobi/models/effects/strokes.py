"""Sounds that are struck: bell, gong, drum, click, clock; and thunder, the stroke of lightning.

Bells and drums are sums of their modes: the partials of a tuned bell (hum, prime, tierce, quint, nominal) in pairs that beat, and the
zeros of Bessel functions for a round skin (Fletcher and Rossing 1998).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.random import Generator

from miaobi.models.effects.scene import Scene
from miaobi.models.effects.signal import Floats, band, burst, coloured, faded, levelled, partials, poisson, scatter, slow

_BELL = (0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 2.667, 3.0, 4.0, 5.33, 6.67)  # frequencies over the prime
_BELL_LEVELS = (0.55, 0.7, 0.6, 0.25, 0.8, 0.3, 0.25, 0.3, 0.25, 0.15, 0.08)
_SKIN = (1.0, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501, 3.6, 4.06)  # zeros of Bessel functions over the first


def bell(rng: Generator, scene: Scene) -> Floats:
    """A temple's bell, or a small one when it is high: every partial is a pair that beats, the low ones sound longest."""
    prime = 220.0 * scene.pitch
    ring = 3.0 + 9.0 * scene.strength
    beats = rng.uniform(0.3, 1.6, len(_BELL))
    signs = rng.choice([-1.0, 1.0], len(_BELL))
    ratios = np.array(_BELL) * (1 + rng.normal(0, 0.002, len(_BELL)))

    def strike(force: float) -> Floats:
        hertz = np.concatenate([ratios * prime, ratios * prime + beats])
        levels = np.array(_BELL_LEVELS) * force ** (0.3 + 0.25 * np.arange(len(_BELL)) / len(_BELL)) * signs
        levels *= (0.35 + 1.3 * scene.brightness) ** (np.arange(len(_BELL)) / 4)
        decays = ring / np.array(_BELL) ** 0.75
        rung = partials(scene.rate, scene.seconds, hertz, np.tile(levels, 2) * np.repeat([1.0, 0.45], len(_BELL)), np.tile(decays, 2))
        return _with_attack(rung, 0.25 * burst(rng, scene.rate, 0.03, 300, 2500 + 3000 * scene.brightness))

    return scatter(scene.count, scene.rate, ((moment, strike(rng.uniform(0.8, 1.0)), 0.0) for moment in scene.strokes()))


def gong(rng: Generator, scene: Scene) -> Floats:
    """A wide gong: many crowded modes, the high ones waking up after the stroke and then dying first."""
    base = 95.0 * scene.pitch
    ratios = np.sort(np.concatenate([[1.0, 1.5], rng.uniform(1.6, 26, 90)]))
    levels = ratios**-0.75 * rng.uniform(0.4, 1.0, len(ratios)) * (0.4 + 1.2 * scene.brightness) ** (np.log2(ratios) / 2)
    decays = (3 + 6 * scene.strength) / ratios**0.45

    def strike() -> Floats:
        time = np.arange(scene.count) / scene.rate
        low = partials(scene.rate, scene.seconds, base * ratios[:12], levels[:12], decays[:12])
        high = partials(scene.rate, scene.seconds, base * ratios[12:], levels[12:], decays[12:])
        high *= 1 - 0.85 * np.exp(-time[: len(high)] / 0.18)
        return _with_attack(low + high, 0.6 * burst(rng, scene.rate, 0.06, 80, 900))

    return scatter(scene.count, scene.rate, ((moment, strike(), 0.0) for moment in scene.strokes()))


def drum(rng: Generator, scene: Scene) -> Floats:
    """A big drum: a skin whose pitch falls as it calms, and the stick."""
    base = 78.0 * scene.pitch

    def strike(force: float) -> Floats:
        count = round(min(scene.seconds, 1.6) * scene.rate)
        time = np.arange(count) / scene.rate
        bend = 1 + 0.35 * force * np.exp(-time / 0.035)
        phase = 2 * np.pi * base * np.cumsum(bend) / scene.rate
        skin = np.zeros(count)
        for number, ratio in enumerate(_SKIN):
            level = force ** (number / 5) / (1 + number) ** (1.4 - 0.8 * scene.brightness)
            skin += level * np.exp(-time * (5.5 + 5.0 * number) / (0.7 + scene.strength)) * np.sin(ratio * phase)
        return _with_attack(
            faded(skin, scene.rate, start=0.001, end=0.03), force * burst(rng, scene.rate, 0.02, 300, 1500 + 4500 * scene.brightness)
        )

    return scatter(scene.count, scene.rate, ((moment, strike(rng.uniform(0.75, 1.0)), 0.0) for moment in scene.strokes()))


def click(rng: Generator, scene: Scene) -> Floats:
    """A switch or a button: down and, a little softer, up again."""

    def press(level: float) -> Floats:
        hertz = scene.pitch * rng.uniform(0.95, 1.05) * np.array([950.0, 2300, 3900, 6100])
        levels = level * np.array([0.5, 1.0, 0.6, 0.3]) * (0.5 + scene.brightness) ** np.arange(4)
        tone = partials(scene.rate, 0.05, hertz, levels, np.array([0.03, 0.018, 0.012, 0.008]) * (0.6 + scene.strength))
        return _with_attack(tone, level * burst(rng, scene.rate, 0.004, 1500, 9000))

    def both() -> Iterator[tuple[float, Floats, float]]:
        for moment in scene.strokes():
            yield moment, press(1.0), 0.0
            yield moment + 0.085, press(0.45), 0.0

    return scatter(scene.count, scene.rate, both())


def clock(rng: Generator, scene: Scene) -> Floats:
    """Tick and tock, in a wooden case."""

    def beat(high: bool) -> Floats:
        base = scene.pitch * (1.0 if high else 0.82)
        hertz = base * np.array([420.0, 1150, 2150, 3300, 4700])
        tone = partials(
            scene.rate, 0.12, hertz, [0.35, 0.6, 1.0, 0.5, 0.3], np.array([0.09, 0.05, 0.03, 0.02, 0.012]) * (0.6 + scene.strength)
        )
        return _with_attack(tone, 0.7 * burst(rng, scene.rate, 0.003, 2000, 6000 + 6000 * scene.brightness))

    return scatter(scene.count, scene.rate, ((moment, beat(number % 2 == 0), 0.0) for number, moment in enumerate(scene.strokes())))


def thunder(rng: Generator, scene: Scene) -> Floats:
    """A branching stroke heard from all its parts, near ones as cracks and far ones as rumble that rolls away."""
    near = scene.brightness
    length = max(1.0, scene.seconds - 0.3)
    claps = np.sort(np.r_[0.05, 0.05 + 0.7 * length * rng.beta(1.1, 2.6, 12 + int(18 * scene.strength))])
    loud = rng.uniform(0.3, 1.0, len(claps)) * np.exp(-2.2 * claps / length)

    def gain(hertz: Floats, times: Floats) -> Floats:
        total = np.zeros((len(hertz), times.shape[1]))
        for moment, level in zip(claps, loud):
            late = moment / length  # from further away: later, rounder and darker
            since = np.maximum(times - moment, 0)
            rise = 1 - np.exp(-since / (0.004 + 0.25 * late))
            after = rise * np.exp(-since / (0.3 + 0.22 * length * (0.3 + late)))
            top = 70 + 60 * near + (250 + 1200 * near) * np.exp(-since / 0.25 - 4 * late)
            total += level * after * band(hertz, 22, top, order=1.5)
        return total * slow(rng, times, 6.0, low=0.75)

    rumble = levelled(coloured(rng, scene.count, scene.rate, gain, width=0.5), 1.0)
    cracks = []
    for moment in np.r_[claps[0], claps[0] + poisson(rng, 0.35, 60 * near)]:
        cracks.append(
            (
                moment,
                burst(rng, scene.rate, rng.uniform(0.01, 0.09), 250, 2500 + 7000 * near) * rng.uniform(0.3, 1.0),
                rng.uniform(-0.5, 0.5),
            )
        )
    crack = scatter(scene.count, scene.rate, cracks)
    return faded(rumble + 3.0 * near**1.5 * crack, scene.rate, start=0.005, end=min(1.0, 0.3 * scene.seconds))


def _with_attack(sound: Floats, attack: Floats) -> Floats:
    """A sound with the noise of what struck it."""
    mixed = sound.copy()
    mixed[: len(attack)] += attack[: len(mixed)]
    return mixed
