"""Sounds in files: every format there and back, the same bytes twice, and bytes that are no sound."""

from __future__ import annotations

import builtins
import contextlib
import struct
from typing import Any

import numpy as np
import pytest

from miaobi.core.errors import DataError, MiaobiError, MissingExtra, UsageError
from miaobi.data import sounds
from miaobi.data.sounds import Limits, Sound, decode, encode

LOSSY = ("audio/mpeg", "audio/ogg", "audio/mp4")


def test_a_sound_is_float32_in_columns() -> None:
    sound = Sound(np.zeros(300), 100)
    assert (sound.samples.shape, sound.samples.dtype, sound.seconds, sound.channels) == ((300, 1), np.float32, 3.0, 1)
    stereo = Sound(np.stack([np.ones(4), np.zeros(4)], axis=1), 2)
    np.testing.assert_array_equal(stereo.mono().samples, np.full((4, 1), 0.5, np.float32))
    assert stereo.between(0.5, 1.5).samples.shape == (2, 2)


@pytest.mark.parametrize(("bits", "error"), [(16, 2**-16), (24, 2**-24), (32, 0)])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_wav_keeps_every_bit(chord: Sound, bits: int, error: float, channels: int) -> None:
    samples = np.resize(chord.samples[:999], (333, channels))  # an odd number of bytes at 24 bits
    back = decode(encode(Sound(samples, 8000), bits=bits))
    assert back.rate == 8000
    assert np.abs(back.samples - samples).max() <= error * 1.01
    assert encode(back, bits=bits) == encode(Sound(samples, 8000), bits=bits)


def test_full_scale_is_clipped_and_not_wrapped() -> None:
    loud = decode(encode(Sound(np.array([-2.0, -1.0, 1.0, 2.0]), 8000)))
    np.testing.assert_allclose(loud.samples[:, 0], [-1, -1, 32767 / 32768, 32767 / 32768])


def test_other_programs_wav_files_are_read() -> None:
    eight = _wav(struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8), bytes([0, 128, 255]))
    np.testing.assert_allclose(decode(eight).samples[:, 0], [-1, 0, 127 / 128])
    extensible = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8000, 16000, 2, 16, 22, 16, 4) + struct.pack("<H", 1) + bytes(14)
    np.testing.assert_allclose(decode(_wav(extensible, struct.pack("<hh", -16384, 16384))).samples[:, 0], [-0.5, 0.5])
    doubles = _wav(struct.pack("<HHIIHH", 3, 1, 8000, 64000, 8, 64), struct.pack("<ddd", 0.25, float("nan"), 7.0))
    np.testing.assert_allclose(decode(doubles).samples[:, 0], [0.25, 0, 1])
    stream = bytearray(encode(Sound(np.full(10, 0.5), 8000)))
    stream[40:44] = b"\xff\xff\xff\xff"  # a recorder that did not know how long it would be
    assert len(decode(bytes(stream)).samples) == 10


def _wav(head: bytes, body: bytes) -> bytes:
    chunks = b"fmt " + struct.pack("<I", len(head)) + head + b"LIST" + struct.pack("<I", 3) + b"abc\0"
    chunks += b"data" + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def test_flac_keeps_every_bit(chord: Sound) -> None:
    pytest.importorskip("av")
    for bits, error in ((16, 2**-16), (24, 2**-24)):
        back = decode(encode(chord, "audio/flac", bits=bits))
        assert back.rate == 44100
        assert np.abs(back.samples - chord.samples).max() <= error * 1.01
    again = decode(encode(chord))
    assert encode(again, "audio/flac") == encode(chord, "audio/flac")
    np.testing.assert_array_equal(decode(encode(again, "audio/flac")).samples, again.samples)


@pytest.mark.parametrize("mime", LOSSY)
@pytest.mark.parametrize("channels", [1, 2])
def test_lossy_formats_keep_length_rate_and_what_is_heard(chord: Sound, mime: str, channels: int) -> None:
    pytest.importorskip("av")
    pytest.importorskip("soxr")
    sound = chord if channels == 2 else chord.mono()
    data = encode(sound, mime)
    assert sounds.mime_of(data) == mime
    back = decode(data)
    assert back.rate == (48000 if mime == "audio/ogg" else 44100)
    assert back.channels == channels
    expected = sound.resampled(back.rate).samples
    assert abs(len(back.samples) - len(expected)) <= 2
    common = min(len(back.samples), len(expected))
    error = np.sqrt(np.mean((back.samples[:common] - expected[:common]) ** 2) / np.mean(expected**2))
    assert error < 0.06, "the sound is there, in place to the sample"
    assert len(data) < 0.4 * sound.samples.size * 2


@pytest.mark.parametrize("mime", ["audio/wav", "audio/flac", *LOSSY])
def test_equal_sounds_give_equal_bytes(chord: Sound, mime: str) -> None:
    if mime != "audio/wav":
        pytest.importorskip("av")
    assert encode(chord, mime) == encode(Sound(chord.samples.copy(), 44100), mime)


def test_odd_rates_are_resampled_to_what_the_codec_takes() -> None:
    pytest.importorskip("av")
    pytest.importorskip("soxr")
    sound = Sound(np.sin(np.arange(11111) * 0.1), 11111)
    assert decode(encode(sound, "audio/mpeg")).rate == 12000
    assert decode(encode(Sound(sound.samples, 200_000), "audio/mpeg")).rate == 48000
    assert decode(encode(sound, "audio/flac")).rate == 11111


def test_resampling_keeps_the_tone_and_nothing_above_the_new_limit() -> None:
    pytest.importorskip("soxr")
    time = np.arange(48000) / 48000
    both = Sound(0.4 * np.sin(2 * np.pi * 1000 * time) + 0.4 * np.sin(2 * np.pi * 15000 * time), 48000)
    low = both.resampled(16000)
    assert (low.rate, len(low.samples)) == (16000, 16000)
    spectrum = np.abs(np.fft.rfft(low.samples[1000:-1000, 0] * np.hanning(14000)))
    assert abs(spectrum.argmax() * 16000 / 14000 - 1000) < 2
    assert spectrum[int(3000 / 16000 * 14000) :].max() < 1e-3 * spectrum.max()
    assert both.resampled(48000) is both


@pytest.mark.parametrize(
    "data", [b"", b"x", b"RIFF\0\0\0\0WAVE", b"RIFF", b"ID3", b"\xff\xfb\x90", b"OggS" + bytes(40), b"fLaC" + bytes(60)]
)
def test_what_is_no_sound_is_a_data_error(data: bytes) -> None:
    if data and not data.startswith((b"RIFF", b"x")):
        pytest.importorskip("av")
    with pytest.raises(DataError):
        decode(data)


@pytest.mark.parametrize("mime", ["audio/flac", *LOSSY])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_file_that_was_cut_off_is_shorter_or_an_error_and_never_a_traceback(chord: Sound, mime: str, share: float) -> None:
    pytest.importorskip("av")
    data = encode(chord, mime)
    with contextlib.suppress(DataError):
        assert 0 < decode(data[: int(len(data) * share)]).seconds <= chord.seconds + 0.1


@pytest.mark.parametrize("mime", ["audio/wav", "audio/flac", *LOSSY])
def test_damage_in_the_middle_is_no_traceback(chord: Sound, mime: str) -> None:
    if mime != "audio/wav":
        pytest.importorskip("av")
    rng = np.random.default_rng(1)
    data = encode(chord.between(0, 0.5), mime)
    for _ in range(12):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 30):
            broken[place] = rng.integers(256)
        with contextlib.suppress(DataError):
            assert np.isfinite(decode(bytes(broken)).samples).all()


def test_zero_length_and_giant_sounds_are_refused(chord: Sound) -> None:
    with pytest.raises(DataError, match="empty"):
        decode(encode(chord)[:44])
    with pytest.raises(DataError, match="empty"):
        encode(Sound(np.zeros((0, 1)), 8000))
    with pytest.raises(DataError, match="bytes"):
        decode(encode(chord), limits=Limits(num_bytes=1000))
    with pytest.raises(DataError, match="samples"):
        decode(encode(chord), limits=Limits(num_samples=1000))


def test_a_compressed_giant_is_refused_while_it_is_decoded() -> None:
    """Ten minutes of silence in a few kilobytes: what is decoded counts, not what came in."""
    pytest.importorskip("av")
    data = encode(sounds.silence(600, 8000), "audio/flac")
    assert len(data) < 200_000
    with pytest.raises(DataError, match="samples"):
        decode(data, limits=Limits(num_samples=1_000_000))


def test_a_header_that_promises_too_much_allocates_nothing(chord: Sound) -> None:
    data = bytearray(encode(chord))
    data[4:8] = data[40:44] = b"\xfe\xff\xff\xff"
    assert len(decode(bytes(data)).samples) == len(chord.samples)


@pytest.mark.parametrize("head", [(1, 0, 8000, 16), (1, 1, 0, 16), (1, 1, 8000, 12), (85, 1, 8000, 16), (3, 1, 8000, 16)])
def test_impossible_headers_are_named(head: tuple[int, int, int, int]) -> None:
    coding, channels, rate, bits = head
    with pytest.raises(DataError):
        decode(_wav(struct.pack("<HHIIHH", coding, channels, rate, 0, 0, bits), bytes(64)))


def test_what_cannot_be_written_is_said(chord: Sound, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="audio/flac"):
        encode(chord, "audio/falc")
    with pytest.raises(DataError, match="6 channels"):
        encode(Sound(np.zeros((99, 6)), 8000), "audio/mpeg")
    av = pytest.importorskip("av")
    monkeypatch.setattr(av, "codecs_available", frozenset({"pcm_s16le"}))
    with pytest.raises(MiaobiError, match="libopus is missing"):
        encode(chord, "audio/ogg")


def test_without_the_extra_wav_works_and_the_rest_names_the_command(chord: Sound, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] in ("av", "soxr", "mutagen"):
            raise ImportError(name)
        return real(name, *more, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert decode(encode(chord)).rate == 44100
    for act in (lambda: encode(chord, "audio/mpeg"), lambda: decode(b"fLaC" + bytes(100)), lambda: chord.resampled(8000)):
        with pytest.raises(MissingExtra, match=r"miaobi\[sound\]"):
            act()
