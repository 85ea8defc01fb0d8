"""Levels, predictions and their weights; in numpy and torch alike."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from miaobi.engine.sampling.noise import (
    CLEAN,
    Level,
    Prediction,
    Process,
    convert,
    draw_noise,
    mix,
    slerp,
    target,
    to_clean,
    to_noise,
    weight,
)

KINDS: tuple[Prediction, ...] = ("noise", "clean", "velocity", "flow")
SCHEDULES: tuple[Any, ...] = ("linear", "scaled_linear", "cosine", "flow")


def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((3, 2, 4, 4)).astype(np.float32), rng.standard_normal((3, 2, 4, 4)).astype(np.float32)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_noise_grows_with_time(schedule: Any) -> None:
    level = Process(schedule).at(np.linspace(0.0, 0.999, 100))
    assert np.all(np.diff(level.alpha) < 0)
    assert np.all(np.diff(level.sigma) >= 0)
    kept = level.alpha + level.sigma if schedule == "flow" else level.alpha**2 + level.sigma**2
    np.testing.assert_allclose(kept, 1.0, atol=1e-9)
    one = Process(schedule).at(0.5)
    assert all(type(value) is float for value in (one.time, one.alpha, one.sigma))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("source", "wanted"), list(product(KINDS, KINDS)))
def test_predictions_say_the_same(schedule: Any, source: Prediction, wanted: Prediction) -> None:
    clean, noise = pair()
    level = Process(schedule).at(np.array([0.2, 0.5, 0.8]))
    x = mix(clean, noise, level)
    told = target(clean, noise, level, source)
    np.testing.assert_allclose(to_clean(told, x, level, source), clean, atol=2e-5)
    np.testing.assert_allclose(to_noise(clean, x, level), noise, atol=2e-5)
    np.testing.assert_allclose(convert(told, x, level, source=source, wanted=wanted), target(clean, noise, level, wanted), atol=5e-5)
    assert x.dtype == told.dtype == np.float32


@pytest.mark.parametrize("kind", KINDS)
def test_torch_gives_what_numpy_gives(kind: Prediction) -> None:
    clean, noise = pair()
    level = Process("cosine").at(np.array([0.2, 0.5, 0.8]))
    mixed = mix(torch.from_numpy(clean), torch.from_numpy(noise), level)
    np.testing.assert_array_equal(mixed.numpy(), mix(clean, noise, level))
    found = to_clean(torch.from_numpy(noise), mixed, level, kind)
    np.testing.assert_allclose(found.numpy(), to_clean(noise, mixed.numpy(), level, kind), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_min_snr_weighs_the_error_of_the_clean_picture(kind: Prediction, schedule: Any) -> None:
    """Whatever is predicted, a wrong clean picture costs min(snr, gamma) times its squared error."""
    clean, noise = pair()
    level = Process(schedule).at(np.array([0.1, 0.5, 0.9]))
    x = mix(clean, noise, level)
    wrong = target(clean, noise, level, kind) + 0.01
    told = np.square(wrong - target(clean, noise, level, kind)).mean(axis=(1, 2, 3)) * weight(level, kind, weighting="min-snr", gamma=5.0)
    meant = np.square(to_clean(wrong, x, level, kind) - clean).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(told, meant * np.minimum((level.alpha / level.sigma) ** 2, 5.0), rtol=2e-2)
    np.testing.assert_array_equal(weight(level, kind), np.ones(3))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("distribution", ["uniform", "logit-normal", "log-normal"])
def test_training_draws_all_levels(schedule: Any, distribution: Any) -> None:
    process = Process(schedule)
    level = process.draw(4096, np.random.default_rng(0), distribution=distribution, mean=-0.5, spread=1.2)
    assert level.time.shape == (4096,)
    assert 0 <= level.time.min() <= level.time.max() < 1
    if distribution == "uniform":  # stratified: every one in 4,096 is met
        assert np.abs(np.sort(level.time) - (np.arange(4096) + 0.5) / 4096).max() < 1 / 4096
        return
    numbers = np.log(level.sigma / level.alpha) if distribution == "log-normal" else np.log(level.time / (1 - level.time))
    assert numbers.mean() == pytest.approx(-0.5, abs=0.01)
    assert numbers.std() == pytest.approx(1.2, abs=0.01)


def test_a_flow_that_is_shifted_stays_noisy_for_longer() -> None:
    plain, shifted = Process("flow").levels(10), Process("flow", shift=3.0).levels(10)
    assert plain[0] == shifted[0] == Level(1.0, 0.0, 1.0)
    assert plain[-1] == shifted[-1] == CLEAN
    assert all(b.sigma > a.sigma for a, b in zip(plain[1:-1], shifted[1:-1], strict=True))
    rng = np.random.default_rng(0)
    assert Process("flow", shift=3.0).draw(64, rng).time.mean() > 0.6


def test_the_noise_of_a_row_does_not_depend_on_its_batch() -> None:
    def generators() -> list[np.random.Generator]:
        return [np.random.default_rng([7, row]) for row in range(3)]

    whole, alone = generators(), generators()[1:2]
    like = np.zeros((3, 1, 4, 4), dtype=np.float32)
    for _ in range(2):  # the second draw as well
        together, single = draw_noise(whole, like), draw_noise(alone, torch.zeros((1, 1, 4, 4)))
        np.testing.assert_array_equal(together[1], single[0].numpy())
        assert isinstance(single, torch.Tensor)


def test_slerp_keeps_the_length_of_noise() -> None:
    first, second = pair()
    np.testing.assert_allclose(slerp(first, second, 0.0), first, atol=1e-5)
    np.testing.assert_allclose(slerp(first, second, 1.0), second, atol=1e-5)
    np.testing.assert_allclose(slerp(first, first, 0.3), first, atol=1e-4)
    equal = second * (np.linalg.norm(first.reshape(3, -1), axis=1) / np.linalg.norm(second.reshape(3, -1), axis=1)).reshape(3, 1, 1, 1)
    middle = slerp(first, equal, 0.5)
    np.testing.assert_allclose(np.linalg.norm(middle.reshape(3, -1), axis=1), np.linalg.norm(first.reshape(3, -1), axis=1), rtol=1e-4)
    np.testing.assert_allclose(slerp(torch.from_numpy(first), torch.from_numpy(equal), 0.5).numpy(), middle, atol=1e-5)
