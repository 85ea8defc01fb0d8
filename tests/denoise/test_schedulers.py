"""Every sampler against the scheduler of that name in diffusers, on the same network, the same times and the same fresh noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from miaobi.engine.sampling import denoise as samplers
from miaobi.engine.sampling.noise import CLEAN, TABLE, Level, Prediction, Process

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers")
diffusers = pytest.importorskip("diffusers")
KINDS: dict[Prediction, str] = {"noise": "epsilon", "velocity": "v_prediction", "clean": "sample"}
BETAS = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}


class Network(torch.nn.Module):
    """Small, smooth and dependent on time."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.kernel = torch.randn(3, 3, 3, 3, generator=generator) / 4

    @torch.no_grad()
    def forward(self, x: Tensor, time: float | Tensor) -> Tensor:
        return torch.tanh(torch.nn.functional.conv2d(x, self.kernel, padding=1) + float(time) - 0.5)


NETWORK = Network()


def noise_from(seed: int) -> samplers.Noise:
    generator = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=generator)


def beginning() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(11))


def levels_of(scheduler: Any, process: Process) -> list[Level]:
    """Our levels at a scheduler's own times."""
    return [*(process.at(float(step) / TABLE) for step in scheduler.timesteps), CLEAN]


def reference_discrete(scheduler: Any, x: Tensor, **options: Any) -> Tensor:
    """What diffusers makes of `x` where a scheduler keeps the variance."""
    for step in scheduler.timesteps:
        x = scheduler.step(NETWORK(x, step / TABLE), step, x, **options).prev_sample
    return x


def reference_exploding(scheduler: Any, x: Tensor, **options: Any) -> Tensor:
    """What diffusers makes of `x` where a scheduler counts in sigma / alpha."""
    ratio = scheduler.sigmas[0]
    x = x * (1 + ratio**2) ** 0.5
    for step in scheduler.timesteps:
        x = scheduler.step(NETWORK(scheduler.scale_model_input(x, step), step / TABLE), step, x, **options).prev_sample
    return x


@pytest.mark.parametrize("schedule", BETAS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_ddim(schedule: Any, kind: Prediction, eta: float) -> None:
    settings = {"beta_start": 0.00085, "beta_end": 0.012} if schedule == "scaled_linear" else {}
    scheduler = diffusers.DDIMScheduler(
        beta_schedule=BETAS[schedule], prediction_type=KINDS[kind], clip_sample=False, timestep_spacing="leading", **settings
    )
    scheduler.set_timesteps(10)
    expected = reference_discrete(scheduler, beginning(), eta=eta, generator=torch.Generator().manual_seed(5))
    steps = samplers.ddim(
        samplers.denoiser(NETWORK, kind), beginning(), Process(schedule).levels(10, spacing="leading"), noise_from(5), eta=eta
    )
    torch.testing.assert_close(samplers.sample(steps), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("schedule", "spacing", "variance"),  # with `large`, diffusers adds noise to the finished picture unless the last time is 0
    [("linear", "leading", "small"), ("linear", "leading", "large"), ("cosine", "trailing", "small"), ("cosine", "leading", "large")],
)
def test_ddpm_with_clipping(schedule: Any, spacing: Any, variance: Any) -> None:
    scheduler = diffusers.DDPMScheduler(
        beta_schedule=BETAS[schedule], variance_type=f"fixed_{variance}", timestep_spacing=spacing, clip_sample=True
    )
    scheduler.set_timesteps(20)
    expected = reference_discrete(scheduler, beginning(), generator=torch.Generator().manual_seed(5))
    clipped = samplers.clip(samplers.denoiser(NETWORK, "noise"))
    steps = samplers.ddpm(clipped, beginning(), Process(schedule).levels(20, spacing=spacing), noise_from(5), variance=variance)
    torch.testing.assert_close(samplers.sample(steps), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("sampler", "name", "spacing"),
    [
        ("euler", "EulerDiscreteScheduler", "linspace"),
        ("euler", "EulerDiscreteScheduler", "trailing"),
        ("euler-ancestral", "EulerAncestralDiscreteScheduler", "linspace"),
        ("heun", "HeunDiscreteScheduler", "linspace"),
        ("heun", "HeunDiscreteScheduler", "trailing"),
    ],
)
def test_samplers_over_sigma(sampler: str, name: str, spacing: Any, kind: Prediction) -> None:
    if sampler == "euler-ancestral" and kind == "clean":
        pytest.skip("diffusers has none")
    scheduler = getattr(diffusers, name)(
        beta_start=1e-4, beta_end=2e-2, beta_schedule="linear", prediction_type=KINDS[kind], timestep_spacing=spacing
    )
    scheduler.set_timesteps(12)
    options = {"generator": torch.Generator().manual_seed(5)} if sampler == "euler-ancestral" else {}
    expected = reference_exploding(scheduler, beginning(), **options)
    levels = Process("linear").levels(12, spacing=spacing)
    steps = samplers.SAMPLERS[sampler](samplers.denoiser(NETWORK, kind), beginning(), levels, noise_from(5))
    torch.testing.assert_close(samplers.sample(steps), expected, atol=5e-4, rtol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [1, 2, 9, 20])
def test_dpmpp_2m(kind: Prediction, number: int) -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(prediction_type=KINDS[kind], algorithm_type="dpmsolver++", solver_order=2)
    scheduler.set_timesteps(number)
    expected = reference_discrete(scheduler, beginning())
    steps = samplers.dpmpp_2m(samplers.denoiser(NETWORK, kind), beginning(), levels_of(scheduler, Process("linear")))
    torch.testing.assert_close(samplers.sample(steps), expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("stochastic", [False, True])
def test_euler_and_consistency_on_a_flow(shift: float, stochastic: bool) -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift, stochastic_sampling=stochastic)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 10, 10).tolist())
    expected, generator = beginning(), torch.Generator().manual_seed(5)
    for step in scheduler.timesteps:
        expected = scheduler.step(NETWORK(expected, step / TABLE), step, expected, generator=generator).prev_sample
    levels = Process("flow", shift=shift).levels(10)
    assert [level.sigma for level in levels] == pytest.approx(scheduler.sigmas.tolist(), abs=1e-6)
    sampler = samplers.consistency if stochastic else samplers.euler
    steps = sampler(samplers.denoiser(NETWORK, "flow"), beginning(), levels, noise_from(5))
    torch.testing.assert_close(samplers.sample(steps), expected, atol=2e-4, rtol=2e-4)


def test_heun_on_a_flow() -> None:
    scheduler = diffusers.FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(8)
    expected = beginning()
    for step in scheduler.timesteps:
        expected = scheduler.step(NETWORK(expected, step / TABLE), step, expected).prev_sample
    steps = samplers.heun(samplers.denoiser(NETWORK, "flow"), beginning(), Process("flow").levels(8, spacing="linspace"))
    torch.testing.assert_close(samplers.sample(steps), expected, atol=2e-4, rtol=2e-4)


def test_dpmpp_2m_on_a_flow() -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    scheduler.set_timesteps(12)
    expected, levels = beginning(), [*(Process("flow").at(float(sigma)) for sigma in scheduler.sigmas[:-1]), CLEAN]
    for number, step in enumerate(scheduler.timesteps):
        expected = scheduler.step(NETWORK(expected, levels[number].time), step, expected).prev_sample
    steps = samplers.dpmpp_2m(samplers.denoiser(NETWORK, "flow"), beginning(), levels)
    torch.testing.assert_close(samplers.sample(steps), expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("schedule", BETAS)
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace", "karras"])
@pytest.mark.parametrize("number", [1, 7, 50])
def test_spacing(schedule: Any, spacing: Any, number: int) -> None:
    if number == 1 and spacing == "karras":
        pytest.skip("diffusers divides by zero")
    ends = {"beta_start": 0.00085, "beta_end": 0.012} if schedule == "scaled_linear" else {}
    choice = {"use_karras_sigmas": True} if spacing == "karras" else {"timestep_spacing": spacing}
    scheduler = diffusers.EulerDiscreteScheduler(beta_schedule=BETAS[schedule], **choice, **ends)
    scheduler.set_timesteps(number)
    levels = Process(schedule).levels(number, spacing=spacing)
    if not (spacing == "linspace" and number == 1):  # numpy's linspace of one point takes the low end
        assert [level.time * TABLE for level in levels[:-1]] == pytest.approx(scheduler.timesteps.tolist(), abs=0.6)
        ratios = [level.sigma / level.alpha for level in levels]
        assert ratios == pytest.approx(scheduler.sigmas.tolist(), rel=2e-2 if spacing == "karras" else 1e-3)
