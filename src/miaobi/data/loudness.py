"""How loud a sound is to a listener (EBU R128, ITU-R BS.1770-4), and sounds brought to one loudness without clipping.

The two K-weighting filters are applied to spectra of a few seconds and not sample by sample, which numpy could not do quickly; the
figures are the same to 0.02 LU (a test holds them against ffmpeg's `ebur128`). The coefficients at any rate are those of libebur128.
Everything works on stretches of a sound, one after the other, and gives the same numbers wherever they are cut: a sound of hours takes no
more memory than one of seconds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaobi.data.sounds import Samples, Sound

Play = Callable[[], Iterator[Samples]]  # a sound in stretches (T, C), from its beginning
BLOCK_SECONDS, STEP_SECONDS = 0.4, 0.1
SILENT, RELATIVE = -70.0, -10.0  # the two gates, in LUFS and in LU below what passed the first
_OFFSET = -0.691  # so that 997 Hz at full scale in one channel is -3.01 LUFS
_SPAN, _LEAD_SECONDS = 1 << 18, 0.25  # samples a transform; the filters ring for a tenth of a second
_PEAK_BLOCK, _PEAK_REACH = 4096, 12  # samples looked at in one go, and how many the interpolating filter needs on either side
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
    return measured([sound.samples], sound.rate).integrated()


def momentary(stretches: Iterable[Samples], rate: int) -> NDArray[np.float64]:
    """The loudness in LUFS of every block of 0.4 seconds of a sound in stretches (T, C), ten a second."""
    return _lufs(measured(stretches, rate).energies())


def true_peak(sound: Sound) -> float:
    """The highest level between the samples as well, in dB of full scale; minus infinity for silence."""
    peak = Peak()
    peak.add(sound.samples)
    return peak.decibels()


def normalise(sound: Sound, lufs: float = -16.0, *, peak: float = -1.0) -> Sound:
    """The sound at a loudness of `lufs`, no true peak above `peak` dB: what would be louder is turned down smoothly, never cut off.

    Silence stays silent. A sound that is all peaks stays below `lufs` where the limiter takes away more than a little.
    """
    return Sound(np.concatenate(list(balanced(lambda: iter([sound.samples]), sound.rate, lufs, peak=peak)())), sound.rate)


def balanced(play: Play, rate: int, lufs: float = -16.0, *, peak: float = -1.0) -> Play:
    """`normalise` of a sound that comes in stretches (T, C) whenever it is played: here up to five times, to be measured."""
    gain, ceiling, limited = 0.0, peak, play
    for number in range(_ROUNDS + 1):  # what the limiter took away is given back, and what rises between samples held lower
        highest = Peak()
        short, over = lufs - measured(highest.watch(limited()), rate).integrated(), highest.decibels() - peak
        if not np.isfinite(short):
            return play
        if number == _ROUNDS or (abs(short) < _NEAR_ENOUGH and over <= 0):
            break
        gain, ceiling = gain + short, ceiling - max(over, 0.0) if gain else ceiling
        limited = functools.partial(_limited, play, np.float32(10 ** (gain / 20)), rate, ceiling)
    down = np.float32(10 ** (-over / 20))
    return (lambda: (samples * down for samples in limited())) if over > 0 else limited


def _limited(play: Play, gain: np.float32, rate: int, peak: float) -> Iterator[Samples]:
    """The sound that much louder, and limited."""
    limiter = Limiter(rate, peak=peak)
    for samples in play():
        yield limiter.add(samples * gain)
    yield limiter.rest()


def limit(samples: Samples, rate: int, *, peak: float = -1.0) -> Samples:
    """No sample of (T, C) above `peak` dB; see `Limiter`."""
    limiter = Limiter(rate, peak=peak)
    return np.concatenate([limiter.add(samples), limiter.rest()])


class Limiter:
    """No sample above `peak` dB: the gain goes down five milliseconds before a peak and comes back after it.

    The gain is the least that any sample within reach needs, smoothed over the same reach: a mean of values none of which is too high.
    What comes out lags behind what goes in by as much as the gain has to know of what comes.
    """

    def __init__(self, rate: int, *, peak: float = -1.0) -> None:
        self.most = np.float32(10 ** (peak / 20))
        self.reach = max(1, round(_LIMITER_SECONDS * rate))
        self._held: Samples | None = None  # samples whose gain is not known yet
        self._needed = np.ones(2 * self.reach, np.float32)
        self._means = _Mean(self.reach + 1), _Mean(self.reach + 1)  # twice: no corners

    def add(self, samples: Samples) -> Samples:
        """The next stretch (T, C); returns what is known of the result so far."""
        levels = np.abs(samples).max(axis=1, initial=0)
        needed = np.minimum(np.float32(1), self.most / np.maximum(levels, self.most))
        self._held = samples if self._held is None else np.concatenate([self._held, samples])
        return self._known(needed)

    def rest(self) -> Samples:
        """What is left when the sound is over."""
        if self._held is None:
            return np.zeros((0, 1), np.float32)
        return self._known(np.ones(2 * self.reach, np.float32))

    def _known(self, needed: NDArray[np.float32]) -> Samples:
        assert self._held is not None
        width = 2 * self.reach + 1
        self._needed = np.concatenate([self._needed, needed])
        if len(self._needed) < width:
            return self._held[:0]
        least = _sliding_minimum(self._needed, width)
        self._needed = self._needed[len(least) :]
        gain = self._means[1].add(self._means[0].add(least))
        ready, self._held = self._held[: len(gain)], self._held[len(gain) :]
        return (ready * gain[:, None]).astype(np.float32)


class _Mean:
    """The mean of every `width` neighbours of values that come in stretches. Sums run on, so that the cuts change nothing."""

    def __init__(self, width: int) -> None:
        self.width, self._sums = width, np.zeros(1)

    def add(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The means that are known with these values."""
        sums = np.concatenate([self._sums[:-1], np.cumsum(np.concatenate([self._sums[-1:], values]), dtype=np.float64)])
        means: NDArray[np.float64] = (sums[self.width :] - sums[: -self.width]) / self.width
        self._sums = sums[-self.width :]
        return means


def _sliding_minimum(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """The least of every `width` neighbours (T - width + 1,), by minima from both ends of blocks (van Herk 1992)."""
    count = len(values) - width + 1
    blocks = np.pad(values, (0, -len(values) % width), constant_values=np.inf).reshape(-1, width)
    ahead = np.minimum.accumulate(blocks, axis=1).ravel()
    behind = np.minimum.accumulate(blocks[:, ::-1], axis=1)[:, ::-1].ravel()
    least: NDArray[np.float32] = np.minimum(behind[:count], ahead[width - 1 : width - 1 + count])
    return least


class Peak:
    """The highest true peak of a sound in stretches (T, C). Every block is looked at with what stands before and behind it."""

    def __init__(self) -> None:
        self.highest, self._held, self._begin = 0.0, np.zeros((0, 1), np.float32), 0
        self._most = float(np.abs(_PHASES).sum(axis=1).max())  # by how much a value between samples can be above them

    def watch(self, stretches: Iterable[Samples]) -> Iterator[Samples]:
        """The same stretches, looked at on their way."""
        for samples in stretches:
            self.add(samples)
            yield samples

    def add(self, samples: Samples) -> None:
        """The next stretch."""
        if not samples.size:
            return
        self.highest = max(self.highest, float(np.abs(samples).max()))
        self._held = np.concatenate([self._held, samples]) if len(self._held) else samples
        while len(self._held) - self._begin >= _PEAK_BLOCK + _PEAK_REACH:
            self._look()

    def decibels(self) -> float:
        """The peak of all that came, in dB of full scale; minus infinity for silence."""
        while len(self._held) > self._begin:
            self._look()
        return float(20 * np.log10(self.highest)) if self.highest else float("-inf")

    def _look(self) -> None:
        """At the next block."""
        for channel in self._held[: self._begin + _PEAK_BLOCK + _PEAK_REACH].T:
            if float(np.abs(channel).max()) * self._most > self.highest:
                found = (float(np.abs(np.convolve(channel, phase)).max()) for phase in (*_PHASES, *_PHASES[:, ::-1]))
                self.highest = max(self.highest, *found)
        self._held, self._begin = self._held[self._begin + _PEAK_BLOCK - _PEAK_REACH :], _PEAK_REACH


class Meter:
    """The loudness of a sound in stretches (T, C): the weighted mean squares of its blocks."""

    def __init__(self, rate: int) -> None:
        self.rate, self.num_samples = rate, 0
        self._lead = round(_LEAD_SECONDS * rate)
        self._size = _SPAN if rate <= 96000 else 8 * _SPAN
        self._held: Samples = np.zeros((0, 1), np.float32)  # from `_before` samples before the next transform's own on
        self._before = 0
        self._sums, self._first, self._found = (
            np.zeros(1),
            0,
            list[NDArray[np.float64]](),
        )  # running sums of squares from sample `_first` on

    def add(self, samples: Samples) -> None:
        """The next stretch."""
        self.num_samples += len(samples)
        self._held = np.concatenate([self._held, samples]) if len(self._held) else samples
        span = self._size - 2 * self._lead
        while len(self._held) - self._before >= span:
            self._weigh(self._held[: self._before + span])
            gone = self._before + span - self._lead
            self._held, self._before = self._held[gone:], self._lead

    def energies(self) -> NDArray[np.float64]:
        """The weighted mean square of every block, its channels added up."""
        if len(self._held) > self._before:
            self._weigh(self._held)
            self._held = self._held[:0]
        if self.num_samples < self._block:
            return np.array([self._sums[-1] / self.num_samples]) if self.num_samples else np.zeros(1)
        return np.concatenate(self._found)

    def integrated(self) -> float:
        """The loudness of all that came, in LUFS."""
        energies = self.energies()
        loud = energies[_lufs(energies) > SILENT]
        if not loud.size:
            return float("-inf")
        gate = _lufs(loud.mean()) + RELATIVE
        return float(_lufs(loud[_lufs(loud) > gate].mean()))

    @property
    def _block(self) -> int:
        return round(BLOCK_SECONDS * self.rate)

    def _weigh(self, samples: Samples) -> None:
        """One transform: the squares of its own K-weighted samples, channels added up by their weights, and the blocks that end in it."""
        squares, response = np.zeros(len(samples) - self._before), _k_weighting(self.rate, self._size)
        for number, channel in enumerate(samples.T):
            weight = _FIVE_ONE[number] if samples.shape[1] == 6 else 1.0
            filtered = np.fft.irfft(np.fft.rfft(channel.astype(np.float64), n=self._size) * response, n=self._size)
            squares += weight * filtered[self._before : len(samples)] ** 2
        sums = np.concatenate([self._sums[:-1], np.cumsum(np.concatenate([self._sums[-1:], squares]))])
        step, block = max(1, round(STEP_SECONDS * self.rate)), self._block
        starts = np.arange(-self._first % step, len(sums) - block, step)
        if len(starts):
            self._found.append(np.asarray((sums[starts + block] - sums[starts]) / block))
        gone = max(0, len(sums) - block)
        self._sums, self._first = sums[gone:], self._first + gone


def measured(stretches: Iterable[Samples], rate: int) -> Meter:
    """The meter of a sound that was heard to its end."""
    meter = Meter(rate)
    for samples in stretches:
        meter.add(samples)
    return meter


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
