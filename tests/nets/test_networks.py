"""The denoising networks: equal to diffusers where it has the same, conditions that act and can be left out, weights that follow a seed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from miaobi.core.recipe import Optimizer
from miaobi.engine.optim import make_optimizer, tables_of
from miaobi.models.common.dit import DiT
from miaobi.models.common.picture_config import DiTConfig, UNetConfig
from miaobi.models.common.unet import UNet, from_diffusers

CONFIGS = {
    "unet": UNetConfig(channels=4, widths=(16, 32), blocks=1, attention=(1,), groups=8, head_width=8, vector_width=5, token_width=12),
    "dit, cross": DiTConfig(channels=4, width=32, heads=4, layers=2, vector_width=5, token_width=12),
    "dit, prefix": DiTConfig(channels=4, width=32, heads=4, layers=2, vector_width=5, token_width=12, tokens="prefix"),
}
TIME = torch.tensor([0.25, 0.75])


def make(config: UNetConfig | DiTConfig, *, spread: float = 0.0) -> UNet | DiT:
    """A network whose weights follow a seed; `spread` moves all of them, so that nothing is silent."""
    network = UNet(config) if isinstance(config, UNetConfig) else DiT(config)
    generator = torch.Generator().manual_seed(7)
    network.initialise(generator)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=spread)
    return network.eval()


def conditions() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    return {"vector": torch.randn(2, 5, generator=generator), "tokens": torch.randn(2, 3, 12, generator=generator), "mask": mask}


def pictures() -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_the_unet_is_that_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    reference = diffusers.UNet2DModel(
        in_channels=3,
        out_channels=3,
        layers_per_block=2,
        block_out_channels=(16, 32, 32),
        norm_num_groups=8,
        attn_norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        resnet_time_scale_shift="scale_shift",
    ).eval()
    network = UNet(UNetConfig(channels=3, widths=(16, 32, 32), blocks=2, attention=(2,), groups=8, head_width=8)).eval()
    network.load_state_dict(from_diffusers(reference.state_dict()))
    x = torch.randn(2, 3, 16, 8)
    torch.testing.assert_close(network(x, TIME), reference(x, 1000 * TIME).sample, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_a_new_network_predicts_zero_and_its_weights_follow_the_seed(name: str) -> None:
    network, same = make(CONFIGS[name]), make(CONFIGS[name])
    assert network(pictures(), TIME, **conditions()).abs().max() == 0
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), same.parameters(), strict=True))


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_every_condition_acts_and_masked_tokens_do_not(name: str) -> None:
    network, x, given = make(CONFIGS[name], spread=0.05), pictures(), conditions()
    full = network(x, TIME, **given)
    assert full.shape == x.shape
    assert (full - network(x, TIME.flip(0), **given)).abs().amax() > 1e-3
    assert (full - network(x, TIME, **(given | {"vector": None}))).abs().amax() > 1e-3
    without = network(x, TIME, vector=given["vector"])
    assert (full[0] - without[0]).abs().amax() > 1e-3
    torch.testing.assert_close(full[1], without[1], atol=1e-5, rtol=1e-5)  # all tokens masked: as if there were none
    hidden = given["tokens"].clone()
    hidden[0, 2] = 9.0  # behind the mask
    torch.testing.assert_close(network(x, TIME, **(given | {"tokens": hidden})), full, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_a_picture_does_not_depend_on_its_batch_and_may_have_another_size(name: str) -> None:
    network, given = make(CONFIGS[name], spread=0.05), conditions()
    whole = network(pictures(), TIME, **given)
    alone = network(pictures()[:1], TIME[:1], **{key: value[:1] for key, value in given.items()})
    torch.testing.assert_close(whole[:1], alone, atol=1e-5, rtol=1e-5)
    assert network(torch.randn(2, 4, 4, 12), TIME, **given).shape == (2, 4, 4, 12)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_loss_falls_in_full_and_in_half_precision(name: str, optimizer: str) -> None:
    network, given = make(CONFIGS[name]).train(), conditions()
    edges = {id(parameter) for parameter in network.edges()}
    assert edges <= {id(parameter) for parameter in tables_of(network)}
    steps = make_optimizer(network.parameters(), Optimizer(name=optimizer, lr=0.005), tables=tables_of(network))
    wanted, losses = pictures().flip(0), []
    for step in range(12):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=step >= 6):
            loss = (network(pictures(), TIME, **given).float() - wanted).square().mean()
        steps.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        steps.step()
        losses.append(loss.item())
    assert losses[5] < losses[0]
    assert losses[-1] < losses[5]


def test_positions_matter_to_the_transformer() -> None:
    network, x = make(CONFIGS["dit, cross"], spread=0.05), pictures()
    with torch.no_grad():
        moved = network(x.roll(2, dims=3), TIME).roll(-2, dims=3)
        assert (network(x, TIME) - moved).abs().amax() > 1e-3
