"""What is heard: loudness, music under speech, loops without a gap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from miaobi.apps.common import mixing
from miaobi.apps.common.materials import gather
from miaobi.apps.common.parts import Parts
from miaobi.apps.common.plan import plan
from miaobi.apps.common.script import Script
from miaobi.core.apps import Desk
from miaobi.data import loudness, sounds
from miaobi.data.sounds import Sound

Write = Callable[[str], Script]


def tone(seconds: float, *, pitch: float) -> Sound:
    """A tone that is loud all the time."""
    times = np.arange(round(seconds * mixing.RATE)) / mixing.RATE
    return Sound((0.3 * np.sin(2 * np.pi * pitch * times)).astype(np.float32), mixing.RATE)


def level(samples: np.ndarray) -> float:
    """Decibels of full scale."""
    return float(10 * np.log10((samples.astype(np.float64) ** 2).mean() + 1e-12))


def test_music_steps_back_before_speech_and_comes_again_after_it() -> None:
    speech = np.zeros((10 * mixing.RATE, 2), np.float32)
    times = np.arange(3 * mixing.RATE) / mixing.RATE
    speech[4 * mixing.RATE : 7 * mixing.RATE] = (0.3 * np.sin(2 * np.pi * 220 * times)).astype(np.float32)[:, None]
    gain = 20 * np.log10(mixing.Ducking([speech]).gain(12.0, 0, len(speech)))
    at = {second: float(gain[round(second * mixing.RATE)]) for second in (1, 3.4, 4.05, 5.5, 6.95, 8.2, 9.5)}
    assert at[1] == pytest.approx(0, abs=0.01)
    assert at[3.4] == pytest.approx(0, abs=0.01)
    assert at[4.05] == pytest.approx(-12, abs=0.1)  # down when the first word is heard
    assert at[5.5] == pytest.approx(-12, abs=0.01)
    assert at[6.95] == pytest.approx(-12, abs=0.1)
    assert at[8.2] == pytest.approx(0, abs=0.01)
    steepest = np.abs(np.diff(gain)).max() * mixing.RATE
    assert steepest < 150  # decibels a second: nothing clicks


def test_pauses_between_words_do_not_pump() -> None:
    speech = np.zeros((6 * mixing.RATE, 2), np.float32)
    for start in (1.0, 1.7, 2.4):
        speech[round(start * mixing.RATE) : round((start + 0.4) * mixing.RATE)] = 0.3
    gain = mixing.Ducking([speech]).gain(10.0, 0, len(speech))
    during = gain[round(1.1 * mixing.RATE) : round(2.7 * mixing.RATE)]
    assert 20 * np.log10(during.max()) == pytest.approx(-10, abs=0.1)


def test_the_whole_has_the_loudness_that_is_asked_for(write: Write, desk: Desk) -> None:
    said = "{file: voice.wav, at: 3}"
    Path("long.wav").write_bytes(sounds.encode(tone(8, pitch=880)))
    script = write(f"scenes:\n- card: a\n  seconds: 8\n  narration: {said}\nmusic: {{file: long.wav, duck: 12}}\nloudness: -18\n")
    materials = gather(script, desk, Parts(script.folder))
    made = plan(script, materials)
    music = script.timeline.music
    assert music is not None
    heard = mixing.mix(made, [], music=(music, materials.sounds["music",]), lufs=script.timeline.loudness, room=script.folder)
    assert heard is not None
    sound = heard.whole()
    assert sound.seconds == pytest.approx(8)
    assert loudness.integrated(sound) == pytest.approx(-18, abs=0.2)
    assert loudness.true_peak(sound) <= -0.9
    spectrum = np.abs(np.fft.rfft(sound.between(3.2, 3.9).samples[:, 0]))
    before = np.abs(np.fft.rfft(sound.between(1.5, 2.2).samples[:, 0]))
    music_bin = round(880 * 0.7)
    assert 20 * np.log10(spectrum[music_bin] / before[music_bin]) == pytest.approx(-12, abs=0.5)  # the music itself, under the voice


def test_short_music_goes_round_without_a_gap_and_fades_out(write: Write, desk: Desk) -> None:
    script = write("scenes:\n- card: a\n  seconds: 9\nmusic: {file: tune.wav, fade_in: 0.5, fade_out: 1}\n")
    materials = gather(script, desk, Parts(script.folder))
    music = script.timeline.music
    assert music is not None
    heard = mixing.mix(plan(script, materials), [], music=(music, materials.sounds["music",]), lufs=-20, room=script.folder)
    assert heard is not None
    sound = heard.whole()
    inner = sound.between(1.0, 7.5).samples[:, 0]
    levels = [level(inner[start : start + 4800]) for start in range(0, len(inner) - 4800, 4800)]
    assert max(levels) - min(levels) < 6.5  # two tones in step add up to 3 dB, against each other they may cancel a little
    assert level(sound.between(8.95, 9.0).samples) < level(inner) - 20


def test_music_that_does_not_repeat_ends(write: Write, desk: Desk) -> None:
    script = write("scenes:\n- card: a\n  seconds: 6\nmusic: {file: tune.wav, repeat: false}\n")
    materials = gather(script, desk, Parts(script.folder))
    music = script.timeline.music
    assert music is not None
    heard = mixing.mix(plan(script, materials), [], music=(music, materials.sounds["music",]), lufs=-20, room=script.folder)
    assert heard is not None
    sound = heard.whole()
    assert not sound.between(2.5, 6).samples.any()


def test_a_film_without_sound_has_none(write: Write, desk: Desk) -> None:
    script = write("scenes:\n- card: a\n")
    assert mixing.mix(plan(script, gather(script, desk, Parts(script.folder))), [], music=None, lufs=-16, room=script.folder) is None
