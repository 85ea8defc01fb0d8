"""Sounds that are decoded anew whenever they are heard: the same samples as those of the whole, in any file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from miaobi.core.errors import DataError, UsageError
from miaobi.data import sound_writer, sounds
from miaobi.data.recordings import Recording, Tape, even
from miaobi.data.sounds import Sound
from miaobi.trust.stored import Stored


def noise(seconds: float, rate: int, channels: int) -> Sound:
    """Something that no codec can guess."""
    samples = np.random.default_rng(rate).normal(0, 0.1, (round(seconds * rate), channels)).cumsum(axis=0)
    return Sound((0.5 * samples / np.abs(samples).max()).astype(np.float32), rate)


@pytest.mark.parametrize(
    ("suffix", "rate", "channels"), [(".wav", 24_000, 1), (".flac", 44_100, 2), (".mp3", 22_050, 1), (".ogg", 48_000, 2)]
)
def test_what_is_heard_is_what_decoding_gives(tmp_path: Path, suffix: str, rate: int, channels: int) -> None:
    path = tmp_path / f"sound{suffix}"
    path.write_bytes(sounds.encode(noise(3, rate, channels), sounds.MIMES[suffix]))
    whole, heard = sounds.decode(path.read_bytes()), Recording.of(Stored.at(path))
    assert (heard.rate, heard.channels, heard.length) == (whole.rate, whole.channels, len(whole.samples))
    for _ in range(2):
        np.testing.assert_array_equal(heard.whole().samples, whole.samples)
    np.testing.assert_array_equal(heard.between(0.5, 1.7).whole().samples, whole.between(0.5, 1.7).samples)
    assert heard.between(2.9, 9).length == len(whole.between(2.9, 9).samples)
    for wanted in (48_000, 16_000):
        np.testing.assert_array_equal(np.concatenate(list(heard.at(wanted))), whole.resampled(wanted).samples)


@pytest.mark.parametrize("suffix", sounds.MIMES)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_file_that_is_written_as_it_is_played_has_the_bytes_of_the_whole(tmp_path: Path, suffix: str, channels: int) -> None:
    sound = noise(2.3, 22_050, channels)
    cut = Recording(
        play=lambda: (sound.samples[start : start + 3001] for start in range(0, len(sound.samples), 3001)),
        rate=sound.rate,
        channels=channels,
        length=len(sound.samples),
    )
    path = tmp_path / f"sound{suffix}"
    sound_writer.write(cut, path)
    assert path.read_bytes() == sounds.encode(sound, sounds.MIMES[suffix])


def test_damaged_and_unknown_files_are_refused(tmp_path: Path) -> None:
    for data in (b"", b"no sound at all", b"RIFF\x10\0\0\0WAVEfmt "):
        with pytest.raises(DataError):
            Recording.of(data)
    with pytest.raises(UsageError, match="unknown sound format"):
        sound_writer.check(tmp_path / "sound.aiff")
    many = Recording.of_sound(Sound(np.zeros((100, 6), np.float32), 8000))
    with pytest.raises(DataError, match="6 channels"):
        sound_writer.write(many, tmp_path / "sound.mp3")


def test_a_tape_is_read_in_any_lengths_and_silent_behind_its_end() -> None:
    samples = np.arange(10, dtype=np.float32)[:, None]
    tape = Tape([samples[:3], samples[3:4], samples[4:]], 1)
    assert [tape.read(count)[:, 0].tolist() for count in (2, 0, 5, 6)] == [[0, 1], [], [2, 3, 4, 5, 6], [7, 8, 9, 0, 0, 0]]
    assert [len(each) for each in even([samples[:3], samples[3:], samples[:1]], 4)] == [4, 4, 3]
