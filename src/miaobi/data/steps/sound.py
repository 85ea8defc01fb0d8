"""The step `sound`: whatever a sound came as, it leaves as WAV of one rate, without silence at its ends, at one loudness."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from pydantic import Field

from miaobi.core.errors import DataError
from miaobi.core.schema import Schema
from miaobi.core.types import Media, Modality, Part, Record
from miaobi.data.loudness import integrated, normalise
from miaobi.data.records import Dropped, media_of
from miaobi.data.sounds import Sound, decode, encode
from miaobi.data.steps import Step, register

_WINDOW_SECONDS = 0.01


class SoundOptions(Schema):
    """Decode sounds, bring them to one rate and loudness, and keep them as WAV; drop what is unreadable, silent, too short or too long."""

    rate: int = Field(22050, ge=0, le=192_000)
    """Samples a second; 0 keeps each sound's own rate."""
    channels: Literal[0, 1] = 1
    """1 for the mean of all channels; 0 keeps them."""
    trim: float = Field(-45.0, ge=-100, le=0)
    """What lies this many decibels below the loudest moment, at the beginning and at the end, is cut away; 0 cuts nothing."""
    margin: float = Field(0.05, ge=0, le=5)
    """Seconds of it that stay on either side."""
    loudness: float = Field(-20.0, ge=-70, le=0)
    """The loudness in LUFS (EBU R128) that all sounds get; 0 leaves each as loud as it is."""
    least: float = Field(0.1, ge=0)
    """The least seconds that a sound has after that."""
    most: float = Field(600.0, gt=0)
    """The most seconds that a sound has."""


def build_sound(options: SoundOptions) -> Step:
    """All sounds of a record, other parts as they are; one bad sound drops the record."""

    def step(record: Record) -> Record | Dropped:
        parts: list[Part] = []
        for part in record.parts:
            changed = _changed(part, options) if isinstance(part, Media) and part.modality == Modality.AUDIO else part
            if isinstance(changed, Dropped):
                return changed
            parts.append(changed)
        heard = any(part.modality == Modality.AUDIO for part in media_of(record))
        return dataclasses.replace(record, parts=tuple(parts)) if heard else Dropped("no_sound")

    return step


def _changed(media: Media, options: SoundOptions) -> Media | Dropped:
    """One sound, decoded, checked, cut, brought to its rate and loudness, and encoded."""
    try:
        sound = decode(media.data)
    except DataError as error:
        return Dropped("unreadable", error.template.format(**error.values))
    sound = sound.mono() if options.channels else sound
    if options.trim:
        sound = trimmed(sound, below=options.trim, margin=options.margin)
    if not np.isfinite(integrated(sound)):
        return Dropped("silent", media.name)
    if sound.seconds < options.least:
        return Dropped("too_short", f"{sound.seconds:.2f} s")
    if sound.seconds > options.most:
        return Dropped("too_long", f"{sound.seconds:.2f} s")
    sound = sound.resampled(options.rate or sound.rate)
    if options.loudness:
        sound = normalise(sound, options.loudness)
    return dataclasses.replace(media, mime="audio/wav", data=encode(sound))


def trimmed(sound: Sound, *, below: float, margin: float) -> Sound:
    """The sound without what is, for hundredths of a second, `below` decibels under its loudest at either end, but for a margin."""
    window = max(1, round(_WINDOW_SECONDS * sound.rate))
    squares = (sound.samples.astype(np.float64) ** 2).mean(axis=1)
    levels = np.add.reduceat(squares, np.arange(0, len(squares), window)) if len(squares) else squares
    loud = np.flatnonzero(levels > levels.max(initial=0) * 10 ** (below / 10))
    if not len(loud):
        return sound
    return sound.between(loud[0] * window / sound.rate - margin, (loud[-1] + 1) * window / sound.rate + margin)


register("sound", SoundOptions, build_sound, shorthand="rate")
