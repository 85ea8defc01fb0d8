"""An inaudible mark in a sound: 64 bits that survive MP3, Opus, AAC, resampling and loudness, and a p-value for whether they are there.

Spread spectrum in time and frequency (Kirovski and Malvar 2003): the spectrum between 0.5 and 6.5 kHz is cut into cells of 150 Hz and
90 ms, and of every two neighbours in time one is made louder and one softer by less than a decibel. Which of them follows from the key and
from the bit that the pair carries; pairs of a period of 64 cells carry all bits twenty times, and the periods repeat. Differences of
neighbours in time leave out the spectrum of the sound itself.

As for pictures, the signs are drawn from a public key, so in any sound without the mark the sums have a known distribution over the draw of
the key, whatever the sound is, and a p-value means what it says. A cut at the start is survived: all places of the period are tried.
Another speed or pitch is not.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from miaobi.trust.watermark import BITS, Detection, gamma_tail

NAME = "spread-1"
DEPTH_DB = 0.8  # by how much a cell is changed
CELL_SECONDS = 0.09
PERIOD = 64  # cells
LOW, WIDTH, BANDS = 500.0, 150.0, 40  # hertz
LEAST_RATE = 8000
_FRAME_SECONDS = 0.045  # of the transforms, half overlapping
_SUB = 4  # places within a cell that are tried
_CLIP_DB = 3.0  # a larger step between two cells counts no more than this
_CALM_DB = 1.5  # the spread of the bands' steps at which a moment counts half
_AT_ONCE = 1 << 18  # samples of all transforms that are computed in one call: what a processor's cache holds
_QUIET = 1e-9  # mean energy below which a cell has nothing to carry a mark
_KEY = 0x6D69616F736E64

Samples = NDArray[np.float32]  # (T, C)
Values = NDArray[np.float64]


def embed(samples: Samples, rate: int, payload: int) -> Samples:
    """The sound (T, C) with the payload in it; shorter than two seconds or silent, it may be too weak to find, and `detect` tells."""
    if rate < LEAST_RATE:
        return samples
    fft, hop = _sizes(rate)
    slots, signs = _layout()
    bits = np.array([payload >> bit & 1 for bit in range(BITS)])[slots] * 2 - 1
    pairs = bits * signs  # (PERIOD / 2, BANDS)
    pattern = np.stack([pairs, -pairs], axis=1).reshape(PERIOD, BANDS)
    band, inside = _bands(fft, rate)
    shape = np.sqrt(np.hanning(fft + 1)[:-1])
    padded = np.pad(samples.astype(np.float64), ((fft, fft), (0, 0)))
    marked = np.zeros_like(padded)
    for start in range(0, len(padded) - fft + 1, hop):
        middle = (start + fft / 2 - fft) / rate
        gains = np.ones(fft // 2 + 1)
        gains[inside] = 10 ** (DEPTH_DB / 20 * pattern[int(middle // CELL_SECONDS) % PERIOD, band[inside]])
        spectrum = np.fft.rfft(padded[start : start + fft] * shape[:, None], axis=0)
        marked[start : start + fft] += np.fft.irfft(spectrum * gains[:, None], n=fft, axis=0) * shape[:, None]
    return np.clip(marked[fft : fft + len(samples)], -1, 1).astype(np.float32)


def detect(samples: Samples, rate: int) -> Detection:
    """Look for the mark in a sound (T, C), beginning at any place of its period."""
    return detect_in([(samples, rate)])


def detect_in(blocks: Iterable[tuple[Samples, int]]) -> Detection:
    """`detect` in a sound that comes in stretches (T, C), each with its rate, which are looked at once and not kept."""
    energies, size, rate = _energies(blocks)  # (steps, BANDS)
    best = Detection(p_value=1.0, payload=0, size=size, name=NAME)
    if rate < LEAST_RATE or not size[0]:
        return best
    slots, signs = _layout()
    tried = PERIOD * _SUB
    for sub in range(_SUB):
        differences = _differences(energies[sub:])
        folds = [_folded(differences, first) for first in range(2)]  # a pair begins at an even cell of the period
        for shift in range(PERIOD if len(differences) else 0):
            folded = np.roll(folds[shift % 2], (shift + 1) // 2, axis=0) * signs
            sums = np.bincount(slots.ravel(), folded.ravel(), BITS)
            squares, fourths = (np.bincount(slots.ravel(), folded.ravel() ** power, BITS) for power in (2, 4))
            spread = float((2 * squares**2 - 2 * fourths).sum())
            p_value = min(1.0, tried * gamma_tail(float((sums**2).sum()), float(squares.sum()), spread))
            if p_value < best.p_value:
                payload = sum(1 << int(bit) for bit in np.flatnonzero(sums > 0))
                best = Detection(p_value=p_value, payload=payload, size=best.size, name=NAME)
    return best


def _energies(blocks: Iterable[tuple[Samples, int]]) -> tuple[Values, tuple[int, int], int]:
    """The energy of every band in steps of a quarter of a cell (S, BANDS), channels added up; the sound's shape (T, C) and rate."""
    found: list[Values] = []
    held, begin, steps, rate = np.zeros((0, 1), np.float32), 0, 0, 0  # what the steps to come need so far, from sample `begin` on
    for samples, rate in _gathered(blocks):
        if rate < LEAST_RATE:
            break
        held = np.concatenate([held, samples]) if len(held) else samples
        fft, step = _sizes(rate)[0], CELL_SECONDS / _SUB * rate
        most = max(steps, int((begin + len(held) - fft) / step) + 2)
        starts = np.rint(np.arange(steps, most) * step).astype(np.int64) - begin
        starts = starts[starts + fft <= len(held)]
        count = max(1, _AT_ONCE // fft)
        found += [_spectra(held, starts[first : first + count], rate) for first in range(0, len(starts), count)]
        steps += len(starts)
        gone = min(round(steps * step) - begin, len(held))
        held, begin = held[gone:], begin + gone
    return np.concatenate([np.zeros((0, BANDS)), *found]), (begin + len(held), held.shape[1]), rate


def _gathered(blocks: Iterable[tuple[Samples, int]]) -> Iterator[tuple[Samples, int]]:
    """The same sound in longer stretches: the packets of compressed ones are short, and every call costs something."""
    held: list[Samples] = []
    before = length = 0
    for samples, rate in blocks:
        if held and (rate != before or length >= _AT_ONCE):
            yield (np.concatenate(held) if len(held) > 1 else held[0]), before
            held, length = [], 0
        held.append(samples)
        before, length = rate, length + len(samples)
    if held:
        yield np.concatenate(held), before


def _spectra(samples: Samples, starts: NDArray[np.int64], rate: int) -> Values:
    """The energies (S, BANDS) of transforms that begin at these samples of (T, C)."""
    fft, _ = _sizes(rate)
    band, inside = _bands(fft, rate)
    low, high = np.flatnonzero(inside)[[0, -1]] + [0, 1]
    edges = np.flatnonzero(np.diff(band[low:high], prepend=-1))  # where a band begins; those above half the rate are empty
    energies = np.zeros((len(starts), BANDS))
    for channel in samples.T:
        spectrum = np.fft.rfft(_frames(np.ascontiguousarray(channel), starts, fft) * _window(fft))[:, low:high]
        power = spectrum.real**2 + spectrum.imag**2
        energies[:, band[low:high][edges]] += np.add.reduceat(power, edges, axis=1) / fft
    return energies


def _frames(channel: Samples, starts: NDArray[np.int64], fft: int) -> Samples:
    """The stretches (S, fft) that begin at these samples; nothing is copied where they are evenly spaced."""
    gaps = np.diff(starts)
    even = len(gaps) and (gaps == gaps[0]).all()
    windows = np.lib.stride_tricks.sliding_window_view(channel, fft)
    found: Samples = windows[starts[0] : starts[-1] + 1 : gaps[0]] if even else windows[starts]
    return found


def _differences(energies: Values) -> Values:
    """How many decibels every cell is above the next (cells - 1, BANDS), as far as the mark can have done it.

    What all bands do together (a note that begins, a fade) is taken away, large steps count as small ones, and a moment in which the bands
    differ wildly counts less than a quiet one.
    """
    whole = len(energies) // _SUB * _SUB
    cells = energies[:whole].reshape(-1, _SUB, BANDS).mean(axis=1)
    if len(cells) < 2:
        return np.zeros((0, BANDS))
    levels = 10 * np.log10(np.maximum(cells, 1e-30))
    heard = (cells[:-1] > _QUIET) & (cells[1:] > _QUIET)
    steps = levels[:-1] - levels[1:]
    steps -= np.median(steps, axis=1, keepdims=True)
    spread = np.median(np.abs(steps), axis=1, keepdims=True)
    return np.where(heard, np.clip(steps, -_CLIP_DB, _CLIP_DB) / (1 + (spread / _CALM_DB) ** 2), 0.0)


def _folded(differences: Values, first: int) -> Values:
    """The differences of all pairs from cell `first` on, whole periods added up (PERIOD / 2, BANDS)."""
    pairs = differences[first::2]
    folded = np.zeros((PERIOD // 2, BANDS))
    np.add.at(folded, np.arange(len(pairs)) % (PERIOD // 2), pairs)
    return folded


@functools.cache
def _layout() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which bit every pair of cells carries (PERIOD / 2, BANDS), and the sign that the key gives it."""
    rng = np.random.Generator(np.random.PCG64(_KEY))
    count = PERIOD // 2 * BANDS
    order = rng.random(count).argsort(kind="stable")  # numpy keeps `random` the same for all time, `permutation` it does not
    signs = np.where(rng.random(count) < 0.5, -1, 1)
    return (order % BITS).reshape(-1, BANDS), signs.reshape(-1, BANDS)


def _sizes(rate: int) -> tuple[int, int]:
    """Samples a transform and between two of them."""
    hop = round(_FRAME_SECONDS / 2 * rate)
    return 2 * hop, hop


@functools.cache
def _window(fft: int) -> Values:
    """The shape of a transform (fft,)."""
    return np.hanning(fft + 1)[:-1]


@functools.cache
def _bands(fft: int, rate: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The band of every frequency of a transform, and whether it has one."""
    hertz = np.arange(fft // 2 + 1) * rate / fft
    band = np.floor((hertz - LOW) / WIDTH).astype(np.int64)
    inside = (band >= 0) & (band < BANDS) & (hertz < 0.45 * rate)
    return np.clip(band, 0, BANDS - 1), inside
