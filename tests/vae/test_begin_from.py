"""A codec that exists gets another decoder, and its latents mean what they meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from miaobi.core.errors import UsageError
from miaobi.core.types import Record

torch = pytest.importorskip("torch")

from miaobi.engine.adapt import freeze  # noqa: E402
from miaobi.models.vae.model import VAE  # noqa: E402


def test_only_the_decoder_learns_from_noisier_latents(plain: Any, records: list[Record], tmp_path: Path) -> None:
    plain.save(tmp_path)
    model = VAE.begin_from(tmp_path, {"noise": 0.5}, records, seed=2)
    assert model.network.autoencoder.config.noise == 0.5
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    assert all(torch.equal(before[name], tensor) for name, tensor in plain.network.state_dict().items())
    freeze(model.network, ["autoencoder.decoder"])
    model.network.train()
    optimizer = torch.optim.SGD([one for one in model.trainable("main") if one.requires_grad], lr=1e-3)
    model.loss(model.codec.collate(records), "main").total.backward()
    optimizer.step()
    moved = {name for name, tensor in model.network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[1] for name in moved} == {"decoder"}, "neither the encoder nor the statistics of the latents"


def test_a_codebook_keeps_its_prior(quantised: Any, records: list[Record], tmp_path: Path) -> None:
    quantised.save(tmp_path)
    model = VAE.begin_from(tmp_path, {}, records)
    assert all(torch.equal(model.network.state_dict()[name], tensor) for name, tensor in quantised.network.state_dict().items())


def test_another_network_is_no_base(plain: Any, records: list[Record], tmp_path: Path) -> None:
    plain.save(tmp_path)
    with pytest.raises(UsageError, match="another network"):
        VAE.begin_from(tmp_path, {"latent": 8}, records)
