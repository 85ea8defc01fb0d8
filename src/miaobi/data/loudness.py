"""How loud a sound is to a listener (EBU R128, ITU-R BS.1770-4), and sounds brought to one loudness without clipping.

The two K-weighting filters are applied to spectra of a few seconds and not sample by sample, which numpy could not do quickly; the
figures are the same to 0.02 LU (a test holds them against ffmpeg's `ebur128`). The coefficients at any rate are those of libebur128.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaobi.data.sounds import Samples, Sound

BLOCK_SECONDS, STEP_SECONDS = 0.4, 0.1
SILENT, RELATIVE = -70.0, -10.0  # the two gates, in LUFS and in LU below what passed the first
_OFFSET = -0.691  # so that 997 Hz at full scale in one channel is -3.01 LUFS
_SPAN, _LEAD_SECONDS = 1 << 18, 0.25  # samples a transform; the filters ring for a tenth of a second
_PEAK_BLOCK = 4096
_LIMITER_SECONDS = 0.005
_NEAR_ENOUGH, _ROUNDS = 0.1, 4  # LU, and how often the limiter is set anew
_FIVE_ONE = (1.0, 1.0, 1.0, 0.0, 1.41, 1.41)  # the low-frequency channel does not count, those behind the listener count more
_PHASES = np.array(  # ITU-R BS.1770-4, annex 2: two phases of an interpolating filter, 12 taps each; the others are these turned round
    [
        [0.001708984375, 0.010986328125, -0.0196533203125, 0.033203125, -0.0594482421875, 0.1373291015625],
        [0.97216796875, -0.102294921875, 0.047607421875, -0.026611328125, 0.014892578125, -0.00830078125],
        [-0.0291748046875, 0.029296875, -0.0517578125, 0.0891113281250, -0.16650390625, 0.465087890625],
        [0.77978515625, -0.2003173828125, 0.1015625, -0.0582275390625, 0.0330810546875, -0.0189208984375],
    ]
).reshape(2, 12)


def integrated(sound: Sound) -> float:
    """The loudness of the whole sound in LUFS, quiet passages left out; minus infinity when all of it is silent.

    A sound shorter than a block of 0.4 seconds is measured as one block.
    """
    energies = _block_energies(sound)
    loud = energies[_lufs(energies) > SILENT]
    if not loud.size:
        return float("-inf")
    gate = _lufs(loud.mean()) + RELATIVE
    return float(_lufs(loud[_lufs(loud) > gate].mean()))


def momentary(sound: Sound) -> NDArray[np.float64]:
    """The loudness in LUFS of every block of 0.4 seconds, ten a second."""
    return _lufs(_block_energies(sound))


def true_peak(sound: Sound) -> float:
    """The highest level between the samples as well, in dB of full scale; minus infinity for silence."""
    if not sound.samples.size or not (highest := float(np.abs(sound.samples).max())):
        return float("-inf")
    most = float(np.abs(_PHASES).sum(axis=1).max())  # by how much a value between samples can be above them
    for channel in sound.samples.T:
        for start in range(0, len(channel), _PEAK_BLOCK):
            block = channel[max(0, start - 12) : start + _PEAK_BLOCK + 12]
            if np.abs(block).max() * most > highest:
                highest = max(highest, *(float(np.abs(np.convolve(block, phase)).max()) for phase in (*_PHASES, *_PHASES[:, ::-1])))
    return float(20 * np.log10(highest))


def normalise(sound: Sound, lufs: float = -16.0, *, peak: float = -1.0) -> Sound:
    """The sound at a loudness of `lufs`, no true peak above `peak` dB: what would be louder is turned down smoothly, never cut off.

    Silence stays silent. A sound that is all peaks stays below `lufs` where the limiter takes away more than a little.
    """
    gain, ceiling, limited = 0.0, peak, sound
    for _ in range(_ROUNDS):  # what the limiter took away is given back, and what rises between samples held lower
        short, over = lufs - integrated(limited), true_peak(limited) - peak
        if not np.isfinite(short):
            return sound
        if abs(short) < _NEAR_ENOUGH and over <= 0:
            break
        gain, ceiling = gain + short, ceiling - max(over, 0.0) if gain else ceiling
        limited = Sound(limit(sound.samples * np.float32(10 ** (gain / 20)), sound.rate, peak=ceiling), sound.rate)
    over = true_peak(limited) - peak
    return Sound(limited.samples * np.float32(10 ** (-over / 20)), sound.rate) if over > 0 else limited


def limit(samples: Samples, rate: int, *, peak: float = -1.0) -> Samples:
    """No sample of (T, C) above `peak` dB: the gain goes down five milliseconds before a peak and comes back after it.

    The gain is the least that any sample within reach needs, smoothed over the same reach: a mean of values none of which is too high.
    """
    most = np.float32(10 ** (peak / 20))
    levels = np.abs(samples).max(axis=1)
    if not len(levels) or levels.max() <= most:
        return samples
    needed = np.minimum(1, most / np.maximum(levels, most))
    reach = max(1, round(_LIMITER_SECONDS * rate))
    least = _sliding_minimum(np.pad(needed, 2 * reach, constant_values=1), 2 * reach + 1)  # (T + 2 reach,)
    gain = _sliding_mean(_sliding_mean(least, reach + 1), reach + 1)  # twice: no corners; (T,)
    return (samples * gain[:, None]).astype(np.float32)


def _sliding_mean(values: NDArray[Any], width: int) -> NDArray[np.float64]:
    """The mean of every `width` neighbours (T - width + 1,)."""
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    means: NDArray[np.float64] = (sums[width:] - sums[:-width]) / width
    return means


def _sliding_minimum(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """The least of every `width` neighbours (T - width + 1,), by minima from both ends of blocks (van Herk 1992)."""
    count = len(values) - width + 1
    blocks = np.pad(values, (0, -len(values) % width), constant_values=np.inf).reshape(-1, width)
    ahead = np.minimum.accumulate(blocks, axis=1).ravel()
    behind = np.minimum.accumulate(blocks[:, ::-1], axis=1)[:, ::-1].ravel()
    least: NDArray[np.float32] = np.minimum(behind[:count], ahead[width - 1 : width - 1 + count])
    return least


def _block_energies(sound: Sound) -> NDArray[np.float64]:
    """The weighted mean square of every block, its channels added up."""
    squares = _weighted_squares(sound)
    block, step = round(BLOCK_SECONDS * sound.rate), round(STEP_SECONDS * sound.rate)
    if len(squares) < block:
        return np.array([squares.mean()]) if len(squares) else np.zeros(1)
    sums = np.concatenate([[0.0], np.cumsum(squares)])
    starts = np.arange(0, len(squares) - block + 1, max(1, step))
    return np.asarray((sums[starts + block] - sums[starts]) / block)


def _weighted_squares(sound: Sound) -> NDArray[np.float64]:
    """The squares (T,) of the K-weighted samples, channels added up by their weights."""
    lead = round(_LEAD_SECONDS * sound.rate)
    size = _SPAN if sound.rate <= 96000 else 8 * _SPAN
    span, response = size - 2 * lead, _k_weighting(sound.rate, size)
    total = np.zeros(len(sound.samples))
    for number, channel in enumerate(sound.samples.T):
        weight = _FIVE_ONE[number] if sound.channels == 6 else 1.0
        for start in range(0, len(channel), span):
            before = min(start, lead)
            piece = channel[start - before : start + span].astype(np.float64)
            filtered = np.fft.irfft(np.fft.rfft(piece, n=size) * response, n=size)[before : len(piece)]
            total[start : start + span] += weight * filtered**2
    return total


@functools.lru_cache(maxsize=4)
def _k_weighting(rate: int, size: int) -> NDArray[np.complex128]:
    """The response of both filters at the frequencies of an FFT of `size`."""
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    response = np.ones_like(z)
    for above, below in (_shelf(rate), _high_pass(rate)):
        response *= np.polyval(above[::-1], z) / np.polyval(below[::-1], z)
    return np.asarray(response)


def _shelf(rate: int) -> tuple[list[float], list[float]]:
    """The head of a listener as a sphere: four decibels more above two kilohertz. Numerator and denominator."""
    frequency, gain, quality = 1681.974450955533, 3.999843853973347, 0.7071752369554196
    k = np.tan(np.pi * frequency / rate)
    high, band = 10 ** (gain / 20), 10 ** (gain / 20 * 0.4996667741545416)
    scale = 1 + k / quality + k * k
    up = [(high + band * k / quality + k * k) / scale, 2 * (k * k - high) / scale, (high - band * k / quality + k * k) / scale]
    return up, [1.0, 2 * (k * k - 1) / scale, (1 - k / quality + k * k) / scale]


def _high_pass(rate: int) -> tuple[list[float], list[float]]:
    """The revised low-frequency B curve. Numerator and denominator."""
    frequency, quality = 38.13547087602444, 0.5003270373238773
    k = np.tan(np.pi * frequency / rate)
    scale = 1 + k / quality + k * k
    return [1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / scale, (1 - k / quality + k * k) / scale]


def _lufs(energy: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    """Energies as loudness."""
    with np.errstate(divide="ignore"):
        return np.asarray(_OFFSET + 10 * np.log10(energy))
