"""Sounds that go on: rain, wind, a stream, waves, fire; each a function of its strength and brightness to stereo samples (T, 2).

Water is bubbles (van den Doel 2005): a bubble of radius r sounds at 3 / r hertz, dies away by its damping and rises in pitch as it
nears the surface; rain and fire are countless small strokes over noise (Farnell 2010, Designing Sound).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.random import Generator

from miaobi.models.effects.scene import Scene
from miaobi.models.effects.signal import Floats, band, burst, coloured, levelled, peak, poisson, scatter, slow


def rain(rng: Generator, scene: Scene) -> Floats:
    """Drops near and far: a hiss of all that fall far away, pats of those that fall near, and the bubbles of those that fall in puddles."""
    strength, count = scene.strength, scene.count
    gusts = slow(rng, scene.times, 0.25, low=0.75, high=1.0)[:, None]
    top = 5000 + 7000 * scene.brightness
    hiss = levelled(
        coloured(rng, count, scene.rate, lambda hertz, _: band(hertz, 500 + 900 * (1 - strength), top, order=1)), 0.5 + 0.5 * strength
    )
    roof = levelled(coloured(rng, count, scene.rate, lambda hertz, _: band(hertz, 120, 500, order=1.5)), 0.5 * strength**2)
    pats = scatter(count, scene.rate, _pats(rng, scene, 25 + 500 * strength))
    drips = scatter(count, scene.rate, _bubbles(rng, scene, 6 + 40 * strength, 0.6, 2.2))
    return (hiss + roof) * gusts + levelled(pats, 0.4 - 0.25 * strength) + levelled(drips, 0.12 * (1.2 - strength))


def _pats(rng: Generator, scene: Scene, per_second: float) -> Iterator[tuple[float, Floats, float]]:
    """Drops on leaves and stone; a few of many shapes at random levels, most of them soft."""
    shapes = [burst(rng, scene.rate, rng.uniform(0.002, 0.012), rng.uniform(800, 2500), rng.uniform(3500, 9000)) for _ in range(48)]
    for moment in poisson(rng, scene.seconds, per_second):
        yield moment, shapes[rng.integers(48)] * min(rng.pareto(2.5), 5.0), rng.uniform(-1, 1)


def _bubbles(rng: Generator, scene: Scene, per_second: float, smallest: float, largest: float) -> Iterator[tuple[float, Floats, float]]:
    """Bubbles with radii in millimetres between two sizes, the small ones many."""
    for moment in poisson(rng, scene.seconds, per_second):
        radius = smallest * (largest / smallest) ** rng.random() ** 1.6
        yield moment, bubble(rng, scene.rate, radius), rng.uniform(-0.9, 0.9)


def bubble(rng: Generator, rate: int, radius: float) -> Floats:
    """One bubble of that radius in millimetres (T,)."""
    hertz = 3000 / radius
    damping = 130 / radius + 0.0072 * (radius / 1000) ** -1.5
    count = min(round(6 / damping * rate), round(0.4 * rate))
    time = np.arange(count) / rate
    rise = 0.12 * damping * rng.random() ** 2
    phase = 2 * np.pi * hertz * (time + rise * time**2 / 2)
    onset = np.minimum(1, time * hertz / 2)  # two periods
    return np.asarray(radius**1.3 * rng.random() ** 2 * onset * np.exp(-damping * time) * np.sin(phase))


def stream(rng: Generator, scene: Scene) -> Floats:
    """A brook: bubbles of many sizes in clusters, over the wash of water that has no bubbles."""
    flow = 60 + 500 * scene.strength
    eddies = slow(rng, np.linspace(0, scene.seconds, 256), 1.5, low=0.3, high=1.0)
    moments = poisson(rng, scene.seconds, lambda times: flow * np.interp(times, np.linspace(0, scene.seconds, 256), eddies))
    largest = 3.0 + 7.0 * scene.strength
    grains = ((moment, bubble(rng, scene.rate, 0.7 * (largest / 0.7) ** rng.random() ** 1.3), rng.uniform(-0.9, 0.9)) for moment in moments)
    bubbles = scatter(scene.count, scene.rate, grains)
    top = 1500 + 4000 * scene.brightness
    wash = coloured(rng, scene.count, scene.rate, lambda hertz, times: band(hertz, 250, top, order=1) * slow(rng, times, 2.0, low=0.6))
    return levelled(bubbles, 1.0) + levelled(wash, 0.15 + 0.5 * scene.strength)


def wind(rng: Generator, scene: Scene) -> Floats:
    """Gusts: the harder it blows, the louder, the brighter, and the more it howls around edges."""
    strength = scene.strength
    curve = np.linspace(-1, scene.seconds + 1, 2048)
    gust = slow(rng, curve, 0.3 + 0.2 * strength) * 0.8 + slow(rng, curve, 1.1) * 0.2
    gust = (0.12 + 0.88 * gust) * (0.5 + 0.5 * strength)
    howls = [(rng.uniform(280, 420), 16.0), (rng.uniform(520, 760), 22.0), (rng.uniform(900, 1250), 26.0)]

    def gain(hertz: Floats, times: Floats) -> Floats:
        blow = np.interp(times, curve, gust)
        body = band(hertz, 70, 160 + (500 + 700 * scene.brightness) * blow, order=1.8) * blow**1.4
        edges = sum(peak(hertz, centre * (0.75 + 0.5 * blow), quality) ** 2 * blow**2.5 for centre, quality in howls)
        leaves = band(hertz, 2500, 7000, order=1) * blow**2.5 * 0.04 * (0.3 + scene.brightness)
        return np.asarray(body + 3.0 * strength * edges + leaves)

    return levelled(coloured(rng, scene.count, scene.rate, gain, width=0.6))


def waves(rng: Generator, scene: Scene) -> Floats:
    """The sea at a beach: every wave swells darkly, breaks brightly, and runs back as a hiss; two rows of waves overlap."""
    sea = np.zeros((scene.count, 2))
    for number in range(2):
        sea += _row_of_waves(rng, scene, number)
    rumble = coloured(rng, scene.count, scene.rate, lambda hertz, times: band(hertz, 30, 140) * slow(rng, times, 0.3, low=0.5))
    return levelled(sea) + levelled(rumble, 0.25 + 0.3 * scene.strength)


def _row_of_waves(rng: Generator, scene: Scene, number: int) -> Floats:
    period = 9.0 - 3.0 * scene.strength
    first = -rng.uniform(0, period)
    breaks = np.cumsum(np.r_[first, period * rng.uniform(0.75, 1.3, 2 + int(scene.seconds / period * 1.4))])
    heights = rng.uniform(0.5, 1.0, len(breaks))
    place = rng.uniform(0.25, 0.75) if number else 0.5

    def gain(hertz: Floats, times: Floats) -> Floats:
        total = np.zeros((len(hertz), times.shape[1]))
        for moment, height in zip(breaks, heights):
            near = np.flatnonzero((times[0] > moment - 5) & (times[0] < moment + 14))  # before and after it is not heard
            since = times[:, near] - moment
            swell = np.exp(-((np.minimum(since, 0) / 1.6) ** 2)) * np.where(since < 0, 1, np.exp(-since / 1.1))
            foam = np.where(since > 0, (1 - np.exp(-since / 0.25)) * np.exp(-np.maximum(since, 0) / 2.6), 0)
            top = 500 + (2500 + 3500 * scene.brightness) * swell * height
            total[:, near] += height * (swell * band(hertz, 120, top, order=1.1) + 0.35 * foam * band(hertz, 1200, 7500, order=1))
        return total

    row = coloured(rng, scene.count, scene.rate, gain, width=0.8)
    return np.asarray(row * np.array([1 - place, place]) * 2)


def fire(rng: Generator, scene: Scene) -> Floats:
    """Flames flutter low, gas hisses, and wood cracks: many small cracks and now and then a loud one."""
    flutter = coloured(rng, scene.count, scene.rate, lambda hertz, times: band(hertz, 35, 170, order=1.5) * slow(rng, times, 7.0, low=0.3))
    hiss = coloured(rng, scene.count, scene.rate, lambda hertz, times: band(hertz, 2500, 9000, order=1) * slow(rng, times, 2.5, low=0.2))
    shapes = [
        burst(rng, scene.rate, rng.uniform(0.0015, 0.012), rng.uniform(500, 2500), rng.uniform(3000, 7000 + 6000 * scene.brightness))
        for _ in range(40)
    ]
    busy = slow(rng, np.linspace(0, scene.seconds, 256), 0.7) ** 2
    moments = poisson(
        rng, scene.seconds, lambda times: (8 + 60 * scene.strength) * np.interp(times, np.linspace(0, scene.seconds, 256), busy)
    )
    cracks = ((moment, shapes[rng.integers(40)] * min(rng.pareto(1.4), 25.0), rng.uniform(-0.8, 0.8)) for moment in moments)
    crackle = scatter(scene.count, scene.rate, cracks)
    return levelled(flutter, 0.5 + 0.6 * scene.strength) + levelled(hiss, 0.12) + levelled(crackle, 0.5)
