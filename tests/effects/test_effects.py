"""Effects sound like what they are called, as far as figures can tell; parameters do what they say; words choose them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import miaobi
from miaobi.core.errors import UsageError
from miaobi.core.types import Media, Request
from miaobi.data.loudness import integrated, true_peak
from miaobi.data.sounds import Sound, decode
from miaobi.engine.generate import collect
from miaobi.models.effects.model import EFFECTS, Effects
from miaobi.models.effects.prompt import WORDS, understand
from miaobi.models.effects.schema import Config, Options

RATE = 22050


def sound(kind: str = "", prompt: str = "", *, seed: int = 1, seconds: float = 3.0, **options: Any) -> Sound:
    """One effect at a low rate, near, so that it is quickly made."""
    asked = {"rate": RATE, "distance": 0.0, "seconds": seconds} | options
    (content,) = collect(Effects(Config()), Request.of(prompt, seed=seed, kind=kind, **asked))
    (part,) = content.parts
    assert isinstance(part, Media)
    return decode(part.data)


def spectrum(heard: Sound) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies and energies of the whole sound."""
    mono = heard.mono().samples[:, 0]
    return np.fft.rfftfreq(len(mono), 1 / heard.rate), np.abs(np.fft.rfft(mono)) ** 2


def share(heard: Sound, low: float, high: float) -> float:
    """The share of the energy between two frequencies."""
    hertz, energy = spectrum(heard)
    return float(energy[(hertz >= low) & (hertz < high)].sum() / energy.sum())


def flatness(heard: Sound) -> float:
    """1 for white noise, near 0 for tones: the geometric over the arithmetic mean of energies in 100 Hz bands up to 8 kHz."""
    hertz, energy = spectrum(heard)
    bands = np.bincount((hertz // 100).astype(int), energy)[1:80] + 1e-12
    return float(np.exp(np.log(bands).mean()) / bands.mean())


def envelope(heard: Sound, seconds: float = 0.02) -> NDArray[np.float64]:
    """The level of every stretch of that length."""
    mono, step = heard.mono().samples[:, 0], round(seconds * heard.rate)
    whole = mono[: len(mono) // step * step].reshape(-1, step).astype(np.float64)
    return np.sqrt((whole**2).mean(axis=1))


@pytest.mark.parametrize("kind", EFFECTS)
def test_every_effect_is_as_long_and_loud_as_asked_and_the_same_again(kind: str) -> None:
    first, again, other = sound(kind), sound(kind), sound(kind, seed=2)
    assert (first.rate, first.channels, first.seconds) == (RATE, 2, pytest.approx(3.0, abs=1e-3))
    np.testing.assert_array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples, other.samples)
    assert true_peak(first) <= -0.9
    assert integrated(first) == pytest.approx(-20, abs=3)
    assert np.abs(first.samples[[0, -1]]).max() < 0.02, "it neither begins nor ends with a click"
    assert np.abs(first.samples.mean(axis=0)).max() < 0.01, "no direct current"


def test_rain_is_bright_noise_with_drops_and_a_downpour_is_denser() -> None:
    drizzle, rain, downpour = (sound("rain", strength=strength) for strength in (0.0, 0.5, 1.0))
    assert flatness(rain) > 0.3
    assert share(rain, 1000, 11000) > 0.5
    crests = [float(np.abs(one.samples).max() / np.sqrt((one.samples**2).mean())) for one in (drizzle, downpour)]
    assert crests[0] > 1.5 * crests[1]
    assert share(downpour, 0, 500) > share(drizzle, 0, 500)


def test_wind_is_dark_comes_in_gusts_and_howls_when_strong() -> None:
    wind = sound("wind", seconds=6.0)
    assert share(wind, 0, 1000) > 0.8
    gusts = envelope(wind, 0.25)[2:-3]
    assert gusts.max() > 1.7 * gusts.min()
    assert share(sound("wind", strength=1.0), 250, 1500) > share(sound("wind", strength=0.1), 250, 1500)


def test_water_waves_thunder_and_fire_have_their_ranges() -> None:
    assert share(sound("stream"), 250, 5000) > 0.8
    assert share(sound("thunder", brightness=0.3), 0, 300) > 0.7
    fire = sound("fire")
    assert share(fire, 0, 300) > 0.3
    crackle, hiss = (envelope(Sound(np.diff(one.samples, axis=0), RATE), 0.005) for one in (fire, sound("wind")))
    assert crackle.max() > 4 * np.median(crackle), "cracks stand out where the flames do not sound"
    assert hiss.max() < 4 * np.median(hiss)
    waves = envelope(sound("waves", seconds=12.0), 0.5)[1:-1]
    assert waves.max() > 2 * waves.min()
    rumble = envelope(sound("thunder", seconds=6.0), 0.25)
    assert rumble[:8].mean() > 3 * rumble[-6:].mean(), "it rolls away"


def test_birds_whistle_high_and_crickets_higher_in_pulses() -> None:
    birds = sound("birds", seconds=5.0)
    assert share(birds, 1400, 9000) > 0.85
    assert flatness(birds) < 0.25
    crickets = sound("crickets")
    assert share(crickets, 3500, 5600) > 0.85
    pulses = np.abs(np.fft.rfft(envelope(crickets, 0.004) - envelope(crickets, 0.004).mean()))
    beat = np.fft.rfftfreq(len(envelope(crickets, 0.004)), 0.004)
    assert pulses[(beat > 27) & (beat < 36)].max() > 4 * np.median(pulses), "thirty pulses a second"


def test_a_bell_rings_in_partials_that_die_away_low_ones_last() -> None:
    bell = sound("bell", seconds=4.0)
    hertz, energy = spectrum(bell)
    strongest = hertz[energy.argmax()]
    assert min(abs(strongest - 220 * ratio) for ratio in (0.5, 1, 1.2, 1.5, 2, 2.5, 2.667, 3, 4)) < 6
    assert flatness(bell) < 0.05
    levels = envelope(bell, 0.1)
    assert levels[0] > 1.4 * levels[15] > 2 * levels[-6]
    early, late = bell.between(0, 0.5), bell.between(2.5, 3.0)
    assert share(early, 600, 11000) > 1.5 * share(late, 600, 11000)
    higher_hertz, higher = spectrum(sound("bell", seconds=4.0, pitch=2.0))
    assert higher_hertz[higher.argmax()] > 1.5 * strongest


def test_a_drum_is_low_a_click_short_and_a_clock_ticks_twice_a_second() -> None:
    assert share(sound("drum"), 40, 250) > 0.7
    beats = envelope(sound("drum", every=0.75, seconds=3.0), 0.01)
    starts = np.flatnonzero((beats[1:] > 0.4 * beats.max()) & (beats[:-1] < 0.5 * beats[1:]))
    assert len(set(np.round(starts * 0.01 / 0.75).astype(int))) >= 3
    click = sound("click", seconds=0.3)
    assert envelope(click, 0.01)[15:].max() < 0.05 * envelope(click, 0.01).max()
    ticks = envelope(sound("clock", seconds=3.0), 0.01)
    loud = np.flatnonzero(ticks > 0.3 * ticks.max()) * 0.01
    assert {round(moment / 0.5) for moment in loud} >= {1, 2, 3, 4, 5}
    assert share(sound("gong"), 0, 1500) > 0.6


def test_distance_dulls_and_mono_is_one_channel() -> None:
    near, far = sound("rain"), sound("rain", distance=1.0)
    assert share(far, 3000, 11025) < 0.5 * share(near, 3000, 11025)
    assert sound("rain", channels=1).channels == 1
    assert sound("rain", rate=44100, seconds=0.5).rate == 44100


def test_a_loop_goes_over_into_its_beginning() -> None:
    """The step from the last sample to the first is as small as any other, and so is the step in level."""
    for kind in ("rain", "wind", "stream"):
        loop = sound(kind, loop=True, seconds=2.0)
        assert loop.seconds == pytest.approx(2.0, abs=1e-3)
        steps = np.abs(np.diff(loop.samples[:, 0]))
        assert abs(loop.samples[-1, 0] - loop.samples[0, 0]) <= steps.max()
        levels = envelope(loop, 0.1)
        assert 0.4 < levels[-1] / levels[0] < 2.5


@pytest.mark.parametrize(
    ("prompt", "kinds", "strength", "distance"),
    [
        ("大雨", ("rain",), 0.9, 0.25),
        ("雨打芭蕉，风声，远雷", ("rain", "wind", "thunder"), 0.5, 0.75),
        ("空山鸟语", ("birds",), 0.5, 0.25),
        ("夜半钟声到客船", ("bell",), 0.5, 0.4),
        ("a rainy harbour at night", ("rain", "waves"), 0.5, 0.25),
        ("gentle breeze and a brook", ("wind", "stream"), 0.2, 0.25),
        ("a distant thunderstorm", ("thunder",), 0.5, 0.75),
        ("Church BELLS, birds, wind, rain, fire", ("bell", "birds", "wind", "rain"), 0.5, 0.25),
    ],
)
def test_words_choose_kinds_strength_and_distance(prompt: str, kinds: tuple[str, ...], strength: float, distance: float) -> None:
    heard = understand(prompt, Options(), WORDS)
    assert (heard.kinds, heard.strength, heard.distance) == (kinds, strength, distance)


def test_options_win_over_words() -> None:
    assert understand("大雨", Options(kind="bell", strength=0.1, distance=0.9), WORDS).kinds == ("bell",)
    heard = understand("远处的大雨", Options(strength=0.1, distance=0.9), WORDS)
    assert (heard.strength, heard.distance) == (0.1, 0.9)
    assert understand("brainstorm training", Options(kind="rain"), WORDS).strength == 0.5


@pytest.mark.parametrize("prompt", ["", "  ", "brainstorm", "一幅画", "x" * 5000])
def test_what_is_no_sound_lists_those_that_are(prompt: str) -> None:
    with pytest.raises(UsageError, match="bell, birds"):
        understand(prompt, Options(), WORDS)


def test_several_kinds_are_all_heard() -> None:
    both = sound(prompt="rain and a bell")
    assert share(both, 2500, 11000) > 0.02
    hertz, energy = spectrum(both)
    peak = energy[(hertz > 400) & (hertz < 480)].max()
    assert peak > 50 * np.median(energy[(hertz > 300) & (hertz < 600)]), "the bell's nominal stands out of the rain"


def test_the_built_in_model_knows_the_words_of_this_version_and_labels_what_it_makes() -> None:
    loaded = miaobi.load("effects")
    assert loaded.model.words == {kind: list(words) for kind, words in WORDS.items()}  # type: ignore[attr-defined]
    assert set(WORDS) == set(EFFECTS)
    (content,) = loaded.generate("点击", seed=4)
    assert content.label.notes["kinds"] == ["click"]
    assert content.label.model == "effects"
    two = loaded.generate("click", seed=4, n=2, rate=16000)
    assert two[0].label.content_sha256 != two[1].label.content_sha256


@pytest.mark.parametrize(
    "wrong", [{"seconds": 121}, {"seconds": -1}, {"kind": "rian"}, {"pitch": float("nan")}, {"rate": 123}, {"loop": 3}]
)
def test_impossible_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        collect(Effects(Config()), Request.of("rain", **wrong))
