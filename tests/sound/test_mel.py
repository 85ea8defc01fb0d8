"""Mel spectra against torch and against the formulas of transformers (which follow librosa), and the way back to sounds."""

from __future__ import annotations

import numpy as np
import pytest

from miaobi.core.errors import DataError
from miaobi.data import mel
from miaobi.data.mel import MelSettings
from miaobi.data.sounds import Sound


@pytest.fixture(scope="module")
def samples() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    time = np.arange(22050) / 22050
    noise = np.random.default_rng(0).normal(0, 0.05, 22050)
    return (noise + 0.3 * np.sin(2 * np.pi * 440 * time) + 0.2 * np.sin(2 * np.pi * 3100 * time)).astype(np.float32)


@pytest.mark.parametrize(("fft", "hop", "length"), [(1024, 256, 0), (1024, 256, 800), (512, 160, 400), (2048, 300, 2048)])
def test_stft_is_that_of_torch(samples: np.ndarray, fft: int, hop: int, length: int) -> None:
    torch = pytest.importorskip("torch")
    window = torch.hann_window(length or fft)
    reference = torch.stft(torch.from_numpy(samples), fft, hop, length or fft, window, center=True, return_complex=True).numpy()
    found = mel.stft(samples, fft=fft, hop=hop, length=length)
    assert found.shape == reference.shape
    assert np.abs(found - reference).max() < 1e-5 * np.abs(reference).max()
    back = mel.istft(found, hop=hop, length=length, num_samples=len(samples) // hop * hop)
    assert np.abs(back - samples[: len(back)]).max() < 1e-5


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("area", [True, False])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_mel_is_that_of_transformers(samples: np.ndarray, scale: mel.Scale, area: bool, power: float) -> None:
    utils = pytest.importorskip("transformers.audio_utils")
    settings = MelSettings(low=20, high=7600, window=800, scale=scale, area=area, power=power)
    filters = utils.mel_filter_bank(513, 80, 20, 7600, 22050, norm="slaney" if area else None, mel_scale=scale)
    window = utils.window_function(800, "hann", frame_length=1024)
    reference = utils.spectrogram(samples, window, 1024, 256, fft_length=1024, power=power, mel_filters=filters, mel_floor=1e-5)
    np.testing.assert_allclose(mel.filterbank(settings), filters.T, atol=1e-6)
    np.testing.assert_allclose(mel.log_mel(samples, settings), np.log(reference), atol=1e-5)
    assert settings.num_frames(len(samples)) == reference.shape[1]


def test_scales_go_there_and_back_by_their_formulas() -> None:
    hertz = np.array([0.0, 100, 999, 1000, 1001, 4000, 11025])
    for scale in ("slaney", "htk"):
        np.testing.assert_allclose(mel.to_hertz(mel.to_mel(hertz, scale), scale), hertz, atol=1e-6)
    assert mel.to_mel(1000, "slaney") == 15
    assert mel.to_mel(6400, "slaney") == pytest.approx(15 + 27)
    assert mel.to_mel(700, "htk") == pytest.approx(2595 * np.log10(2))


def test_a_tone_is_in_the_band_of_its_frequency() -> None:
    settings = MelSettings()
    for hertz in (300, 1000, 4000):
        tone = np.sin(2 * np.pi * hertz * np.arange(22050) / 22050)
        centres = mel.to_hertz(np.linspace(mel.to_mel(settings.low), mel.to_mel(settings.high), settings.bands + 2))[1:-1]
        loudest = mel.log_mel(tone, settings).mean(axis=1).argmax()
        assert abs(centres[loudest] - hertz) < 60


def test_griffin_lim_finds_a_sound_with_the_spectrum(samples: np.ndarray) -> None:
    magnitude = np.abs(mel.stft(samples, fft=1024, hop=256))
    few, many = (mel.griffin_lim(magnitude, hop=256, iterations=count) for count in (2, 40))

    def error(found: np.ndarray) -> float:
        again = np.abs(mel.stft(found, fft=1024, hop=256))
        common = min(again.shape[1], magnitude.shape[1])
        return float(np.linalg.norm(again[:, :common] - magnitude[:, :common]) / np.linalg.norm(magnitude))

    assert error(many) < 0.6 * error(few)
    assert error(many) < 0.2
    np.testing.assert_array_equal(many, mel.griffin_lim(magnitude, hop=256, iterations=40))


def test_samples_of_a_log_mel_sound_like_it(samples: np.ndarray) -> None:
    settings = MelSettings()
    logs = mel.log_mel(samples, settings)
    back = mel.log_mel(mel.samples_of(logs, settings, iterations=30), settings)
    common = min(back.shape[1], logs.shape[1])
    assert np.abs(back[:, :common] - logs[:, :common]).mean() < 0.25


def test_magnitudes_are_never_negative_and_fit_the_mel(samples: np.ndarray) -> None:
    settings = MelSettings(high=7000)
    found = mel.magnitude_of(mel.log_mel(samples, settings), settings)
    assert found.min() >= 0
    again = mel.filterbank(settings) @ found
    assert np.abs(again - mel.mel(samples, settings)).mean() < 0.05 * mel.mel(samples, settings).mean()


def test_too_few_samples_are_named() -> None:
    with pytest.raises(DataError, match="512 samples"):
        mel.stft(np.zeros(512), fft=1024, hop=256)


def test_a_short_sound_has_a_spectrogram(hiss: Sound) -> None:
    from miaobi.data import sound_pictures

    tiny = hiss.between(0, 0.001)
    assert sound_pictures.spectrogram(tiny, (64, 32)).shape == (32, 64, 4)
