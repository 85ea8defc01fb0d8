"""What every effect is told: how long, how strong, how bright, how high, how often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miaobi.models.effects.signal import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The parameters of one sound, in the units of the options."""

    seconds: float
    rate: int
    strength: float
    brightness: float
    pitch: float
    every: float

    @property
    def count(self) -> int:
        """Samples of one channel."""
        return round(self.seconds * self.rate)

    @property
    def times(self) -> Floats:
        """The moment of every sample in seconds (T,)."""
        return np.arange(self.count) / self.rate

    def strokes(self) -> Floats:
        """The moments at which something is struck: once, or every so often while a stroke still has time to sound."""
        if not self.every:
            return np.zeros(1)
        return np.arange(0, max(self.seconds - 0.05, 0.01), self.every)
