"""From noise to a picture: samplers as pure functions over `denoise(x, level)`, which says what clean picture a noisy one comes from.

Every sampler is a generator of `Step`s, so that the caller can show each, stop after any, and cancel by closing it; `sample` runs one to
its end. Unusual: they work on (alpha, sigma) pairs and on predictions of the clean picture, and in these terms much of the zoo is one
step. To move to the next level along `alpha' * clean + sigma' * noise` is DDIM (Song et al., 2021), is Euler in the coordinates of Karras
et al. (2022), and is Euler on a rectified flow; with the full share of fresh noise (eta = 1) it is DDPM (Ho et al., 2020) and ancestral
Euler. These names differ only in the times that they visit (`noise.Process.levels`). tests/denoise holds each against the scheduler of that
name in diffusers. Guidance, inpainting and clipping wrap `denoise`.
Arrays are numpy's or torch's (B, C, H, W); coefficients are Python floats.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from array_api_compat import array_namespace

from miaobi.engine.sampling.noise import Array, Level, Prediction, mix, to_clean, to_noise

Denoise = Callable[[Array, Level], Array]  # the clean picture that a noisy one of this level comes from
Noise = Callable[[Array], Array]  # fresh normal noise like the argument; a row's numbers come from that row's own generator


@dataclass(frozen=True, slots=True)
class Step:
    """Where a sampler is after step `number` (from 1) of `total`: the noisy picture, and the clean one that it aims at."""

    number: int
    total: int
    x: Array
    clean: Array


Steps = Iterator[Step]
Sampler = Callable[[Denoise, Array, Sequence[Level], "Noise | None"], Steps]


def sample(steps: Steps, *, on_step: Callable[[Step], None] | None = None) -> Array:
    """Run a sampler to its end; the picture."""
    last = None
    for last in steps:
        if on_step is not None:
            on_step(last)
    assert last is not None, "a sampler makes at least one step"
    return last.x


# ---------------------------------------------------------------------- samplers


def euler(denoise: Denoise, x: Array, levels: Sequence[Level], noise: Noise | None = None) -> Steps:
    """Straight to the next level: one evaluation a step, no fresh noise."""
    return ddim(denoise, x, levels, noise, eta=0.0)


def euler_ancestral(denoise: Denoise, x: Array, levels: Sequence[Level], noise: Noise | None = None) -> Steps:
    """Euler below the next level, and fresh noise up to it."""
    return ddim(denoise, x, levels, noise, eta=1.0)


def ddim(denoise: Denoise, x: Array, levels: Sequence[Level], noise: Noise | None = None, *, eta: float = 0.0) -> Steps:
    """Song et al. (2021): `eta` is the share of DDPM's fresh noise, 0 for none."""
    for number, (now, after) in enumerate(itertools.pairwise(levels), 1):
        clean = denoise(x, now)
        fresh = eta * math.sqrt(posterior_variance(now, after))
        x = after.alpha * clean + math.sqrt(max(after.sigma**2 - fresh**2, 0.0)) * to_noise(clean, x, now)
        if fresh > 0:
            assert noise is not None, "eta above 0 needs noise"
            x = x + fresh * noise(x)
        yield Step(number, len(levels) - 1, x, clean)


def ddpm(
    denoise: Denoise, x: Array, levels: Sequence[Level], noise: Noise | None = None, *, variance: Literal["small", "large"] = "small"
) -> Steps:
    """Ho et al. (2020): a draw from the posterior of the next level. Its variance is the least or the most that the data allow."""
    for number, (now, after) in enumerate(itertools.pairwise(levels), 1):
        clean = denoise(x, now)
        least = posterior_variance(now, after)
        x = after.alpha * clean + math.sqrt(max(after.sigma**2 - least, 0.0)) * to_noise(clean, x, now)
        if after.sigma > 0:
            assert noise is not None, "DDPM needs noise"
            most = now.sigma**2 - (now.alpha / after.alpha * after.sigma) ** 2
            x = x + math.sqrt(least if variance == "small" else most) * noise(x)
        yield Step(number, len(levels) - 1, x, clean)


def heun(denoise: Denoise, x: Array, levels: Sequence[Level], noise: Noise | None = None) -> Steps:
    """Karras et al. (2022), algorithm 1: the slope at the next level is averaged in. Two evaluations a step, one in the last.

    A level with alpha + sigma = 1 is taken as one of a flow, and the slope is noise - clean; otherwise it is the noise, over sigma / alpha.
    """
    for number, (now, after) in enumerate(itertools.pairwise(levels), 1):
        clean = denoise(x, now)
        first = to_noise(clean, x, now)
        if after.sigma == 0:
            x = after.alpha * clean
        elif abs(now.alpha + now.sigma - 1) < 1e-6:
            ahead = after.alpha * clean + after.sigma * first
            again = denoise(ahead, after)
            slope = (first - clean + to_noise(again, ahead, after) - again) / 2
            x = x + (after.sigma - now.sigma) * slope
        else:
            ahead = after.alpha * clean + after.sigma * first
            slope = (first + to_noise(denoise(ahead, after), ahead, after)) / 2
            x = after.alpha * (x / now.alpha + (after.sigma / after.alpha - now.sigma / now.alpha) * slope)
        yield Step(number, len(levels) - 1, x, clean)


def dpmpp_2m(denoise: Denoise, x: Array, levels: Sequence[Level], noise: Noise | None = None) -> Steps:
    """DPM-Solver++(2M) (Lu et al., 2022): the previous prediction gives the slope over log(alpha / sigma). One evaluation a step."""
    before: Array = None
    width_before = math.inf
    for number, (now, after) in enumerate(itertools.pairwise(levels), 1):
        clean = denoise(x, now)
        width = log_snr(after) - log_snr(now)
        aim = clean
        if before is not None and math.isfinite(width) and math.isfinite(width_before):
            aim = clean + 0.5 * (width / width_before) * (clean - before)
        shrink = after.sigma / now.sigma
        x = shrink * x + (after.alpha - shrink * now.alpha) * aim
        before, width_before = clean, width
        yield Step(number, len(levels) - 1, x, clean)


def consistency(denoise: Denoise, x: Array, levels: Sequence[Level], noise: Noise | None = None) -> Steps:
    """Song et al. (2023), algorithm 1, for distilled networks: to the clean picture at once, and up again with fresh noise."""
    for number, (now, after) in enumerate(itertools.pairwise(levels), 1):
        clean = x = denoise(x, now)
        if after.sigma > 0:
            assert noise is not None, "a consistency model with several steps needs noise"
            x = mix(clean, noise(clean), after)
        yield Step(number, len(levels) - 1, x, clean)


SAMPLERS: dict[str, Sampler] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "euler": euler,
    "euler-ancestral": euler_ancestral,
    "heun": heun,
    "dpmpp-2m": dpmpp_2m,
    "consistency": consistency,
}
STOCHASTIC = frozenset({"ddpm", "euler-ancestral", "consistency"})  # those that need `noise`


def evaluations(name: str, steps: int) -> int:
    """How often a sampler calls `denoise`."""
    return 2 * steps - 1 if name == "heun" else steps


def log_snr(level: Level) -> float:
    """log(alpha / sigma); infinite at either end."""
    if level.sigma == 0:
        return math.inf
    return math.log(level.alpha / level.sigma) if level.alpha > 0 else -math.inf


def posterior_variance(now: Level, after: Level) -> float:
    """The variance of the next level given this one and the clean picture."""
    if after.sigma == 0:
        return 0.0
    carried = now.alpha / after.alpha * after.sigma  # the noise of the next level as it appears in this one
    return float(max((after.sigma / now.sigma) ** 2 * (now.sigma**2 - carried**2), 0.0))


# ---------------------------------------------------------------------- where to start


def start(clean: Array, noise: Array, levels: Sequence[Level], *, strength: float) -> tuple[Array, list[Level]]:
    """Image to image (Meng et al., 2021): the noisy picture at `strength` of the way up, and the levels that remain.

    Strength 1 starts at the first level, where little of the picture is left; 0 makes no step, so at least one remains.
    """
    total = len(levels) - 1
    first = total - min(max(int(total * strength), 1), total)
    return mix(clean, noise, levels[first]), list(levels[first:])


# ---------------------------------------------------------------------- what wraps `denoise`


def denoiser(predict: Callable[[Array, float], Array], kind: Prediction) -> Denoise:
    """`denoise` from a network that predicts noise, velocity, flow or the clean picture at a time in [0, 1]."""
    return lambda x, level: to_clean(predict(x, level.time), x, level, kind)


def guide(denoise: Denoise, both: Denoise, *, scale: float, rescale: float = 0.0, interval: tuple[float, float] = (0.0, 1.0)) -> Denoise:
    """Classifier-free guidance (Ho and Salimans, 2022): away from the unconditional or negative picture by `scale` (1: not at all).

    Args:
        denoise: with the wanted condition.
        both: for 2 B rows, the first half with the wanted condition, the second without or with the negative one: one call for both.
        rescale: how much of the clean picture's contrast is set back to the unguided one's (Lin et al., 2023); 0 for none.
        interval: the times within which guidance acts (Kynkäänniemi et al., 2024); outside, half of the work is saved.
    """

    def guided(x: Array, level: Level) -> Array:
        if scale == 1.0 or not interval[0] <= level.time <= interval[1]:
            return denoise(x, level)
        xp = array_namespace(x)
        pair = both(xp.concat((x, x)), level)
        wanted, other = pair[: x.shape[0]], pair[x.shape[0] :]
        clean = other + scale * (wanted - other)
        if rescale > 0:
            axes = tuple(range(1, x.ndim))
            contrast = xp.std(wanted, axis=axes, keepdims=True) / (xp.std(clean, axis=axes, keepdims=True) + 1e-8)
            clean = clean * (rescale * contrast + (1 - rescale))
        return clean

    return guided


def keep_known(denoise: Denoise, known: Array, mask: Array) -> Denoise:
    """Inpainting: where `mask` (B, 1, H, W) is 0 the clean picture is `known`, where it is 1 it is made.

    The known part is thus replaced at every step by itself at that step's noise level, and every sampler ends on it exactly.
    """

    def replaced(x: Array, level: Level) -> Array:
        return mask * denoise(x, level) + (1 - mask) * known

    return replaced


def clip(denoise: Denoise, limit: float = 1.0) -> Denoise:
    """Keep the clean picture in [-limit, limit], where pixels lie."""

    def clipped(x: Array, level: Level) -> Array:
        return array_namespace(x).clip(denoise(x, level), -limit, limit)

    return clipped
