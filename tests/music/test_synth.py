"""The instruments: in tune, without clicks, at one loudness, the same every time."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("symusic")

from miaobi.core.errors import ArtifactError, DataError
from miaobi.data import loudness
from miaobi.data.instruments import INSTRUMENTS, by_program
from miaobi.data.scores import Note, Part, Score, write_midi
from miaobi.engine import soundfont, timbres
from miaobi.engine.synth import play, render


def one_note(name: str, pitch: int, quarters: int = 2) -> Score:
    return Score(parts=(Part(notes=(Note(24, 24 * quarters, pitch),), program=INSTRUMENTS[name].program),), tempos=((0, 120.0),))


def sounding(wave: np.ndarray, rate: int, pitch: int) -> float:
    """How many cents the strongest periodicity near a pitch is above it, by autocorrelation of half a second."""
    period = rate / (440 * 2 ** ((pitch - 69) / 12))
    piece = wave[int(0.62 * rate) : int(1.12 * rate)].astype(np.float64)
    spectrum = np.fft.rfft(piece, 2 * len(piece))
    repeats = np.fft.irfft(np.abs(spectrum) ** 2)
    periods = max(1, round(0.02 * rate / period))  # over several periods, so that a cent is more than a sample
    near = np.arange(int(periods * period * 0.97), int(periods * period * 1.03) + 2)
    best = near[np.argmax(repeats[near])]
    left, middle, right = repeats[best - 1 : best + 2]
    exact = best + 0.5 * (left - right) / (left - 2 * middle + right)
    return float(-1200 * np.log2(exact / (periods * period)))


@pytest.mark.parametrize("name", list(INSTRUMENTS))
def test_every_instrument_is_in_tune_and_silent_before_and_after(name: str) -> None:
    instrument = INSTRUMENTS[name]
    pitch = (instrument.low + instrument.high) // 2
    sound = play(one_note(name, pitch), rate=22050)
    left = sound.samples[:, 0]
    assert not np.abs(left[: int(0.49 * 22050)]).max() > 1e-4, "nothing sounds before its beat"
    assert np.abs(left[int(0.55 * 22050) : int(1.3 * 22050)]).max() > 0.05
    assert np.abs(left[-200:]).max() < 2e-3
    if name != "glockenspiel":  # a bell has no period
        assert abs(sounding(sound.samples.mean(axis=1), 22050, pitch)) < 15


def test_a_note_ends_without_a_click() -> None:
    """What is above 8 kHz in the release is no stronger than in the tone itself: a jump would be heard there."""
    for name in ("organ", "strings", "erhu", "flute"):
        sound = play(one_note(name, 67), rate=44100)
        high = np.abs(np.fft.rfft(sound.samples[:, 0][: 44100 * 2].reshape(-1, 441), axis=1)[:, 80:]).sum(axis=1)
        tone, end = high[60:140].max(), high[147:175].max()
        assert end <= 1.3 * tone, name


def test_loops_go_round_without_a_seam() -> None:
    for name in ("strings", "organ", "clarinet"):
        zone = soundfont.zones()[name][2]
        wave, _ = soundfont.played(name, zone.root, 6.0, zone.rate)
        jumps = np.abs(np.diff(wave))
        assert zone.loop is not None
        first = int(zone.loop[1])
        assert jumps[first - 3 : first + 3].max() <= 1.1 * jumps[: first - 10].max()


def test_loudness_is_the_one_asked_for_whatever_plays() -> None:
    for name in ("piano", "guzheng", "choir"):
        sound = play(one_note(name, 62, 6), rate=22050, lufs=-18)
        assert loudness.integrated(sound) == pytest.approx(-18, abs=0.3)
        assert np.abs(sound.samples).max() <= 1


def test_the_same_score_sounds_the_same(choir: Score) -> None:
    midi = write_midi(choir)
    first, second = render(midi, rate=22050), render(midi, rate=22050)
    assert np.array_equal(first.samples, second.samples)
    assert first.samples.shape[1] == 2
    assert first.seconds == pytest.approx(choir.seconds + 1.6, abs=0.01)


def test_louder_notes_are_louder_and_chords_add_up() -> None:
    soft, loud = (timbres.drum(36, 22050) * (velocity / 100) ** 1.6 for velocity in (50, 100))
    assert np.abs(loud).max() > 2.5 * np.abs(soft).max()
    assert all(np.abs(timbres.drum(pitch, 22050)[-1]) < 1e-6 for pitch in (36, 38, 42, 49, 76, 60))


def test_every_program_of_general_midi_is_played_by_somebody() -> None:
    assert {by_program(program).name for program in range(128)} <= set(INSTRUMENTS)
    assert by_program(107).name == "guzheng"
    assert by_program(41).name == "violin"


def test_damaged_instruments_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(soundfont.FOLDER, tmp_path / "instruments")
    (copy / "samples.bin").write_bytes(b"nothing")
    monkeypatch.setattr(soundfont, "FOLDER", copy)
    soundfont.zones.cache_clear()
    with pytest.raises(ArtifactError, match="instruments"):
        soundfont.zones()
    monkeypatch.undo()
    assert set(soundfont.zones()) == {name for name, one in INSTRUMENTS.items() if one.sound == "font"}


def test_music_of_an_hour_is_refused_before_it_is_played() -> None:
    long = Score(parts=(Part(notes=(Note(0, 24 * 4000, 60),)),), tempos=((0, 60.0),))
    with pytest.raises(DataError, match="30 minutes"):
        play(long)
    with pytest.raises(DataError, match="rate"):
        play(replace(long, tempos=((0, 400.0),)), rate=100)
