"""The watermark of sounds is found after what usually happens to a sound, and never where it is not; the rhythm is heard."""

from __future__ import annotations

import numpy as np
import pytest

from miaobi.trust import rhythm, sound_watermark, watermark
from miaobi.trust.streams import Samples

RATE = 16000
PAYLOAD = 0x0123456789ABCDEF


def tune(seconds: float, rate: int = RATE, *, seed: int = 0) -> Samples:
    """Plucked notes with overtones in two channels: few partials and hard beginnings, what spread spectrum likes least."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    sound = np.zeros(len(time))
    for number in range(int(seconds * 3)):
        since = np.maximum(time - number / 3, 0)
        hertz = 220 * 2 ** (rng.integers(0, 24) / 12)
        pluck = sum(np.sin(2 * np.pi * hertz * part * since) / part for part in range(1, 9))
        sound += pluck * np.exp(-4 * since) * (time >= number / 3)
    return (np.stack([sound, 0.6 * sound], axis=1) / np.abs(sound).max() * 0.7).astype(np.float32)


def noise(seconds: float, *, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).normal(0, 0.1, (int(seconds * RATE), 1)).astype(np.float32)


@pytest.fixture(scope="module")
def marked() -> Samples:
    return sound_watermark.embed(tune(12), RATE, PAYLOAD)


def test_it_is_found_read_and_hardly_there(marked: Samples) -> None:
    found = sound_watermark.detect(marked, RATE)
    assert found.found
    assert found.carries(PAYLOAD)
    assert found.describe() == f"spread-1:{found.payload:016x}"
    assert watermark.described(found.describe(), sound_watermark.NAME) == found.payload
    assert watermark.described(found.describe()) is None, "it is not a picture's"
    difference = marked - tune(12)
    assert 10 * np.log10((marked**2).sum() / (difference**2).sum()) > 20
    assert np.abs(difference).max() < 0.15


def test_it_survives_a_cut_another_level_one_channel_and_hiss(marked: Samples) -> None:
    rng = np.random.default_rng(1)
    for name, changed in {
        "cut": marked[int(1.37 * RATE) :],
        "softer": marked * 0.1,
        "one channel": marked.mean(axis=1, keepdims=True),
        "hiss": marked + rng.normal(0, 0.003, marked.shape).astype(np.float32),
        "eight bits": np.round(marked * 127) / 127,
    }.items():
        assert sound_watermark.detect(changed.astype(np.float32), RATE).carries(PAYLOAD), name


@pytest.mark.parametrize(("mime", "bitrate"), [("audio/mpeg", 64_000), ("audio/ogg", 48_000), ("audio/mp4", 64_000)])
def test_it_survives_compression(mime: str, bitrate: int) -> None:
    pytest.importorskip("av")
    pytest.importorskip("soxr")
    from miaobi.data.sounds import Sound, decode, encode

    hissing = Sound(sound_watermark.embed(noise(6), RATE, PAYLOAD), RATE)
    again = decode(encode(hissing, mime, bitrate=bitrate))
    assert sound_watermark.detect(again.samples, again.rate).carries(PAYLOAD)
    other = hissing.resampled(44100)
    assert sound_watermark.detect(other.samples, other.rate).carries(PAYLOAD)


def test_sounds_without_it_have_honest_p_values() -> None:
    """Over unmarked sounds of many kinds the smallest p-value is about as small as chance says: one in their number."""
    rng = np.random.default_rng(2)
    time = np.arange(4 * RATE) / RATE
    plain = [noise(3, seed=seed) for seed in range(6)] + [tune(4, seed=seed) for seed in range(6)]
    plain += [np.sin(2 * np.pi * (300 + 400 * time) * time)[:, None].astype(np.float32)]
    plain += [(np.sign(np.sin(2 * np.pi * hertz * time)) * 0.3)[:, None].astype(np.float32) for hertz in (110, 441)]
    plain += [np.zeros((RATE, 1), np.float32), np.ones((RATE, 1), np.float32)]
    plain += [np.cumsum(rng.normal(size=(4 * RATE, 1)), axis=0).astype(np.float32) * 1e-3]
    p_values = [sound_watermark.detect(sound, RATE).p_value for sound in plain]
    assert min(p_values) > 1e-3
    assert np.median(p_values) > 0.05


def test_another_payload_is_told_apart_and_a_short_or_silent_sound_carries_none() -> None:
    one, two = (sound_watermark.embed(noise(4), RATE, payload) for payload in (PAYLOAD, ~PAYLOAD & (2**64 - 1)))
    assert sound_watermark.detect(one, RATE).agreeing(PAYLOAD) == 64
    assert sound_watermark.detect(two, RATE).agreeing(PAYLOAD) == 0
    assert sound_watermark.detect(two, RATE).contradicts(PAYLOAD)
    worn = sound_watermark.detect(one, RATE)
    assert not worn.carries(PAYLOAD ^ 0x1FF), "nine bits are other ones"
    assert not worn.contradicts(PAYLOAD ^ 0x1FF), "and yet nobody may say that it is another mark"
    for samples in (np.zeros((RATE, 2), np.float32), noise(0.05), np.zeros((0, 1), np.float32)):
        assert not sound_watermark.detect(sound_watermark.embed(samples, RATE, PAYLOAD), RATE).found
    assert sound_watermark.embed(noise(1), 4000, PAYLOAD).shape == (RATE, 1), "too low a rate is left alone"


@pytest.mark.parametrize("rate", [RATE, 22_050])
def test_where_stretches_are_cut_makes_no_difference(rate: int) -> None:
    marked = sound_watermark.embed(tune(12, rate), rate, PAYLOAD)
    whole = sound_watermark.detect(marked, rate)
    assert whole.carries(PAYLOAD)
    for size in (311, 5000, 70_001):
        assert sound_watermark.detect_in((marked[start : start + size], rate) for start in range(0, len(marked), size)) == whole


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_rhythm_is_short_long_short_short(rate: int, channels: int) -> None:
    sound = np.zeros((rate, channels), np.float32)
    begun = rhythm.before(sound, rate)
    assert begun.shape == (rate + round(rhythm.SECONDS * rate), channels)
    assert rhythm.heard(begun, rate)
    assert not rhythm.heard(sound, rate)
    level = np.abs(begun[: round(rhythm.SECONDS * rate), 0])
    units = [float(np.median(part)) > 0.03 for part in np.array_split(level, len(rhythm.PATTERN))]
    lengths = [len(run) for run in "".join("1" if unit else " " for unit in units).split()]
    assert lengths == [1, 3, 1, 1]
    assert np.abs(np.diff(begun[:, 0])).max() < 0.35, "no click"


def test_the_rhythm_is_not_heard_in_music_or_noise() -> None:
    assert not any(rhythm.heard(sound, RATE) for seed in range(5) for sound in (tune(3, seed=seed), noise(3, seed=seed)))
    buried = rhythm.before(tune(2), RATE) + np.random.default_rng(0).normal(0, 0.01, (1, 2)).astype(np.float32)
    assert rhythm.heard(buried, RATE)
