"""The audible mark: the rhythm short-long short-short (·– ··, "AI" in Morse's code) before a sound, as GB 45438-2025 describes it.

It is a soft tone of two partials, in all channels, and a moment of silence follows. It is recognised by its envelope, whatever the sound
was compressed with since.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]  # (T, C)

NAME = "短长 短短"
UNIT_SECONDS = 0.09
PATTERN = "1011100010100000"  # units: on and off; a long is three units, between the letters are three
HERTZ = (880.0, 1320.0)  # a fifth
LEVEL = 0.16  # about -16 dB of full scale
_EDGE_SECONDS = 0.008
_LIKE = 0.9  # the correlation of envelopes from which it counts as heard
SECONDS = UNIT_SECONDS * len(PATTERN)


def before(samples: Samples, rate: int) -> Samples:
    """The sound (T, C) with the rhythm before it."""
    tone = np.repeat(rhythm(rate)[:, None], samples.shape[1], axis=1)
    return np.concatenate([tone, samples])


def rhythm(rate: int) -> NDArray[np.float32]:
    """The mark alone (T,)."""
    count = round(SECONDS * rate)
    time = np.arange(count) / rate
    tone = sum(np.sin(2 * np.pi * hertz * time) / number for number, hertz in enumerate(HERTZ, 1))
    envelope = _units(count)
    edge = np.hanning(2 * max(1, round(_EDGE_SECONDS * rate)) + 1)
    smooth = np.convolve(envelope, edge / edge.sum(), mode="same")  # no clicks
    return (LEVEL * smooth * tone).astype(np.float32)


def heard(samples: Samples, rate: int) -> bool:
    """Whether a sound begins with the rhythm."""
    count = round(SECONDS * rate)
    if len(samples) < count or rate < 2 * HERTZ[0]:
        return False
    mono = samples[:count].mean(axis=1)
    turning = np.exp(-2j * np.pi * HERTZ[0] * np.arange(count) / rate)
    width = max(1, round(UNIT_SECONDS / 3 * rate))
    level = np.abs(np.convolve(mono * turning, np.ones(width) / width, mode="same"))
    envelope = _units(count)
    return bool(level.std() > 1e-4 and np.corrcoef(level, envelope)[0, 1] > _LIKE)


def describe() -> str:
    """The mark as a label names it."""
    return f"{NAME} start"


def described(text: str) -> bool:
    """Whether a label names this mark."""
    return text == describe()


def _units(count: int) -> NDArray[np.float64]:
    """The pattern as an envelope of so many samples."""
    return np.array([float(unit) for unit in PATTERN])[np.arange(count) * len(PATTERN) // count]
