"""Few steps instead of many: a student learns the straight way from a noise to the very picture that its teacher makes of that noise.

Reflow (Liu et al., 2022): the curved ways of the teacher cross nowhere, so straightened they are still one picture for each noise, and a
straight way needs few steps. The teacher's guidance is learned along (Meng et al., 2023). Unusual: no set of pairs is written. Noise and
caption of a pair are drawn from its record's id, so its end is computed by the teacher when it first comes up and remembered like a latent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from miaobi.core.errors import UsageError
from miaobi.engine.sampling.denoise import Denoise, denoiser, euler, guide, sample
from miaobi.engine.sampling.noise import Level, Process, draw_noise
from miaobi.models.diffusion.network import Network
from miaobi.models.diffusion.schema import Config

STEPS = 24  # of the teacher
START = 1 / 3  # this share of the training looks at pure noise, where one step has to see everything
HUBER = 0.1  # squared below this root mean square error, absolute above: a few wild pictures do not rule (Song and Dhariwal, 2023)

Told = tuple[Tensor | None, Tensor | None]  # what a network is told: a vector (B, D) and tokens (B, K, D)


def student_config(asked: Config, teacher: Config) -> Config:
    """The teacher's configuration, marked as distilled.

    Raises:
        UsageError: a key that the teacher decides, or a teacher whose kind of prediction does not serve.
    """
    own = {name: getattr(asked, name) for name in ("distill", "distill_guidance", "distill_pairs", "stored")}
    foreign = asked.model_fields_set - own.keys()
    if foreign:
        raise UsageError("a distilled model is of its teacher's shape; leave out of its config: {keys}", keys=", ".join(sorted(foreign)))
    if teacher.predict == "noise":
        raise UsageError("a model that predicts noise sees nothing in pure noise and cannot be distilled; train one with predict: flow")
    if teacher.upscale > 1:
        raise UsageError("an upscaler needs few steps as it is and cannot be distilled")
    return teacher.model_copy(update=own)


def noises(seeds: Sequence[int], like: Tensor) -> Tensor:
    """The noise of each pair, of the shape of `like` (B, C, H, W)."""
    return draw_noise([np.random.default_rng(seed) for seed in seeds], like)  # type: ignore[no-any-return]


@torch.no_grad()
def ends(teacher: Network, noise: Tensor, told: Told, nothing: Told, config: Config) -> Tensor:
    """What the guided teacher makes of noises (B, C, H, W) in many steps."""

    def under(condition: Told) -> Denoise:
        def predict(x: Tensor, time: float) -> Tensor:
            return teacher(x, torch.full((len(x),), time, device=x.device), *condition).float()  # type: ignore[no-any-return]

        return denoiser(predict, config.predict)

    both = [None if a is None or b is None else torch.cat([a, b.expand_as(a)]) for a, b in zip(told, nothing)]
    guided = guide(under(told), under((both[0], both[1])), scale=config.distill_guidance if told[0] is not None else 1.0)
    found: Tensor = sample(euler(guided, noise, Process(config.schedule).levels(STEPS)))
    return found


def times(process: Process, count: int, rng: np.random.Generator) -> Level:
    """Training times (count,): many at pure noise, the others evenly."""
    drawn = np.where(rng.random(count) < START, 1.0, rng.uniform(0.001, 1.0, count))
    return process.at(drawn)


def huber(found: Tensor, wanted: Tensor) -> Tensor:
    """The error (B,) of predictions (B, C, H, W)."""
    squared = (found.float() - wanted).square().flatten(1).mean(1)
    return (squared + HUBER**2).sqrt() - HUBER
