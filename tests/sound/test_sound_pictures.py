"""Pictures of sounds show what is in them, where it is."""

from __future__ import annotations

import numpy as np
import pytest

from miaobi.core.errors import DataError
from miaobi.data import pictures, sound_pictures
from miaobi.data.sounds import Sound, silence


def sweep(low: float, high: float) -> Sound:
    """Two seconds of a tone from one frequency to another."""
    time = np.arange(44100) / 22050
    return Sound(0.5 * np.sin(2 * np.pi * (low * time + (high - low) * time**2 / 4)), 22050)


def test_a_rising_tone_rises_in_the_spectrogram() -> None:
    picture = sound_pictures.spectrogram(sweep(300, 8000), (200, 100))
    assert (picture.shape, picture.dtype) == ((100, 200, 4), np.uint8)
    rows = picture[..., :3].sum(axis=-1, dtype=int).argmax(axis=0)
    assert rows[10] > rows[60] > rows[120] > rows[185], "low is at the bottom"
    falling = sound_pictures.spectrogram(sweep(8000, 300), (200, 100))[..., :3].sum(axis=-1, dtype=int).argmax(axis=0)
    assert falling[10] < falling[185]


def test_the_waveform_is_where_the_sound_is() -> None:
    samples = np.zeros(8000)
    samples[4000:6000] = 0.8 * np.sign(np.sin(np.arange(2000)))
    picture = sound_pictures.waveform(Sound(samples, 8000), (80, 40))
    dark = (picture[..., :3].sum(axis=-1, dtype=int) < 600).sum(axis=0)
    assert dark[:39].max() <= 2, "silence is a line"
    assert dark[42:58].min() >= 28, "a loud stretch fills its height"
    loud = sound_pictures.waveform(Sound(np.tile([1.0, -1.0], 500), 8000), (50, 20))
    assert (loud[..., :3] != 255).any(axis=-1).all()


def test_silence_is_black_and_nothing_is_an_error() -> None:
    assert sound_pictures.spectrogram(silence(1, 22050), (50, 30))[..., :3].max() < 10
    for draw in (sound_pictures.spectrogram, sound_pictures.waveform):
        with pytest.raises(DataError, match="empty"):
            draw(silence(0, 8000))


def test_png_is_a_picture_and_the_same_one_twice() -> None:
    first, second = (sound_pictures.png(sweep(200, 400), "spectrogram", size=(60, 40)) for _ in range(2))
    assert first == second
    assert pictures.decode(first).shape == (40, 60, 4)
