"""How likely a sample is: as a class of the mu-law scale, or as 16 bits under a mixture of logistics (Salimans et al., 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

STEPS = 65_535  # 16 bits: so many steps from -1 to 1
LEAST_SCALE = -9.0  # of a logistic distribution, as a logarithm: an eighth of a step wide


def nats_of_codes(logits: Tensor, codes: Tensor) -> Tensor:
    """-ln p of each code (B, T), from logits (B, T, levels)."""
    return functional.cross_entropy(logits.float().flatten(0, 1), codes.flatten(), reduction="none").view_as(codes)


def nats_of_samples(parameters: Tensor, samples: Tensor) -> Tensor:
    """-ln p of each sample (B, T) in [-1, 1], rounded to 16 bits, from parameters (B, T, 3K): K weights, means, log scales.

    The probability of a step is the mass between its edges; below the first and above the last step all mass counts.
    """
    weights, means, scales = parameters.float().chunk(3, dim=-1)
    scales = scales.clamp(min=LEAST_SCALE)
    distance, sharp = samples.float()[..., None] - means, torch.exp(-scales)
    above, below = sharp * (distance + 1 / STEPS), sharp * (distance - 1 / STEPS)
    mass = torch.sigmoid(above) - torch.sigmoid(below)
    density = sharp.log() + sharp * distance - 2 * functional.softplus(sharp * distance) + torch.tensor(2 / STEPS).log()
    inside = torch.where(mass > 1e-5, mass.clamp(min=1e-12).log(), density)  # far out the mass vanishes in float32, its logarithm not
    samples = samples[..., None]
    found = torch.where(samples < -0.999, functional.logsigmoid(above), torch.where(samples > 0.999, functional.logsigmoid(-below), inside))
    return -torch.logsumexp(functional.log_softmax(weights, dim=-1) + found, dim=-1)
