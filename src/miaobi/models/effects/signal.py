"""What effects are made of: noise in colours that change, slow curves, grains scattered in time, decaying partials, an echoing space.

Shapes: T samples, C channels; curves and mono sounds are (T,), sounds (T, 2). Every draw comes from the generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from miaobi.data.mel import istft, stft

Floats = NDArray[np.float64]
Gain = Callable[[Floats, Floats], Any]  # frequencies (F, 1) in hertz and times (1, N) in seconds to gains (F, N)
_FFT, _HOP = 2048, 512


def coloured(rng: Generator, count: int, rate: int, gain: Gain, *, width: float = 0.7) -> Floats:
    """Noise (T, 2) of about unit energy before `gain`, which shapes its spectrum as time goes on; the channels are alike by 1 - `width`."""
    middle, left, right = (rng.standard_normal(count + 2 * _FFT).astype(np.float32) for _ in range(3))
    hertz = np.arange(_FFT // 2 + 1)[:, None] * rate / _FFT
    times = (np.arange(1 + (count + 2 * _FFT) // _HOP)[None] * _HOP - _FFT) / rate
    gains = np.asarray(gain(hertz, times), np.float32)
    channels = []
    for side in (left, right):
        spectrum = stft(middle * (1 - width) + side * width, fft=_FFT, hop=_HOP)  # (F, N)
        channels.append(istft(spectrum * gains, hop=_HOP, num_samples=count + 2 * _FFT)[_FFT : _FFT + count])
    return np.stack(channels, axis=1).astype(np.float64)


def band(hertz: Floats, low: float | Floats, high: float | Floats, *, order: float = 2.0) -> Floats:
    """The gain of a band with soft edges: 1 inside, falling by 6 dB * `order` an octave outside."""
    frequency = np.maximum(hertz, 1.0)
    return np.asarray(1 / np.sqrt((1 + (low / frequency) ** (2 * order)) * (1 + (frequency / high) ** (2 * order))))


def peak(hertz: Floats, centre: float | Floats, quality: float) -> Floats:
    """The gain of a resonance: 1 at its centre."""
    frequency = np.maximum(hertz, 1.0)
    return np.asarray(1 / np.sqrt(1 + quality**2 * (frequency / centre - centre / frequency) ** 2))


def slow(rng: Generator, times: NDArray[Any], hertz: float, *, low: float = 0.0, high: float = 1.0) -> Floats:
    """A smooth random curve over `times` (any shape), about `hertz` turns a second, between `low` and `high`."""
    flat = np.asarray(times, np.float64).ravel()
    first, last = float(flat.min()) - 1 / hertz, float(flat.max()) + 2 / hertz
    knots = np.arange(first, last + 1 / hertz, 1 / hertz)
    values = rng.random(len(knots))
    place = (flat - first) * hertz
    left = np.clip(place.astype(int), 0, len(knots) - 2)
    part = place - left
    eased = part * part * (3 - 2 * part)
    curve = values[left] * (1 - eased) + values[left + 1] * eased
    return np.asarray(low + (high - low) * curve).reshape(np.shape(times))


def poisson(rng: Generator, seconds: float, per_second: float | Callable[[Floats], Floats]) -> Floats:
    """Random moments in seconds, in order; `per_second` may change with time."""
    if callable(per_second):
        most = float(np.max(per_second(np.linspace(0, seconds, 512)))) + 1e-9
        moments = poisson(rng, seconds, most)
        kept: Floats = moments[rng.random(len(moments)) * most < per_second(moments)] if len(moments) else moments
        return kept
    return np.sort(rng.random(rng.poisson(max(per_second, 0) * seconds)) * seconds)


def scatter(count: int, rate: int, grains: Iterable[tuple[float, Floats, float]]) -> Floats:
    """Grains (start in seconds, samples, place from -1 left to 1 right) added up in stereo (T, 2); what is beyond the end is cut."""
    sound = np.zeros((count, 2))
    for start, grain, place in grains:
        first = round(start * rate)
        kept = grain[: max(0, count - first)]
        angle = (np.clip(place, -1, 1) + 1) * np.pi / 4
        sound[first : first + len(kept), 0] += kept * np.cos(angle)
        sound[first : first + len(kept), 1] += kept * np.sin(angle)
    return sound


def partials(
    rate: int, seconds: float, hertz: Sequence[float] | Floats, levels: Sequence[float] | Floats, decays: Sequence[float] | Floats
) -> Floats:
    """Sinusoids that die away (T,): frequencies, amplitudes, and seconds to a thousandth. Those above half the rate are left out."""
    count = round(seconds * rate)
    time = np.arange(count) / rate
    sound = np.zeros(count)
    for frequency, level, decay in zip(hertz, levels, decays):
        if frequency < 0.48 * rate:
            length = min(count, round(1.3 * decay * rate) + 1)
            sound[:length] += level * np.exp(-6.9 * time[:length] / decay) * np.sin(2 * np.pi * frequency * time[:length])
    return faded(sound, rate, start=0.0005, end=0.02)


def burst(rng: Generator, rate: int, seconds: float, low: float, high: float) -> Floats:
    """A short stroke of noise between two frequencies (T,), of unit peak, that dies away within `seconds`."""
    count = max(8, round(seconds * rate))
    size = 1 << (2 * count - 1).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(count), n=size)
    shaped = np.fft.irfft(spectrum * band(np.arange(size // 2 + 1) * rate / size, low, high), n=size)[:count]
    sound = shaped * np.exp(-5 * np.arange(count) / count)
    return np.asarray(sound / max(float(np.abs(sound).max()), 1e-9))


def space(rng: Generator, sound: Floats, rate: int, *, seconds: float, wet: float) -> Floats:
    """The sound (T, 2) with an echoing space around it: noise that dies away, its treble first. Nothing is added at the end."""
    if wet <= 0:
        return sound
    count = round(seconds * rate)
    time = np.arange(count) / rate
    tail = coloured(rng, count, rate, lambda hertz, times: band(hertz, 150, 6000 * np.exp(-3 * np.maximum(times, 0) / seconds) + 300))
    tail *= np.exp(-6.9 * time / seconds)[:, None]
    tail[: round(0.006 * rate)] = 0  # the way to the nearest wall
    tail /= np.sqrt((tail**2).sum(axis=0, keepdims=True)) + 1e-12
    size = 1 << (len(sound) + count - 1).bit_length()
    echo = np.fft.irfft(np.fft.rfft(sound, n=size, axis=0) * np.fft.rfft(tail, n=size, axis=0), n=size, axis=0)[: len(sound)]
    return np.asarray(sound * (1 - 0.5 * wet) + echo * wet)


def filtered(sound: Floats, rate: int, gain: Callable[[Floats], Any]) -> Floats:
    """A sound (T, C) through a filter that does not change."""
    size = 1 << (len(sound) + rate // 4).bit_length()
    response = np.asarray(gain(np.arange(size // 2 + 1) * rate / size))[:, None]
    return np.asarray(np.fft.irfft(np.fft.rfft(sound, n=size, axis=0) * response, n=size, axis=0)[: len(sound)])


def faded(sound: Floats, rate: int, *, start: float, end: float) -> Floats:
    """The sound with a smooth beginning and end, so that neither clicks; it may be (T,) or (T, C)."""
    shaped = sound.copy()
    for seconds, side in ((start, slice(None)), (end, slice(None, None, -1))):
        count = min(len(sound), round(seconds * rate))
        ramp = np.sin(np.linspace(0, np.pi / 2, count, endpoint=False)) ** 2
        view = shaped[side][:count]
        view *= ramp if sound.ndim == 1 else ramp[:, None]
    return shaped


def levelled(sound: Floats, level: float = 1.0) -> Floats:
    """The sound at a root mean square of `level`, so that ingredients mix by number."""
    return np.asarray(sound * (level / max(float(np.sqrt(np.mean(sound**2))), 1e-9)))
