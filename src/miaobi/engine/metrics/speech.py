"""How near made speech is to the recording that it stands for, whatever the two say at their own pace.

Both are cut to what is not silent, taken as log-mel spectra at the lower of their rates (16 kHz at most), and put frame beside frame by
dynamic time warping (Sakoe and Chiba, 1978). `mel_error` is the mean distance of the bands in decibels. `mel_cepstral_distortion`
(Kubichek, 1993) is that of the first 13 cepstra without the loudness, in its usual decibels: copies through a good vocoder have 2 to 4,
other voices 7 and more. What a sample stands for is its held-out record, so only models that can be asked for one are measured.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from miaobi.core.types import Media, Modality, Part
from miaobi.data.mel import MelSettings, log_mel
from miaobi.data.sounds import Sound, decode
from miaobi.data.steps.sound import trimmed
from miaobi.engine.metrics import Evidence, Figure, Unmeasurable, metric
from miaobi.engine.metrics.confidence import ratio

RATE, BANDS, CEPSTRA = 16_000, 40, 13
WINDOW_SECONDS, HOP_SECONDS = 0.05, 0.0125
QUIET_DECIBELS = -45.0  # below the loudest: silence, which is cut at the ends
DECIBELS = 20 / np.log(10)  # of a natural logarithm of a magnitude
KUBICHEK = 10 * np.sqrt(2) / np.log(10)

Floats = NDArray[np.float64]


@metric("mel_error", needs=["samples"])
def mel_error(evidence: Evidence) -> Figure:
    """Mean distance of the bands of a log-mel spectrum from the recording's, in decibels, frames put beside each other by time warping."""
    return _over_samples(evidence, band_distance)


@metric("mel_cepstral_distortion", needs=["samples"])
def mel_cepstral_distortion(evidence: Evidence) -> Figure:
    """Mel cepstral distortion from the recording, in decibels, loudness aside, frames put beside each other by time warping."""
    return _over_samples(evidence, cepstral_distortion)


def band_distance(made: Sound, real: Sound) -> float:
    """Mean absolute difference of the bands along the warping path, in decibels."""
    first, second = _side_by_side(made, real)
    return float(DECIBELS * np.abs(first - second).mean())


def cepstral_distortion(made: Sound, real: Sound) -> float:
    """Mel cepstral distortion along the warping path, in decibels; 0 for the same sound at another loudness."""
    first, second = (_cepstra(one) for one in _side_by_side(made, real))
    return float(KUBICHEK * np.sqrt(((first - second) ** 2).sum(axis=1)).mean())


def _side_by_side(made: Sound, real: Sound) -> tuple[Floats, Floats]:
    """Both spectra, one row a pair of frames."""
    rate = min(RATE, made.rate, real.rate)
    first, second = (_spectrum(one, rate) for one in (made, real))
    path = warping(_cepstra(first), _cepstra(second))
    return first[path[:, 0]], second[path[:, 1]]


def _spectrum(sound: Sound, rate: int) -> Floats:
    """The log-mel spectrum (N, M) of what is not silent."""
    samples = trimmed(sound.mono(), below=QUIET_DECIBELS, margin=0.0).resampled(rate).samples[:, 0]
    window = round(WINDOW_SECONDS * rate)
    fft = 1 << (window - 1).bit_length()
    settings = MelSettings(rate=rate, fft=fft, window=window, hop=round(HOP_SECONDS * rate), bands=BANDS, low=40.0, high=rate / 2)
    return log_mel(np.pad(samples, (0, max(0, fft - len(samples)))), settings).T.astype(np.float64)


def _cepstra(spectrum: Floats) -> Floats:
    """Cepstra 1 to 13 (N, 13) of log-mel spectra (N, M): cosines over the bands; the first, which is loudness, is left out."""
    return spectrum @ _cosines(spectrum.shape[1])


@functools.cache
def _cosines(bands: int) -> Floats:
    orders = np.arange(1, CEPSTRA + 1)
    cosines: Floats = np.cos(np.pi * np.outer(np.arange(bands) + 0.5, orders) / bands) * 2 / bands
    return cosines


def warping(first: Floats, second: Floats) -> NDArray[np.intp]:
    """The cheapest way (K, 2) through both rows of frames, from their first to their last: a step goes on in one of them or in both.

    Costs are summed along anti-diagonals, each of which needs only the two before it.
    """
    squared = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None] - 2 * first @ second.T
    costs = np.sqrt(np.maximum(squared, 0))
    rows, columns = costs.shape
    summed = np.full((rows + 1, columns + 1), np.inf)
    summed[0, 0] = 0
    for number in range(rows + columns - 1):
        row = np.arange(max(0, number - columns + 1), min(rows, number + 1))
        column = number - row
        before = np.minimum(np.minimum(summed[row, column], summed[row, column + 1]), summed[row + 1, column])
        summed[row + 1, column + 1] = costs[row, column] + before
    path = [(rows - 1, columns - 1)]
    while path[-1] != (0, 0):
        row, column = path[-1]
        steps = [(row - 1, column - 1), (row - 1, column), (row, column - 1)]
        path.append(min(steps, key=lambda place: summed[place[0] + 1, place[1] + 1] if min(place) >= 0 else np.inf))
    return np.array(path[::-1])


def _over_samples(evidence: Evidence, distance: Callable[[Sound, Sound], float]) -> Figure:
    """The mean over all samples that stand for a recording."""
    pairs = [(_sound(one.content.parts), _sound(one.reference.parts)) for one in evidence.samples.get("", ()) if one.reference is not None]
    values = [distance(made, real) for made, real in pairs if made is not None and real is not None]
    if not values:
        raise Unmeasurable("none of the sounds stands for a recording to compare with")
    return ratio(values, seed=evidence.seed, unit="dB", better="lower")


def _sound(parts: tuple[Part, ...]) -> Sound | None:
    return next((decode(part.data) for part in parts if isinstance(part, Media) and part.modality is Modality.AUDIO), None)
