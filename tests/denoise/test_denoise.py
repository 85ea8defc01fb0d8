"""Samplers on a distribution whose best denoiser is known, and what wraps a denoiser."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from miaobi.engine.sampling import denoise as samplers
from miaobi.engine.sampling.noise import Array, Level, Process, draw_noise, to_noise

MEAN, SPREAD = 0.4, 0.3  # of the pictures: every pixel a normal number
ROWS = 64


def best(x: Array, level: Level) -> Array:
    """The mean of the clean pictures that a noisy one may come from."""
    gain = level.alpha * SPREAD**2 / (level.alpha**2 * SPREAD**2 + level.sigma**2)
    return MEAN + gain * (x - level.alpha * MEAN)


def exact(x: Array, level: Level) -> Array:
    """Where the flow of probability leads `x`: a normal number keeps its quantile."""
    return MEAN + SPREAD * (x - level.alpha * MEAN) / math.sqrt(level.alpha**2 * SPREAD**2 + level.sigma**2)


def beginning(rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((rows, 1, 8, 8)).astype(np.float32)


def fresh(rows: int = ROWS) -> samplers.Noise:
    generators = [np.random.default_rng([2, row]) for row in range(rows)]
    return lambda x: draw_noise(generators, x)


@pytest.mark.parametrize("schedule", ["cosine", "flow"])
@pytest.mark.parametrize("name", sorted(samplers.SAMPLERS))
def test_samples_have_the_distribution_of_the_pictures(name: str, schedule: Any) -> None:
    levels = Process(schedule).levels(100)
    network = exact if name == "consistency" else best  # it needs a network that was distilled
    found = samplers.sample(samplers.SAMPLERS[name](network, beginning(), levels, fresh()))
    assert found.dtype == np.float32
    assert found.mean() == pytest.approx(MEAN, abs=0.02)
    assert found.std() == pytest.approx(SPREAD, abs=0.02)


@pytest.mark.parametrize("schedule", ["linear", "flow"])
def test_higher_orders_are_nearer_with_the_same_number_of_evaluations(schedule: Any) -> None:
    process, x = Process(schedule), beginning(2)
    errors = {}
    for name, steps in (("euler", 64), ("heun", 32), ("dpmpp-2m", 64)):
        assert samplers.evaluations(name, steps) <= 64
        levels = process.levels(steps, spacing="karras" if schedule == "linear" else "trailing")
        found = samplers.sample(samplers.SAMPLERS[name](best, x, levels, None))
        errors[name] = np.abs(found - exact(x, levels[0])).max()
    assert errors["heun"] < errors["euler"]
    assert errors["dpmpp-2m"] < errors["euler"] / 2


@pytest.mark.parametrize("name", sorted(samplers.SAMPLERS))
def test_rows_do_not_depend_on_their_batch_and_torch_gives_what_numpy_gives(name: str) -> None:
    levels, sampler = Process("cosine").levels(5), samplers.SAMPLERS[name]
    whole = samplers.sample(sampler(best, beginning(3), levels, fresh(3)))
    alone = samplers.sample(sampler(best, beginning(3)[:1], levels, fresh(1)))
    np.testing.assert_array_equal(whole[:1], alone)
    same = samplers.sample(sampler(best, torch.from_numpy(beginning(3)), levels, fresh(3)))
    np.testing.assert_allclose(same.numpy(), whole, atol=1e-5)


@pytest.mark.parametrize("name", sorted(samplers.SAMPLERS))
def test_steps_and_evaluations_are_counted(name: str) -> None:
    calls, seen = [], []

    def counted(x: Array, level: Level) -> Array:
        calls.append(level)
        return best(x, level)

    steps = samplers.SAMPLERS[name](counted, beginning(1), Process("flow").levels(4), fresh(1))
    samplers.sample(steps, on_step=seen.append)
    assert len(calls) == samplers.evaluations(name, 4)
    assert all(level.sigma > 0 for level in calls)
    assert [(step.number, step.total) for step in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_closing_a_sampler_stops_it() -> None:
    calls = []
    steps = samplers.euler(lambda x, level: calls.append(level) or x, beginning(1), Process("flow").levels(50))  # type: ignore[func-returns-value]
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert len(calls) == 1


def test_a_consistency_model_is_one_call_away() -> None:
    process, x = Process("flow"), beginning(2)
    once = samplers.sample(samplers.consistency(exact, x, process.levels(1)))
    np.testing.assert_allclose(once, exact(x, process.at(1.0)), atol=1e-6)
    several = samplers.sample(samplers.consistency(exact, beginning(), process.levels(4), fresh()))
    assert several.std() == pytest.approx(SPREAD, abs=0.02)


@pytest.mark.parametrize("name", sorted(samplers.SAMPLERS))
def test_inpainting_keeps_what_is_known_at_every_step(name: str) -> None:
    known = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8).repeat(2, axis=0)
    mask = np.zeros((2, 1, 8, 8), dtype=np.float32)
    mask[:, :, :4] = 1
    x, levels = beginning(2), Process("flow").levels(6)
    steps = list(samplers.SAMPLERS[name](samplers.keep_known(best, known, mask), x, levels, fresh(2)))
    np.testing.assert_allclose(steps[-1].x[:, :, 4:], known[:, :, 4:], atol=1e-6)
    assert np.abs(steps[-1].x[:, :, :4] - known[:, :, :4]).max() > 0.1
    if name not in samplers.STOCHASTIC:  # the known part at each level, with the noise that it began with
        for step, level in zip(steps[:-1], levels[1:], strict=False):
            np.testing.assert_allclose(to_noise(known, step.x, level)[:, :, 4:], x[:, :, 4:], atol=1e-4)


def test_guidance_leads_away_from_the_negative_and_costs_nothing_outside_its_interval() -> None:
    calls: list[int] = []

    def denoise(x: Array, level: Level) -> Array:
        calls.append(len(x))
        half = len(x) if len(x) == 2 else len(x) // 2
        wanted = np.ones_like(x) * np.array([0.5] * half + [0.2] * (len(x) - half), dtype=np.float32).reshape(-1, 1, 1, 1)
        return wanted + 0.1 * x

    x, middle, late = beginning(2), Process("flow").at(0.5), Process("flow").at(0.1)
    plain = denoise(x, middle)
    guided = samplers.guide(denoise, denoise, scale=3.0, interval=(0.2, 1.0))
    np.testing.assert_allclose(guided(x, middle), plain + 2 * 0.3, atol=1e-6)
    calls.clear()
    np.testing.assert_allclose(guided(x, late), plain, atol=1e-6)
    np.testing.assert_allclose(samplers.guide(denoise, denoise, scale=1.0)(x, middle), plain, atol=1e-6)
    assert calls == [2, 2]


def test_rescaled_guidance_has_the_contrast_of_the_unguided_picture() -> None:
    def both(x: Array, level: Level) -> Array:
        half = len(x) // 2
        return np.concatenate([x[:half], -x[half:]])

    x, level = beginning(2), Process("flow").at(0.5)
    strong = samplers.guide(lambda x, level: x, both, scale=4.0)(x, level)
    mended = samplers.guide(lambda x, level: x, both, scale=4.0, rescale=1.0)(x, level)
    assert strong.std() == pytest.approx(7 * x.std(), rel=1e-5)
    np.testing.assert_allclose(mended.std(axis=(1, 2, 3)), x.std(axis=(1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize(("strength", "left"), [(0.0, 1), (0.3, 3), (0.99, 9), (1.0, 10)])
def test_image_to_image_starts_part_of_the_way(strength: float, left: int) -> None:
    picture, noise = np.full((1, 1, 8, 8), 0.7, dtype=np.float32), beginning(1)
    x, levels = samplers.start(picture, noise, Process("flow").levels(10), strength=strength)
    assert len(levels) == left + 1
    np.testing.assert_allclose(x, levels[0].alpha * picture + levels[0].sigma * noise, atol=1e-6)


def test_clipping() -> None:
    clipped = samplers.clip(lambda x, level: 3 * x)
    assert np.abs(clipped(beginning(1), samplers.Level(0.5, 0.5, 0.5))).max() == 1.0
