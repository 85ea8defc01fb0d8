"""How a picture turns into noise: levels of noise, what a network predicts of them, and how training weighs and draws them.

A noisy picture is `alpha * clean + sigma * noise`. A `Process` says which alpha and sigma a time in [0, 1] has; everything else here works
on any process. Ho et al. (2020, DDPM), Nichol and Dhariwal (2021, cosine), Salimans and Ho (2022, v), Liu et al. (2022, rectified flow).
Unusual: tables of 1,000 betas and continuous flows are one type, because times between two entries of a table are interpolated as
diffusers' Euler scheduler does, so any process can be trained at continuous times and sampled with any sampler.
Arrays are numpy's or torch's; times and levels are numpy's or floats, and are few.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, device, is_numpy_array

Array = Any  # a numpy array or a torch tensor (B, C, H, W): the array API has no nominal type
Numbers = npt.NDArray[np.float64]
Schedule = Literal["linear", "scaled_linear", "cosine", "flow"]
Prediction = Literal["noise", "clean", "velocity", "flow"]
Spacing = Literal["trailing", "leading", "linspace", "karras"]
Times = Literal["uniform", "logit-normal", "log-normal"]  # how the times of training are distributed
TABLE = 1000  # timesteps of a table; its entry k belongs to time k / 1000
BETAS = {"linear": (1e-4, 2e-2), "scaled_linear": (8.5e-4, 1.2e-2)}  # of DDPM, of Stable Diffusion


@dataclass(frozen=True, slots=True)
class Level:
    """How noisy: `alpha` of the clean picture and `sigma` of the noise. Floats while sampling, arrays (B,) while training."""

    time: Any
    alpha: Any
    sigma: Any


CLEAN = Level(0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Process:
    """Which level a time in [0, 1] has. `shift` above 1 stays longer at high noise (Esser et al., 2024); only a flow has it."""

    schedule: Schedule = "flow"
    shift: float = 1.0

    def at(self, time: float | Numbers) -> Level:
        """The level of one time, or of many."""
        if self.schedule == "flow":
            times = np.asarray(time, dtype=np.float64)
            return _level(time, 1.0 - times, times)
        ratio = np.interp(np.asarray(time, dtype=np.float64) * TABLE, np.arange(TABLE), _ratios(self.schedule))
        alpha = 1.0 / np.sqrt(1.0 + ratio**2)
        return _level(time, alpha, ratio * alpha)

    def with_ratio(self, ratio: float | Numbers) -> Level:
        """The level whose sigma / alpha is `ratio`, of one or of many."""
        ratios = np.asarray(ratio, dtype=np.float64)
        if self.schedule == "flow":
            times = ratios / (1.0 + ratios)
            return _level(times, 1.0 - times, times)
        times = np.interp(np.log(ratios), np.log(_ratios(self.schedule)), np.arange(TABLE)) / TABLE
        alpha = 1.0 / np.sqrt(1.0 + ratios**2)
        return _level(times, alpha, ratios * alpha)

    def levels(self, steps: int, *, spacing: Spacing = "trailing") -> list[Level]:
        """`steps` (at most 1,000) levels from the noisiest on, and the clean one.

        `trailing` starts at pure noise, which few steps need (Lin et al., 2023). `leading` (DDPM, DDIM) and `linspace` (Euler, Heun) are
        what diffusers' schedulers of these names take by default; `karras` is even in (sigma / alpha) ** (1 / 7) (Karras et al., 2022).
        A flow knows no `leading`: it starts at time 1 always.
        """
        assert 1 <= steps <= TABLE, "a caller bounds the steps"
        if spacing == "karras":
            return [*(self.with_ratio(float(ratio)) for ratio in self._karras(steps)), CLEAN]
        return [*(self.at(float(time)) for time in self._spaced(steps, spacing)), CLEAN]

    def _spaced(self, steps: int, spacing: Spacing) -> Numbers:
        if self.schedule == "flow":
            times = np.linspace(1.0, 1.0 / (TABLE if spacing == "linspace" else steps), steps)
            return self._shifted(times)
        if spacing == "linspace":
            return np.linspace(0, TABLE - 1, steps)[::-1] / TABLE
        if spacing == "leading":
            return (np.arange(steps) * (TABLE // steps))[::-1] / TABLE
        return (np.round(np.linspace(TABLE, 0, steps, endpoint=False)) - 1) / TABLE

    def _shifted(self, times: Numbers) -> Numbers:
        if self.schedule != "flow":
            return times
        return np.asarray(self.shift * times / (1.0 + (self.shift - 1.0) * times))

    def _karras(self, steps: int, rho: float = 7.0) -> Numbers:
        ends = self.at(np.array([0.999, 0.001 if self.schedule == "flow" else 0.0]))
        high, low = (ends.sigma / ends.alpha) ** (1 / rho)
        return np.asarray(np.linspace(high, low, steps) ** rho)

    def draw(
        self,
        count: int,
        rng: np.random.Generator,
        *,
        distribution: Times = "uniform",
        mean: float = 0.0,
        spread: float = 1.0,
    ) -> Level:
        """The levels (count,) of a training batch.

        Uniform in time; or time is the sigmoid of a normal number (Esser et al., 2024); or sigma / alpha is the exponential of one (Karras
        et al., 2022), which for a flow without shift is the same. The random numbers are stratified: one in each `count`-th of (0, 1), in
        random order, so that a small batch still sees all noise levels.
        """
        shares = (rng.permutation(count) + rng.uniform(1e-6, 1 - 1e-6, count)) / count
        if distribution == "uniform":
            return self.at(self._shifted(shares))
        ratios = np.exp(mean + spread * np.array([NormalDist().inv_cdf(float(share)) for share in shares]))
        if distribution == "log-normal":
            return self.with_ratio(ratios)
        return self.at(self._shifted(ratios / (1.0 + ratios)))


def mix(clean: Array, noise: Array, level: Level) -> Array:
    """The noisy picture."""
    return _wide(level.alpha, clean) * clean + _wide(level.sigma, clean) * noise


def target(clean: Array, noise: Array, level: Level, kind: Prediction) -> Array:
    """What a network of this kind should predict: noise, the clean picture, alpha * noise - sigma * clean, or noise - clean."""
    if kind == "noise":
        return noise
    if kind == "clean":
        return clean
    if kind == "flow":
        return noise - clean
    return _wide(level.alpha, clean) * noise - _wide(level.sigma, clean) * clean


def to_clean(prediction: Array, x: Array, level: Level, kind: Prediction) -> Array:
    """The clean picture that a prediction at the noisy `x` means. Of pure noise (alpha 0) a prediction of the noise says nothing."""
    if kind == "clean":
        return prediction
    alpha, sigma = _wide(level.alpha, x), _wide(level.sigma, x)
    if kind == "noise":
        return (x - sigma * prediction) / alpha
    if kind == "flow":
        return (x - sigma * prediction) / (alpha + sigma)
    return (alpha * x - sigma * prediction) / (alpha**2 + sigma**2)


def to_noise(clean: Array, x: Array, level: Level) -> Array:
    """The noise in `x` if `clean` is right; the level's sigma is above 0."""
    return (x - _wide(level.alpha, x) * clean) / _wide(level.sigma, x)


def convert(prediction: Array, x: Array, level: Level, *, source: Prediction, wanted: Prediction) -> Array:
    """A prediction of one kind as another kind of the same content."""
    if source == wanted:
        return prediction
    clean = to_clean(prediction, x, level, source)
    return target(clean, to_noise(clean, x, level), level, wanted)


def weight(level: Level, kind: Prediction, *, weighting: Literal["uniform", "min-snr"] = "uniform", gamma: float = 5.0) -> float | Numbers:
    """The weight of each squared error of a prediction of this kind.

    `min-snr` (Hang et al., 2023) weighs the error of the clean picture by min(alpha² / sigma², gamma), whatever the network predicts.
    """
    if weighting == "uniform":
        return np.ones_like(np.asarray(level.alpha))
    alpha, sigma = np.asarray(level.alpha), np.asarray(level.sigma)
    clamped = np.minimum(alpha**2 / np.maximum(sigma, 1e-12) ** 2, gamma)
    if kind == "clean":
        return np.asarray(clamped)
    if kind == "noise":  # the error of the clean picture is that of the noise times sigma / alpha
        return np.asarray(np.minimum(1.0, gamma * sigma**2 / np.maximum(alpha, 1e-12) ** 2))
    share = sigma / (alpha + sigma) if kind == "flow" else sigma / (alpha**2 + sigma**2)
    return np.asarray(clamped * share**2)


def draw_noise(generators: Sequence[np.random.Generator], like: Array) -> Array:
    """Normal noise of the shape of `like` (B, ...), row i from generator i alone, so a content does not depend on its batch."""
    rows = np.stack([generator.standard_normal(tuple(like.shape[1:]), dtype=np.float32) for generator in generators])
    return _as_like(rows, like)


def slerp(first: Array, second: Array, share: float) -> Array:
    """The point `share` of the way along the arc from one noise to another, row by row (Shoemake, 1985).

    A straight line between two noises is too short to be noise itself.
    """
    xp = array_namespace(first, second)
    a, b = (xp.reshape(x, (x.shape[0], -1)) for x in (first, second))
    cosine = xp.sum(a * b, axis=1) / (xp.sum(a * a, axis=1) * xp.sum(b * b, axis=1)) ** 0.5  # (B,)
    angle = xp.acos(xp.clip(cosine, -1.0, 1.0))
    sine = xp.sin(angle)
    flat = sine < 1e-4  # nearly parallel: the arc is a line
    safe = xp.where(flat, xp.ones_like(sine), sine)
    left = xp.where(flat, xp.ones_like(sine) * (1 - share), xp.sin((1 - share) * angle) / safe)
    right = xp.where(flat, xp.ones_like(sine) * share, xp.sin(share * angle) / safe)
    wide = (-1, *([1] * (first.ndim - 1)))
    return xp.reshape(left, wide) * first + xp.reshape(right, wide) * second


@functools.cache
def _ratios(schedule: Schedule) -> Numbers:
    """sigma / alpha (TABLE,) of a table of betas."""
    if schedule == "cosine":
        times = np.arange(TABLE + 1) / TABLE
        kept = np.cos((times + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - kept[1:] / kept[:-1], 0.999)
    elif schedule == "scaled_linear":
        first, last = BETAS[schedule]
        betas = np.linspace(first**0.5, last**0.5, TABLE) ** 2
    else:
        betas = np.linspace(*BETAS[schedule], TABLE)
    alphas = np.cumprod(1 - betas)
    return np.asarray(np.sqrt((1 - alphas) / alphas))


def _level(time: float | Numbers, alpha: Numbers, sigma: Numbers) -> Level:
    """Plain floats for one time: they do not turn a float32 array into float64."""
    if np.ndim(time) == 0:
        return Level(float(time), float(alpha), float(sigma))
    return Level(time, alpha, sigma)


def _wide(value: float | Numbers, like: Array) -> Any:
    """A factor that multiplies `like` (B, ...): a float stays one, numbers (B,) become (B, 1, ...) of its kind."""
    if not isinstance(value, np.ndarray):
        return value
    return _as_like(value.reshape(-1, *([1] * (like.ndim - 1))), like)


def _as_like(values: npt.NDArray[Any], like: Array) -> Array:
    """`values` as an array of the kind, type and device of `like`."""
    xp = array_namespace(like)
    if is_numpy_array(like):
        return values.astype(like.dtype)
    return xp.asarray(values, dtype=like.dtype, device=device(like))
