"""Loudness by EBU R128 against the standard's own tone and against ffmpeg's meter; normalising without clipping."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from miaobi.data import loudness
from miaobi.data.sounds import Samples, Sound, frames, silence


def meter(sound: Sound) -> tuple[float, float]:
    """The loudness and the true peak (as a factor) that ffmpeg's `ebur128` measures."""
    av = pytest.importorskip("av")
    graph, base = av.filter.Graph(), Fraction(1, sound.rate)
    layout = {1: "mono", 2: "stereo"}[sound.channels]
    source = graph.add_abuffer(sample_rate=sound.rate, format="fltp", layout=layout, time_base=base)
    meter, sink = graph.add("ebur128", "metadata=1:peak=true"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    for frame in frames(sound, "fltp"):
        frame.time_base = base
        graph.push(frame)
    graph.push(None)
    last: dict[str, str] = {}
    while True:
        try:
            last = graph.pull().metadata or last  # the rest of a block has none
        except (av.error.BlockingIOError, av.error.EOFError):
            return float(last["lavfi.r128.I"]), float(last["lavfi.r128.true_peak"])


@pytest.fixture(scope="module")
def programme() -> Sound:
    """Six seconds in stereo: brown noise with taps, loud, nearly silent, and loud again."""
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(6 * 22050, 2)).cumsum(axis=0)
    noise = 0.3 * (noise - noise.mean(axis=0)) / np.abs(noise).max() + 0.03 * rng.normal(size=noise.shape)
    noise[2 * 22050 : 4 * 22050] *= 0.003
    noise[:: 22050 // 2] += 0.4
    return Sound(np.clip(noise, -1, 1), 22050)


def test_the_standards_tone_is_where_it_should_be() -> None:
    tone = np.sin(2 * np.pi * 997 * np.arange(48000 * 2) / 48000)
    assert loudness.integrated(Sound(tone, 48000)) == pytest.approx(-3.01, abs=0.01)
    assert loudness.integrated(Sound(np.stack([tone, tone], axis=1), 48000)) == pytest.approx(0.0, abs=0.01)
    assert loudness.integrated(Sound(tone * 10 ** (-20 / 20), 48000)) == pytest.approx(-23.01, abs=0.01)


@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_ffmpeg_measures_the_same(programme: Sound, rate: int) -> None:
    sound = Sound(programme.samples, rate)  # the same numbers at another speed: another spectrum
    lufs, peak = meter(sound)
    assert loudness.integrated(sound) == pytest.approx(lufs, abs=0.05)
    assert 10 ** (loudness.true_peak(sound) / 20) == pytest.approx(peak, rel=0.05)


def test_blocks_do_not_depend_on_where_transforms_are_cut(monkeypatch: pytest.MonkeyPatch, programme: Sound) -> None:
    whole = loudness.momentary([programme.samples], programme.rate)
    monkeypatch.setattr(loudness, "_SPAN", 1 << 16)
    np.testing.assert_allclose(loudness.momentary([programme.samples], programme.rate), whole, atol=1e-3)


def test_a_peak_between_samples_is_seen() -> None:
    time = np.arange(4800) / 48000
    between = Sound(0.9 * np.sin(2 * np.pi * 12000 * time + np.pi / 4), 48000)  # its samples never reach its crest
    assert np.abs(between.samples).max() < 0.64
    assert loudness.true_peak(between) == pytest.approx(20 * np.log10(0.9), abs=0.3)


@pytest.mark.parametrize("target", [-30.0, -16.0, -14.0])
def test_normalised_sounds_have_their_loudness_and_no_peak_above(programme: Sound, target: float) -> None:
    found = loudness.normalise(programme, target)
    assert loudness.integrated(found) == pytest.approx(target, abs=0.3)
    assert loudness.true_peak(found) <= -1.0 + 0.01
    assert found.samples.shape == programme.samples.shape


def test_the_limiter_turns_down_smoothly_and_only_where_it_must() -> None:
    rate = 8000
    samples = np.full((rate, 1), 0.1, np.float32)
    samples[4000] = 1.0
    limited = loudness.limit(samples, rate, peak=-6.0)
    assert np.abs(limited).max() <= 10 ** (-6 / 20) + 1e-6
    np.testing.assert_array_equal(limited[:3800], samples[:3800])
    np.testing.assert_array_equal(limited[4200:], samples[4200:])
    around = np.delete(limited[:, 0], 4000)
    assert np.abs(np.diff(around)).max() < 0.01, "no click beside the peak"


def test_silence_stays_silent_and_a_short_sound_is_measured() -> None:
    assert loudness.integrated(silence(2, 8000)) == -np.inf
    assert loudness.true_peak(silence(2, 8000)) == -np.inf
    np.testing.assert_array_equal(loudness.normalise(silence(1, 8000)).samples, silence(1, 8000).samples)
    assert loudness.integrated(silence(0, 8000)) == -np.inf
    click = Sound(np.r_[np.ones(20), np.zeros(60)] * 0.5, 8000)
    assert -30 < loudness.integrated(click) < 0
    assert loudness.true_peak(loudness.normalise(click, -3.0)) <= -1.0 + 0.01


@pytest.mark.parametrize("target", [-30.0, -12.0])
def test_stretches_give_the_very_samples_of_the_whole(programme: Sound, target: float) -> None:
    cuts = [0, 1, 700, 701, 40_000, 90_000, 90_001, len(programme.samples)]

    def play() -> Iterator[Samples]:
        yield from (programme.samples[first:last] for first, last in itertools.pairwise(cuts))

    found = np.concatenate(list(loudness.balanced(play, programme.rate, target)()))
    np.testing.assert_array_equal(found, loudness.normalise(programme, target).samples)
    peak = loudness.Peak()
    measured = loudness.measured(peak.watch(play()), programme.rate)
    assert measured.integrated() == loudness.integrated(programme)
    assert peak.decibels() == loudness.true_peak(programme)
