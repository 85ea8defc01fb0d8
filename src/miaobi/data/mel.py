"""Mel spectrograms and back, in numpy: windows, STFT and its inverse, filter banks (HTK and Slaney), Griffin-Lim.

Shapes: samples (T,), spectra (F, N) with F = fft / 2 + 1 frequencies and N frames, mel spectra (M, N). Frames are centred: frame n looks
at sample n * hop, with the signal mirrored at its ends, as torch.stft and the vocoders of the field do; tests hold the figures against
those of transformers and torch. Griffin and Lim (1984) in the accelerated form of Perraudin, Balazs and Søndergaard (2013).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import DataError

Floats = NDArray[np.float32]
Spectrum = NDArray[np.complex64]  # (F, N)
Scale = Literal["slaney", "htk"]
_BREAK_HZ, _BREAK_MEL, _LOG_STEP = 1000.0, 15.0, np.log(6.4) / 27.0  # Slaney's scale: linear below 1 kHz, logarithmic above


@dataclass(frozen=True, slots=True, kw_only=True)
class MelSettings:
    """How sounds become mel spectra; a model and its vocoder must have the same. The defaults are those of Tacotron 2 and its vocoders."""

    rate: int = 22050
    fft: int = 1024
    hop: int = 256
    window: int = 0
    """Samples a window; 0 for `fft`. A shorter one is filled up with zeros on both sides."""
    bands: int = 80
    low: float = 0.0
    high: float = 8000.0
    scale: Scale = "slaney"
    area: bool = True
    """Whether every filter has the same area (Slaney's norm) instead of the same height."""
    power: float = 1.0
    """1 for magnitudes, 2 for energies."""
    floor: float = 1e-5
    """What quiet is at least before the logarithm."""

    def __post_init__(self) -> None:
        """Impossible values are our own mistakes, or were refused by the schema that they came from."""
        assert 0 < self.hop <= self.fft
        assert 0 <= self.window <= self.fft
        assert 0 <= self.low < self.high <= self.rate / 2

    @property
    def frames_per_second(self) -> float:
        """How many frames a second has."""
        return self.rate / self.hop

    def num_frames(self, num_samples: int) -> int:
        """The frames of a sound of so many samples."""
        return 1 + num_samples // self.hop


@functools.lru_cache(maxsize=16)
def window(length: int, fft: int) -> Floats:
    """A periodic Hann window of `length`, in the middle of `fft` zeros."""
    assert 1 <= length <= fft
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    before = (fft - length) // 2
    values: Floats = np.pad(hann, (before, fft - length - before)).astype(np.float32)
    values.flags.writeable = False
    return values


def stft(samples: NDArray[Any], *, fft: int, hop: int, length: int = 0) -> Spectrum:
    """The short-time Fourier transform (F, N) of samples (T,), with a Hann window of `length` (`fft` when 0).

    Raises:
        DataError: fewer samples than the mirrored ends need, fft / 2 + 1.
    """
    assert samples.ndim == 1
    half = fft // 2
    if len(samples) <= half:
        raise DataError(
            "the sound has {count} samples, too few for a spectrum: at least {least} are wanted", count=len(samples), least=half + 1
        )
    padded = np.pad(np.asarray(samples, np.float32), half, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, fft)[::hop]  # (N, fft), a view
    shape = window(length or fft, fft)
    spectrum = np.empty((half + 1, len(frames)), np.complex64)
    for start in range(0, len(frames), 512):  # blocks: the windowed copy of an hour would not fit into memory
        spectrum[:, start : start + 512] = np.fft.rfft(frames[start : start + 512] * shape).T
    return spectrum


def istft(spectrum: NDArray[Any], *, hop: int, length: int = 0, num_samples: int = 0) -> Floats:
    """The samples (T,) whose `stft` is nearest to the spectrum in the squared sense (Griffin and Lim 1984, equation 6).

    T is hop * (N - 1), or `num_samples`, which may be up to a hop more.
    """
    fft, count = 2 * (spectrum.shape[0] - 1), spectrum.shape[1]
    shape = window(length or fft, fft)
    total = _overlapped(np.fft.irfft(spectrum.T, n=fft).astype(np.float32) * shape, hop)
    weight = _overlapped(np.broadcast_to(shape * shape, (count, fft)), hop)
    half = fft // 2
    kept = slice(half, half + (num_samples or hop * (count - 1)))
    return np.divide(total[kept], weight[kept], out=np.zeros_like(total[kept]), where=weight[kept] > 1e-8)


def _overlapped(frames: Floats, hop: int) -> Floats:
    """Frames (N, fft) added up, each `hop` after the one before (at least hop * (N - 1) + fft,): one sum for every hop of a frame."""
    count, fft = frames.shape
    steps = -(-fft // hop)
    total = np.zeros((count + steps, hop), np.float32)
    for step in range(steps):
        part = frames[:, step * hop : (step + 1) * hop]
        total[step : step + count, : part.shape[1]] += part
    return total.ravel()


def to_mel(hertz: Any, scale: Scale = "slaney") -> NDArray[np.float64]:
    """Frequencies in hertz as mel."""
    hertz = np.asarray(hertz, np.float64)
    if scale == "htk":
        return np.asarray(2595.0 * np.log10(1.0 + hertz / 700.0))
    above = np.log(np.maximum(hertz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.asarray(np.where(hertz < _BREAK_HZ, hertz * _BREAK_MEL / _BREAK_HZ, _BREAK_MEL + above))


def to_hertz(mel: Any, scale: Scale = "slaney") -> NDArray[np.float64]:
    """Mel as frequencies in hertz, the inverse of `to_mel`."""
    mel = np.asarray(mel, np.float64)
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
    above = _BREAK_HZ * np.exp(_LOG_STEP * np.maximum(mel - _BREAK_MEL, 0))
    return np.asarray(np.where(mel < _BREAK_MEL, mel * _BREAK_HZ / _BREAK_MEL, above))


@functools.lru_cache(maxsize=16)
def filterbank(settings: MelSettings) -> Floats:
    """Triangular filters (M, F) with corners evenly spaced in mel."""
    corners = to_hertz(
        np.linspace(to_mel(settings.low, settings.scale), to_mel(settings.high, settings.scale), settings.bands + 2), settings.scale
    )
    bins = np.linspace(0, settings.rate / 2, settings.fft // 2 + 1)
    slopes = corners[:, None] - bins[None]  # (M + 2, F)
    widths = np.diff(corners)[:, None]
    triangles = np.maximum(0, np.minimum(-slopes[:-2] / widths[:-1], slopes[2:] / widths[1:]))  # (M, F)
    if settings.area:
        triangles *= (2.0 / (corners[2:] - corners[:-2]))[:, None]
    filters: Floats = triangles.astype(np.float32)
    filters.flags.writeable = False
    return filters


def mel(samples: NDArray[Any], settings: MelSettings) -> Floats:
    """The mel spectrum (M, N) of samples (T,), not yet a logarithm.

    Raises:
        DataError: too few samples, see `stft`.
    """
    magnitude = np.abs(stft(samples, fft=settings.fft, hop=settings.hop, length=settings.window))
    powers = magnitude if settings.power == 1 else magnitude ** np.float32(settings.power)
    energies: Floats = np.asarray(filterbank(settings) @ powers, np.float32)
    return energies


def log_mel(samples: NDArray[Any], settings: MelSettings) -> Floats:
    """The natural logarithm of `mel`, not below that of the floor."""
    logs: Floats = np.log(np.maximum(mel(samples, settings), settings.floor))
    return logs


def magnitude_of(logs: NDArray[Any], settings: MelSettings, *, iterations: int = 50) -> Floats:
    """Magnitudes (F, N) that are nowhere negative and whose `log_mel` is near `logs` (M, N).

    Multiplicative updates (Lee and Seung 2001) from the transposed filters: a pseudo-inverse gives negative magnitudes, which sound.
    """
    wanted = np.exp(np.asarray(logs, np.float32))
    filters = filterbank(settings)
    covered = filters.sum(axis=0)[:, None] > 0  # below `low` and above `high` there is nothing to know
    guess: Floats = np.where(covered, filters.T @ wanted / np.maximum((filters.T @ filters.sum(axis=1))[:, None], 1e-10), 0).astype(
        np.float32
    )
    square, aim = filters.T @ filters, filters.T @ wanted
    for _ in range(iterations):
        guess *= aim / np.maximum(square @ guess, 1e-10)
    return guess if settings.power == 1 else guess ** np.float32(1 / settings.power)


def griffin_lim(
    magnitude: NDArray[Any],
    *,
    hop: int,
    length: int = 0,
    iterations: int = 60,
    momentum: float = 0.99,
    rng: np.random.Generator | None = None,
) -> Floats:
    """Samples (T,) whose spectrum has these magnitudes (F, N), from random phases; without `rng` from those of seed 0."""
    rng = rng or np.random.default_rng(0)
    fft = 2 * (magnitude.shape[0] - 1)
    angles = np.exp(2j * np.pi * rng.random(magnitude.shape)).astype(np.complex64)
    before = np.zeros_like(angles)
    for _ in range(iterations):
        samples = istft(magnitude * angles, hop=hop, length=length)
        rebuilt = stft(_long_enough(samples, fft), fft=fft, hop=hop, length=length)[:, : magnitude.shape[1]]
        angles = rebuilt - np.float32(momentum / (1 + momentum)) * before
        angles /= np.maximum(np.abs(angles), 1e-12)
        before = rebuilt
    return istft(magnitude * angles, hop=hop, length=length)


def samples_of(logs: NDArray[Any], settings: MelSettings, *, iterations: int = 60, rng: np.random.Generator | None = None) -> Floats:
    """The sound (T,) of a log mel spectrum (M, N), by Griffin-Lim: understandable, a little metallic, no training needed."""
    magnitude = magnitude_of(logs, settings)
    samples = griffin_lim(magnitude, hop=settings.hop, length=settings.window, iterations=iterations, rng=rng)
    return np.clip(samples, -1, 1)


def _long_enough(samples: Floats, fft: int) -> Floats:
    """With zeros behind it where a spectrum could not be mirrored at its ends."""
    return samples if len(samples) > fft // 2 else np.pad(samples, (0, fft // 2 + 1 - len(samples)))
