"""How likely pixels are by what the decoder gives: nats for each number of a picture.

Grey levels are 256 bins of width 2/255 around x in [-1, 1]; a continuous distribution gives each bin its mass, and the outer bins all that
lies beyond (Salimans et al., 2017, PixelCNN++). So these are probabilities of the picture as it is stored, and with the divergence of the
latents a true bound on -log p. `outputs` is (B, 2C, S, S): means, then logarithms of scales; for bernoulli (B, C, S, S) log odds.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from miaobi.models.common.autoencoder import SHARPEST, Reading

Likelihood = Literal["bernoulli", "gaussian", "logistic", "none"]
READINGS: dict[Likelihood, Reading] = {"bernoulli": "odds", "gaussian": "normal", "logistic": "logistic", "none": "pixels"}
HALF_BIN = 1 / 255


def num_outputs(likelihood: Likelihood, channels: int) -> int:
    """Channels that the decoder has to give."""
    return 2 * channels if likelihood in ("gaussian", "logistic") else channels


def nats(likelihood: Likelihood, outputs: Tensor, pixels: Tensor) -> Tensor:
    """-log p (B, C, S, S) of pictures (B, C, S, S) in [-1, 1]; bernoulli sees them as black and white."""
    if likelihood == "bernoulli":
        return F.binary_cross_entropy_with_logits(outputs, (pixels > 0).to(outputs.dtype), reduction="none")
    mean, log_scale = outputs.chunk(2, dim=1)
    inverse = torch.exp(-log_scale.clamp(-SHARPEST, SHARPEST))
    high, low = (pixels + HALF_BIN - mean) * inverse, (pixels - HALF_BIN - mean) * inverse
    high = torch.where(pixels > 1 - HALF_BIN, torch.inf, high)
    low = torch.where(pixels < -1 + HALF_BIN, -torch.inf, low)
    return -(_logistic_between if likelihood == "logistic" else _normal_between)(low, high)


def distance(outputs: Tensor, pixels: Tensor) -> Tensor:
    """Absolute plus twice squared difference (B, C, S, S), plus half the difference of neighbours: sharp edges, without a likelihood."""
    difference = outputs - pixels
    total = difference.abs() + 2 * difference.square()
    right, down = difference.diff(dim=3).abs(), difference.diff(dim=2).abs()
    return total + 0.5 * (F.pad(right, (0, 1)) + F.pad(down, (0, 0, 0, 1)))


def divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp logvar) || N(0, 1)) in nats, of the same shape."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)


def _logistic_between(low: Tensor, high: Tensor) -> Tensor:
    """log(sigmoid(high) - sigmoid(low)), exactly: the difference is sigmoid(high) sigmoid(-low) (1 - exp(low - high))."""
    return F.logsigmoid(high) + F.logsigmoid(-low) + _log_one_minus_exp(low - high)


def _normal_between(low: Tensor, high: Tensor) -> Tensor:
    """log(Phi(high) - Phi(low)), computed in the left tail, where no digits cancel."""
    mirrored = low + high > 0
    low, high = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    below: Tensor = torch.special.log_ndtr(low)
    above: Tensor = torch.special.log_ndtr(high)
    return above + _log_one_minus_exp(below - above)


def _log_one_minus_exp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0 (Mächler, 2012)."""
    x = x.clamp(max=-1e-7)
    near = x > -0.6931
    by_expm1 = torch.log(-torch.expm1(torch.where(near, x, -1.0)))
    by_log1p = torch.log1p(-torch.exp(torch.where(near, -1.0, x)))
    return torch.where(near, by_expm1, by_log1p)
