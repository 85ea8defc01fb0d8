"""Sounds of a second or so that tests share."""

from __future__ import annotations

import numpy as np
import pytest

from miaobi.data.sounds import Sound


@pytest.fixture(scope="session")
def chord() -> Sound:
    """Two seconds in stereo: a chord that swells and dies, its right channel softer."""
    time = np.arange(2 * 44100) / 44100
    tone = sum(np.sin(2 * np.pi * hertz * time) for hertz in (220, 277.2, 329.6)) * 0.2 * np.sin(np.pi * time / 2) ** 2
    return Sound(np.stack([tone, 0.5 * tone], axis=1), 44100)


@pytest.fixture(scope="session")
def hiss() -> Sound:
    """A second of white noise in mono."""
    return Sound(np.random.default_rng(0).normal(0, 0.1, 22050), 22050)
