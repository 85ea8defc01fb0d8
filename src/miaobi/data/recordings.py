"""Sounds that are decoded anew whenever they are heard: of one that lasts for hours, seconds are held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import DataError, MissingExtra
from miaobi.core.language import tr
from miaobi.data import sounds
from miaobi.data.sounds import Samples, Sound
from miaobi.trust import media
from miaobi.trust.stored import Data

STRETCH = 1 << 16  # samples that a sound in memory is cut into
Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A sound as its stretches (T, C), the same ones whenever it is played; `length` is how many samples they have together."""

    play: Callable[[], Iterator[Samples]] = field(repr=False)
    rate: int
    channels: int
    length: int

    @classmethod
    def of(cls, data: Data) -> Recording:
        """The sound of bytes or of a file (of a film, too), which is gone through once to see that it can be heard to its end.

        Raises:
            DataError: as `sounds.decode`.
            MissingExtra: not WAV, and PyAV is not installed.
        """
        sounds.check(data)
        length, channels, rate = media.length(data)
        if not length:
            raise DataError("the sound is empty")
        return cls(play=lambda: (samples for samples, _ in media.blocks(data)), rate=rate, channels=channels, length=length)

    @classmethod
    def of_sound(cls, sound: Sound) -> Recording:
        """One that is in memory already."""
        starts = range(0, len(sound.samples), STRETCH)
        return cls(
            play=lambda: (sound.samples[start : start + STRETCH] for start in starts),
            rate=sound.rate,
            channels=sound.channels,
            length=len(sound.samples),
        )

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.length / self.rate

    def between(self, start: float, end: float) -> Recording:
        """The stretch from `start` to `end` seconds, as far as there is one."""
        first, last = (min(self.length, max(0, round(seconds * self.rate))) for seconds in (start, end))
        count = max(0, last - first)

        def play() -> Iterator[Samples]:
            tape = Tape(self.play(), self.channels)
            tape.skip(first)
            yield from tape.stretches(count)

        return Recording(play=play, rate=self.rate, channels=self.channels, length=count)

    def at(self, rate: int) -> Iterator[Samples]:
        """Its stretches at another rate: the very samples that `Sound.resampled` gives."""
        return resampled(self.play(), self.rate, rate, channels=self.channels)

    def whole(self) -> Sound:
        """All of it in memory."""
        return Sound(np.concatenate([np.zeros((0, self.channels), np.float32), *self.play()]), self.rate)


class Tape:
    """Stretches read in pieces of any length; behind their end is silence."""

    def __init__(self, stretches: Iterable[Samples], channels: int) -> None:
        self._rest, self._held = iter(stretches), np.zeros((0, channels), np.float32)

    def read(self, count: int) -> Samples:
        """The next `count` samples (count, C)."""
        found, there = [self._held], len(self._held)
        while there < count:
            more = next(self._rest, None)
            found.append(np.zeros((count - there, self._held.shape[1]), np.float32) if more is None else more)
            there += len(found[-1])
        whole = np.concatenate(found) if len(found) > 1 else self._held
        self._held = whole[count:]
        return whole[:count]

    def skip(self, count: int) -> None:
        """Pass over so many samples."""
        for _ in range(0, count, STRETCH):
            self.read(min(STRETCH, count))
            count -= STRETCH

    def stretches(self, count: int, *, size: int = STRETCH) -> Iterator[Samples]:
        """The next `count` samples in stretches of `size`."""
        for start in range(0, count, size):
            yield self.read(min(size, count - start))


def shaped(stretches: Iterable[Samples], length: int, begin: Weights, end: Weights) -> Iterator[Samples]:
    """Stretches of `length` samples together, the first and last of which are multiplied by these (T,)."""
    at = 0
    for stretch in stretches:
        made = stretch.copy()
        for ramp, place in ((begin, 0), (end, length - len(end))):
            first, last = max(at, place), min(at + len(stretch), place + len(ramp))
            if first < last:
                made[first - at : last - at] *= ramp[first - place : last - place, None]
        yield made
        at += len(stretch)


def even(stretches: Iterable[Samples], size: int) -> Iterator[Samples]:
    """The same samples in stretches of one size; the last may be shorter."""
    held: Samples | None = None
    for samples in stretches:
        held = samples if held is None or not len(held) else np.concatenate([held, samples])
        whole = len(held) // size * size
        yield from (held[start : start + size] for start in range(0, whole, size))
        held = held[whole:]
    if held is not None and len(held):
        yield held


def resampled(stretches: Iterable[Samples], rate: int, wanted: int, *, channels: int) -> Iterator[Samples]:
    """Stretches at another rate, band-limited (soxr, high quality).

    Raises:
        MissingExtra: soxr is not installed and the rate is another one.
    """
    if rate == wanted:
        yield from stretches
        return
    try:
        import soxr
    except ImportError:
        raise MissingExtra(tr("changing the rate of a sound"), "sound", "soxr") from None
    stream = soxr.ResampleStream(rate, wanted, channels, quality="HQ")
    for samples in stretches:
        yield np.clip(stream.resample_chunk(np.ascontiguousarray(samples, np.float32)), -1, 1)
    yield np.clip(stream.resample_chunk(np.zeros((0, channels), np.float32), last=True), -1, 1)
