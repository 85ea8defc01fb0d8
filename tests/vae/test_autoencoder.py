"""The convolutional autoencoder: shapes of every kind, whitening, the codebook, files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from miaobi.core.errors import ArtifactError

torch = pytest.importorskip("torch")

from miaobi.models.common import autoencoder as module  # noqa: E402
from miaobi.models.common.autoencoder import Autoencoder, AutoencoderConfig, Codebook, Kind, Whitening, expectation  # noqa: E402


def tiny(**more: object) -> Autoencoder:
    torch.manual_seed(0)
    values: dict[str, object] = {"size": 16, "channels": 3, "patch": 2, "widths": (8, 12), "latent": 4, "codes": 16, "refine": 4}
    return Autoencoder(AutoencoderConfig(**(values | more)))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["kl", "vq", "plain"])
@pytest.mark.parametrize("vector", [False, True])
def test_shapes(kind: Kind, vector: bool) -> None:
    network = tiny(kind=kind, vector=vector, classes=3, outputs=6, reading="normal").eval()
    pictures, labels = torch.rand(5, 3, 16, 16) * 2 - 1, torch.tensor([0, 1, 2, 0, 1])
    mean, logvar = network.encode(pictures, labels)
    assert mean.shape == logvar.shape == (5, *network.latent_shape) == (5, 4, *(2 * [1 if vector else 4]))
    decoded = network.decode(mean, labels)
    assert decoded.shape == pictures.shape
    assert decoded.abs().max() <= 1
    assert network(pictures, labels)[0].shape == (5, 6, 16, 16)


@pytest.mark.parametrize("kind", ["kl", "vq", "plain"])
def test_latents_are_white_after_some_batches(kind: Kind) -> None:
    network = tiny(kind=kind)
    batches = [torch.rand(8, 3, 16, 16) * 2 - 1 for _ in range(100)]
    for batch in batches:
        network(batch)
    network.eval()
    latents = torch.cat([network.encode(batch)[0] for batch in batches])
    assert latents.mean((0, 2, 3)).abs().max() < 0.1
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 0.1
    if kind != "vq":  # a codebook moves latents to its codes
        raw, _ = network.posterior(batches[0])
        assert torch.allclose(network.whitening.undo(network.encode(batches[0])[0]), raw, atol=1e-4)
        assert torch.allclose(network.decode(network.encode(batches[0])[0]), network.pictures(network.decoder(raw)), atol=1e-4)


def test_whitening_follows_the_latents() -> None:
    whitening = Whitening(2)
    for seed in range(200):
        noise = torch.randn(16, 2, 4, 4, generator=torch.Generator().manual_seed(seed))
        whitening.watch(noise * torch.tensor([3.0, 0.5]).view(2, 1, 1) + torch.tensor([1.0, -2.0]).view(2, 1, 1))
    assert whitening.mean.tolist() == pytest.approx([1, -2], abs=0.1)
    assert whitening.deviation.tolist() == pytest.approx([3, 0.5], rel=0.05)


def test_codes_go_to_the_clusters_and_gradients_straight_through() -> None:
    torch.manual_seed(0)
    centres = torch.tensor([[-5.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    book = Codebook(8, 2, decay=0.8)
    for _ in range(60):
        latents = centres[torch.randint(3, (64,))] + 0.1 * torch.randn(64, 2)
        book(latents.view(64, 2, 1, 1))
    distances = torch.cdist(centres, book.codes).min(1).values
    assert distances.max() < 0.3
    latents = torch.randn(3, 2, 2, 2, requires_grad=True)
    quantised, indices = book(latents)
    assert torch.allclose(quantised, book.embed(indices), atol=1e-6)
    quantised.sum().backward()
    assert torch.equal(latents.grad, torch.ones_like(latents))
    nearest = torch.cdist(latents.detach().movedim(1, -1).reshape(-1, 2), book.eval().codes).argmin(1)
    assert torch.equal(book.nearest(latents).flatten(), nearest)


def test_dead_codes_come_back() -> None:
    torch.manual_seed(0)
    book = Codebook(32, 4, decay=0.9)
    book.codes += 100  # nothing is near any of them but one
    for _ in range(100):
        book(torch.randn(64, 4, 2, 2))
    used = book.nearest(torch.randn(256, 4, 2, 2)).unique()
    assert len(used) > 24


def test_a_codebook_rests_in_evaluation() -> None:
    book = Codebook(8, 2).eval()
    before = book.codes.clone()
    book(torch.randn(4, 2, 3, 3))
    assert torch.equal(book.codes, before)


@pytest.mark.parametrize("kind", ["kl", "vq", "plain"])
def test_saved_and_loaded_it_is_the_same(kind: Kind, tmp_path: Path) -> None:
    network = tiny(kind=kind)
    network(torch.rand(4, 3, 16, 16))
    network.eval()
    module.save(network, tmp_path, likelihood="none")
    loaded = module.load(tmp_path)
    assert loaded.config == network.config
    pictures = torch.rand(2, 3, 16, 16)
    assert torch.equal(loaded.encode(pictures)[0], network.encode(pictures)[0])


def test_log_odds_become_grey() -> None:
    network = tiny(channels=1, reading="odds")
    assert torch.allclose(network.pictures(torch.tensor([[[[0.0, math.log(3)]]]])), torch.tensor([0.0, 0.5]))


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize(("middle", "log_scale"), [(0.2, -2.0), (0.9, 0.0), (-4.0, 2.0), (30.0, 1.0), (0.5, -7.0)])
def test_an_expectation_counts_what_lies_beyond_the_ends(middle: float, log_scale: float, logistic: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    share = torch.rand(200_000, generator=generator, dtype=torch.float64)
    drawn = torch.logit(share) if logistic else torch.special.ndtri(share)
    expected = (middle + math.exp(log_scale) * drawn).clamp(-1, 1).mean().item()
    found = expectation(torch.tensor(middle), torch.tensor(log_scale), logistic=logistic).item()
    assert found == pytest.approx(expected, abs=0.01)


def test_damaged_folders_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"config\.json"):
        module.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ArtifactError, match="no autoencoder"):
        module.load(tmp_path)
    module.save(tiny(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ArtifactError, match="cannot be read"):
        module.load(tmp_path)
