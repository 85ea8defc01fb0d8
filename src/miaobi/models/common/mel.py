"""What families of speech share: how a log-mel spectrogram is taken, in numbers that a network likes, and where a record's sound is.

Spectrograms are (F, M) here, one row a frame: frame f is around sample f * hop, so n samples have 1 + n // hop frames. Numbers are natural
logarithms of magnitudes, moved and scaled so that speech lies within about -2.5 and 2.5.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from miaobi.core.errors import DataError, UsageError
from miaobi.core.language import tr
from miaobi.core.schema import Schema
from miaobi.core.types import Media, Modality, Record, Request
from miaobi.data.mel import MelSettings, log_mel, samples_of
from miaobi.data.sounds import Sound, decode

Floats = NDArray[np.float32]
CONTEXT = 2  # frames before and after each that a vocoder sees
MIDDLE, SPREAD = -5.0, 2.5  # of the logarithms


class Mel(Schema):
    """A spectrogram in bands as wide as the ear's. A speaker and its vocoder have the same."""

    bands: int = Field(64, ge=4, le=256)
    """How many bands."""
    window: int = Field(800, ge=16, le=16_384)
    """Samples that a frame looks at."""
    hop: int = Field(200, ge=4, le=8192)
    """Samples from one frame to the next."""
    low: float = Field(40.0, ge=0, le=20_000)
    """The lowest frequency, in hertz."""
    high: float = Field(0.0, ge=0, le=48_000)
    """The highest frequency, in hertz; 0 is half the rate."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.hop > self.window:
            raise ValueError(tr("the hop {hop} is longer than the window {window}", hop=self.hop, window=self.window))
        return self

    def settings(self, rate: int) -> MelSettings:
        """For sounds of that rate.

        Raises:
            UsageError: the frequencies are not between 0 and half the rate.
        """
        high = self.high or rate / 2
        if not self.low < high <= rate / 2:
            raise UsageError(
                "the bands from {low:g} to {high:g} Hz do not lie within 0 and half the rate, {half:g} Hz",
                low=self.low,
                high=high,
                half=rate / 2,
            )
        fft = 1 << (self.window - 1).bit_length()
        return MelSettings(rate=rate, fft=fft, hop=self.hop, window=self.window, bands=self.bands, low=self.low, high=high)

    def of(self, samples: Floats, rate: int) -> Floats:
        """The spectrogram (F, M) of samples (T,), which are filled up with silence where they are too few."""
        settings = self.settings(rate)
        least = settings.fft // 2 + 1
        filled = samples if len(samples) >= least else np.pad(samples, (0, least - len(samples)))
        logs = log_mel(filled, settings)[:, : settings.num_frames(len(samples))]
        return np.ascontiguousarray((logs.T - MIDDLE) / SPREAD, dtype=np.float32)

    def heard(self, frames: Floats, rate: int, *, iterations: int, rng: np.random.Generator) -> Floats:
        """The sound of a spectrogram (F, M) by Griffin and Lim's phases."""
        return samples_of(np.ascontiguousarray(frames.T) * SPREAD + MIDDLE, self.settings(rate), iterations=iterations, rng=rng)


SILENCE = (np.log(1e-5) - MIDDLE) / SPREAD  # the least number of a spectrogram


def with_context(frames: Floats, start: int, end: int) -> Floats:
    """Frames start … end and CONTEXT more on both sides; where there are none, the first or the last again."""
    places = np.arange(start - CONTEXT, end + CONTEXT)
    found: Floats = frames[places.clip(0, len(frames) - 1)]
    return found


def as_heard(sound: Sound, rate: int) -> Floats:
    """One channel of a sound at the rate, as a row of samples."""
    return sound.mono().resampled(rate).samples[:, 0]


def sound_of(record: Record) -> Sound:
    """The sound of a record.

    Raises:
        DataError: it has none, or one that cannot be read.
    """
    for part in record.parts:
        if isinstance(part, Media) and part.modality is Modality.AUDIO:
            return decode(part.data)
    raise DataError("the record {id} has no sound", id=record.id)


def sound_in(request: Request) -> Sound | None:
    """The last sound of a request, if it brings one.

    Raises:
        DataError: it cannot be read.
    """
    sounds = [part for turn in request.turns for part in turn.parts if isinstance(part, Media) and part.modality is Modality.AUDIO]
    return decode(sounds[-1].data) if sounds else None
