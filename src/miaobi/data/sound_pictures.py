"""Sounds to look at: the waveform, and a mel spectrogram with low frequencies at the bottom, as RGBA pixels (height, width, 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import DataError
from miaobi.data.mel import MelSettings, log_mel
from miaobi.data.pictures import Pixels, colour, encode, resize, rgba
from miaobi.data.sounds import Sound

RANGE_DB = 80.0  # what lies this far below the loudest is black
_MAGMA = ("000004", "180f3d", "440f76", "721f81", "9e2f7f", "cd4071", "f1605d", "fd9668", "feca8d", "fcfdbf")  # of matplotlib, every ninth


def waveform(sound: Sound, size: tuple[int, int] = (960, 160), *, ink: str = "#3b5b92", background: str = "white") -> Pixels:
    """The highest and lowest sample of every column in light ink, and between them the root of their mean square in full ink.

    Raises:
        DataError: a sound without samples.
    """
    width, height = size
    samples = _audible(sound).mono().samples[:, 0].astype(np.float64)
    edges = np.linspace(0, len(samples), width + 1).astype(int)
    starts = np.minimum(edges[:-1], len(samples) - 1)
    counts = np.maximum(np.diff(edges), 1)
    high, low = np.maximum.reduceat(samples, starts), np.minimum.reduceat(samples, starts)
    effective = np.sqrt(np.maximum(np.add.reduceat(samples**2, starts) / counts, 0))
    rows = 1 - (np.arange(height) + 0.5) / height * 2  # (H,) from 1 at the top to -1
    thin = 1 / height  # so that silence is a line
    outer = (rows[:, None] <= np.maximum(high, thin)) & (rows[:, None] >= np.minimum(low, -thin))
    inner = np.abs(rows[:, None]) <= effective
    inks = np.array([colour(background), _mixed(ink, background), colour(ink)], np.uint8)
    return rgba(inks[outer.astype(int) + (outer & inner)])


def spectrogram(sound: Sound, size: tuple[int, int] = (960, 320), *, low: float = 0.0, high: float = 0.0) -> Pixels:
    """The mel spectrum in decibels below its loudest point, from black over red to white; `high` 0 is half the rate.

    Raises:
        DataError: a sound without samples.
    """
    mono = _audible(sound).mono()
    fft = 2048 if sound.rate > 16000 else 1024
    samples = np.pad(mono.samples[:, 0], (0, max(0, fft - len(mono.samples))))
    hop = max(1, min(fft // 4, len(samples) // size[0]))
    bands = min(size[1], 160)
    settings = MelSettings(
        rate=sound.rate, fft=fft, hop=hop, bands=bands, low=low, high=high or sound.rate / 2, area=False, power=2.0, floor=1e-10
    )
    decibels = log_mel(samples, settings) * (10 / np.log(10))  # (M, N)
    level = np.clip((decibels - max(decibels.max(), 0.0)) / RANGE_DB + 1, 0, 1)
    return resize(coloured(level[::-1]), size)


def coloured(level: NDArray[np.floating]) -> Pixels:
    """Values from 0 to 1 (H, W) in the colours of matplotlib's `magma`."""
    table = np.array([[int(code[place : place + 2], 16) for place in (0, 2, 4)] for code in _MAGMA], np.float64)
    steps = np.linspace(0, 1, len(table))
    channels = [np.interp(level, steps, table[:, number]) for number in range(3)]
    return rgba(np.rint(np.stack(channels, axis=-1)).astype(np.uint8))


def png(sound: Sound, kind: str = "spectrogram", *, size: tuple[int, int] = (960, 320)) -> bytes:
    """`waveform` or `spectrogram` as the bytes of a PNG file."""
    assert kind in ("waveform", "spectrogram")
    return encode(waveform(sound, size) if kind == "waveform" else spectrogram(sound, size))


def _audible(sound: Sound) -> Sound:
    if not sound.samples.size:
        raise DataError("the sound is empty")
    return sound


def _mixed(ink: str, background: str) -> tuple[int, ...]:
    return tuple((one + two) // 2 for one, two in zip(colour(ink), colour(background)))
