"""Probabilities of pixels add up to 1, so what is scored is a true bound."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from miaobi.core.types import Record

torch = pytest.importorskip("torch")

from miaobi.models.vae.likelihood import divergence, nats, num_outputs  # noqa: E402

LEVELS = torch.arange(256, dtype=torch.float64) * 2 / 255 - 1


@pytest.mark.parametrize("likelihood", ["gaussian", "logistic"])
@pytest.mark.parametrize(("mean", "log_scale"), [(0.0, -1.0), (-1.2, -3.0), (0.9, 0.5), (0.3, -6.5), (0.0, -20.0), (5.0, -2.0)])
def test_the_levels_of_a_pixel_add_up_to_one(likelihood: Any, mean: float, log_scale: float) -> None:
    outputs = torch.tensor([mean, log_scale], dtype=torch.float64).view(1, 2, 1, 1).expand(256, 2, 1, 1)
    lost = nats(likelihood, outputs, LEVELS.view(256, 1, 1, 1))
    assert torch.exp(-lost).sum().item() == pytest.approx(1, abs=1e-6)
    assert (lost >= 0).all()


@pytest.mark.parametrize("likelihood", ["gaussian", "logistic"])
def test_far_tails_keep_finite_losses_and_gradients(likelihood: Any) -> None:
    outputs = torch.tensor([[-3.0, -7.0], [3.0, -7.0], [0.0, -7.0], [-1.0, 3.0]]).view(4, 2, 1, 1).requires_grad_()
    lost = nats(likelihood, outputs, torch.tensor([1.0, -1.0, 0.004, 1.0]).view(4, 1, 1, 1))
    lost.sum().backward()
    assert torch.isfinite(lost).all()
    assert torch.isfinite(outputs.grad).all()
    assert outputs.grad[0, 0] < 0 < outputs.grad[1, 0], "means are pulled to the pixel"


def test_black_and_white_add_up_to_one() -> None:
    odds = torch.tensor(0.7).expand(2, 1, 1, 1)
    lost = nats("bernoulli", odds, torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1))
    assert torch.exp(-lost).sum().item() == pytest.approx(1)
    assert (num_outputs("bernoulli", 3), num_outputs("logistic", 3)) == (3, 6)


def test_divergence_is_torchs() -> None:
    mean, logvar = torch.randn(5), torch.randn(5)
    theirs = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (0.5 * logvar).exp()), torch.distributions.Normal(torch.zeros(5), torch.ones(5))
    )
    assert torch.allclose(divergence(mean, logvar), theirs, atol=1e-5)


@pytest.mark.parametrize("kind", ["normal", "quantised"])
def test_scores_are_far_below_what_single_pixels_cost(kind: str, records: list[Record], request: pytest.FixtureRequest) -> None:
    """The best model of independent pixels (each place its own frequency) is the baseline."""
    model = request.getfixturevalue(kind)
    white = (model.codec.collate(records)["pixels"].numpy() > 0).mean(0).clip(1e-9, 1 - 1e-9)  # (1, 8, 8)
    independent = -(white * np.log2(white) + (1 - white) * np.log2(1 - white)).sum() / white.size
    scores = list(model.score(records))
    found = sum(score.bits for score in scores) / sum(score.dimensions for score in scores)
    assert all(score.dimensions == 64 for score in scores)
    assert found < 0.6 * independent


def test_the_bound_lies_above_the_likelihood(normal: Any, records: list[Record]) -> None:
    """Importance weighting with many draws comes near -log p (Burda et al., 2016); the bound may not be below it."""
    pixels, labels = normal.codec.collate(records)["pixels"], normal.codec.collate(records)["labels"]
    torch.manual_seed(0)
    with torch.inference_mode():
        mean, logvar = normal.network.autoencoder.posterior(pixels, labels)
        weights = []
        for _ in range(400):
            noise = torch.randn_like(mean)
            latents = mean + (0.5 * logvar).exp() * noise
            log_prior = -0.5 * (latents.square() - noise.square() - logvar).sum((1, 2, 3))
            weights.append(log_prior - normal._pixel_nats(latents, pixels, labels))
        near = -(torch.logsumexp(torch.stack(weights), 0) - math.log(400)) / math.log(2)
    bound = torch.tensor([score.bits for score in normal.score(records)])
    assert (bound.mean() - near.mean()).item() > -0.2


def test_a_score_does_not_depend_on_the_other_records(normal: Any, records: list[Record]) -> None:
    alone = [next(iter(normal.score([record]))).bits for record in records[:3]]
    assert alone == pytest.approx([score.bits for score in normal.score(records)][:3], rel=1e-4)
