"""Instruments that the soundfont lacks, made from sines: plucked, bowed and blown Chinese ones, and a few drums.

Harmonics are powers of one turning pointer, exp(i k phase), summed by Horner's rule: one complex product each, whatever the pitch does.
A plucked string's harmonics stand in proportion to sin(k pi p) / k for a pluck at the place p, and die the faster the higher they are
(Fletcher & Rossing, The Physics of Musical Instruments, chapter 2). Bowed and blown tones have vibrato that comes late, as players do it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]
FIRST_STROKE = 0.4  # seconds that the first pluck of a tremolo rings
_SEED = 1  # of breath and bow noise: the same every time


@dataclass(frozen=True, slots=True, kw_only=True)
class Timbre:
    """How a tone of sines goes. Times in seconds, depths in cents; `formants` are (hertz, width, gain)."""

    harmonics: int
    place: float = 0.0  # of the pluck, as a share of the string; 0 is no string
    slope: float = 1.0  # how fast harmonics weaken: k ** -slope
    even: float = 1.0  # weight of even harmonics
    life: float = 0.0  # seconds until a plucked middle C has fallen by 60 dB; 0 is a tone that is kept up
    formants: tuple[tuple[float, float, float], ...] = ()
    vibrato: float = 0.0
    vibrato_rate: float = 5.5
    vibrato_after: float = 0.25
    scoop: float = 0.0  # begins so far below the pitch
    noise: float = 0.0
    attack: float = 0.003
    release: float = 0.12
    tremolo: float = 0.0  # plucks a second of what is held long


TIMBRES = {
    "guzheng": Timbre(
        harmonics=24, place=0.13, slope=0.85, life=5.0, vibrato=14, vibrato_rate=5.2, vibrato_after=0.45, noise=0.02,
        attack=0.002, release=0.5, formants=((220, 160, 1.0), (900, 700, 0.8), (2600, 1500, 0.5)),
    ),
    "pipa": Timbre(
        harmonics=28, place=0.09, slope=0.7, life=2.2, noise=0.05, attack=0.0015, release=0.12, tremolo=11.0,
        formants=((450, 300, 1.0), (1500, 900, 0.9), (3400, 1600, 0.5)),
    ),
    "erhu": Timbre(
        harmonics=30, slope=1.0, vibrato=24, vibrato_rate=5.8, vibrato_after=0.22, scoop=35, noise=0.012, attack=0.06, release=0.12,
        formants=((550, 260, 1.0), (1150, 350, 0.55), (2700, 900, 0.4)),
    ),
    "dizi": Timbre(
        harmonics=14, slope=1.15, even=1.2, vibrato=10, vibrato_rate=5.0, vibrato_after=0.35, scoop=15,
        noise=0.02, attack=0.03, release=0.08, formants=((1000, 900, 0.7), (3600, 1400, 0.9)),
    ),
    "xiao": Timbre(
        harmonics=7, slope=1.9, even=0.6, vibrato=13, vibrato_rate=4.6, vibrato_after=0.4, scoop=20, noise=0.045, attack=0.07, release=0.16,
    ),
}  # fmt: skip


def tone(name: str, pitch: int, seconds: float, rate: int) -> Wave:
    """A synthesised tone of that length, its rise included and its release not."""
    timbre = TIMBRES[name]
    num = max(2, int(seconds * rate))
    times = np.arange(num) / rate
    frequency = 440.0 * 2 ** ((pitch - 69) / 12)
    cents = timbre.vibrato * np.clip((times - timbre.vibrato_after) / 0.3, 0, 1) * np.sin(2 * np.pi * timbre.vibrato_rate * times)
    cents -= timbre.scoop * np.exp(-times / 0.035)
    phase = 2 * np.pi * np.cumsum(frequency * 2 ** (cents / 1200)) / rate
    wave = _strings(timbre, frequency, times, phase, rate) if timbre.life else _kept_up(timbre, frequency, phase, rate)
    wave += timbre.noise * _noise(num, frequency, rate) * (np.exp(-times / 0.012) * 8 if timbre.life else 1.0)
    if timbre.tremolo and seconds > FIRST_STROKE + 0.3:
        wave = _tremolo(wave, timbre, rate)
    rise = np.sin(np.pi / 2 * np.minimum(1, times / timbre.attack)) ** 2
    return np.asarray(wave * rise / max(1e-9, np.sqrt(np.mean(wave[: rate // 2] ** 2))) * 0.12, np.float32)


def _weights(timbre: Timbre, frequency: float, rate: int) -> NDArray[np.float64]:
    """How strong each harmonic is; none is above what the rate can hold."""
    k = np.arange(1, timbre.harmonics + 1)
    weights = k**-timbre.slope * np.where(k % 2 == 0, timbre.even, 1.0)
    if timbre.place:
        weights = weights * np.abs(np.sin(np.pi * k * timbre.place))
    if timbre.formants:
        hertz = k * frequency
        body = sum(gain / (1 + ((hertz - centre) / width) ** 2) for centre, width, gain in timbre.formants)
        weights = weights * (0.15 + body)
    return np.asarray(np.where(k * frequency < 0.45 * rate, weights, 0.0))


def _kept_up(timbre: Timbre, frequency: float, phase: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """Harmonics of one strength from beginning to end."""
    pointer = np.exp(1j * phase).astype(np.complex64)
    total = np.zeros_like(pointer)
    for weight in _weights(timbre, frequency, rate)[::-1]:
        total = (total + np.complex64(weight)) * pointer
    return np.asarray(total.imag, np.float64)


def _strings(timbre: Timbre, frequency: float, times: NDArray[np.float64], phase: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """Harmonics that die one by one: each step of the pointer takes its share of the decay with it."""
    life = timbre.life * (261.6 / frequency) ** 0.45
    slow = np.exp(-6.9 * times / life)
    pointer = (np.exp(1j * phase) * np.exp(-6.9 * times / life * 0.35)).astype(np.complex64)  # harmonic k dies as slow * 0.35 ** -k
    total = np.zeros_like(pointer)
    for weight in _weights(timbre, frequency, rate)[::-1]:
        total = (total + np.complex64(weight)) * pointer
    return np.asarray(total.imag * slow, np.float64)


def _noise(num: int, frequency: float, rate: int) -> NDArray[np.float64]:
    """Breath, bow or finger: noise around and above the tone."""
    noise = np.random.default_rng(_SEED).standard_normal(num)
    spectrum = np.fft.rfft(noise)
    hertz = np.fft.rfftfreq(num, 1 / rate)
    spectrum *= (hertz > frequency) / (1 + (hertz / (4 * frequency)) ** 2)
    shaped = np.fft.irfft(spectrum, num)
    return np.asarray(shaped / max(1e-9, np.sqrt(np.mean(shaped**2))))


def _tremolo(wave: NDArray[np.float64], timbre: Timbre, rate: int) -> NDArray[np.float64]:
    """The same string plucked again and again (lunzhi), each pluck cut off by the next."""
    period, first = int(rate / timbre.tremolo), int(FIRST_STROKE * rate)
    strokes = -(-(len(wave) - first) // period)
    fade = int(0.004 * rate)
    stroke = wave[:period].copy()
    stroke[-fade:] *= np.linspace(1, 0, fade)
    opening = wave[:first].copy()
    opening[-fade:] *= np.linspace(1, 0, fade)
    loudness = 0.7 + 0.2 * np.random.default_rng(_SEED).random(strokes)
    return np.asarray(np.concatenate([opening, *(stroke * share for share in loudness)])[: len(wave)])


def drum(pitch: int, rate: int) -> Wave:
    """A stroke by General MIDI's map: drums of skin, wood blocks, cymbals and gongs, in a few kinds."""
    kinds = {
        35: "bass",
        36: "bass",
        37: "wood",
        38: "snare",
        39: "wood",
        40: "snare",
        42: "hat",
        44: "hat",
        46: "cymbal",
        76: "wood",
        77: "wood",
    }
    kind = kinds.get(pitch, "cymbal" if 49 <= pitch <= 59 else "wood" if 75 <= pitch <= 81 else "skin")
    length, start, end, noise = {
        "bass": (0.5, 110, 45, 0.05), "snare": (0.25, 220, 170, 0.9), "skin": (0.45, 190 - 1.5 * pitch, 90, 0.08),
        "wood": (0.12, 900 + 20 * (pitch % 12), 880, 0.1), "hat": (0.09, 6000, 6000, 1.0), "cymbal": (1.6, 3800, 3500, 1.0),
    }[kind]  # fmt: skip
    times = np.arange(int(length * rate)) / rate
    hertz = end + (start - end) * np.exp(-times / 0.04)
    body = np.sin(2 * np.pi * np.cumsum(hertz) / rate)
    rattle = _noise(len(times), 2000 if noise > 0.5 else 400, rate)
    wave = ((1 - noise) * body + 0.4 * noise * rattle) * np.exp(-5 * times / length) * np.minimum(1, times / 0.001)
    fade = int(0.01 * rate)
    wave[-fade:] *= np.linspace(1, 0, fade)
    return np.asarray(0.5 * wave, np.float32)
