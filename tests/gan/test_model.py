"""The two networks: shapes of every architecture, the game on two classes, phases in the engine, files and refusals."""

from __future__ import annotations

import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.recipe import Recipe
from miaobi.core.schema import validate
from miaobi.core.types import Media, Modality, Record, Request
from miaobi.data.pictures import decode, encode
from miaobi.engine.generate import collect
from miaobi.engine.journal import TrainEvent
from miaobi.models.gan.runtime import GANRuntime
from miaobi.models.gan.schema import Config

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from miaobi.engine.train import train  # noqa: E402
from miaobi.models.gan.model import GAN, Network  # noqa: E402

TINY = {"size": 8, "channels": 1, "widths": [8, 16], "latent": 8, "gamma": 0.2, "conditional": True}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "residual": {},
    "patches": {"patch": 2},
    "dcgan": {"architecture": "dcgan", "widths": [8, 16]},
    "dense": {"architecture": "dense", "widths": [32, 16], "loss": "logistic", "gamma": 0},
}


def side(number: int) -> np.ndarray:
    """Eight by eight: white on the left in the even pictures and on the right in the odd ones, brighter or darker."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., 3] = 255
    half = slice(0, 4) if number % 2 == 0 else slice(4, 8)
    pixels[:, half, :3] = 255 - 20 * (number // 2 % 4)
    return pixels


RECORDS = [
    Record(
        id=str(number),
        parts=(Media(modality=Modality.IMAGE, mime="image/png", data=encode(side(number))),),
        meta={"class": ["left", "right"][number % 2]},
    )
    for number in range(16)
]


def play(model: GAN, steps: int) -> None:
    """So many steps of both players."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    batch = model.codec.collate(RECORDS)
    optimizers = {phase: torch.optim.Adam(model.trainable(phase), lr=4e-3, betas=(0.0, 0.99)) for phase in model.phases}
    model.network.train()
    for _ in range(steps):
        for phase, optimizer in optimizers.items():
            loss = model.loss(batch, phase)
            optimizer.zero_grad()
            (loss.total / loss.count).backward()
            optimizer.step()
    model.network.eval()


@pytest.fixture(scope="module")
def played() -> GAN:
    model = GAN.create(TINY, RECORDS, seed=1)
    play(model, 90)
    return model


def picture(content: Any) -> np.ndarray:
    (part,) = content.parts
    return decode(part.data)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_makes_and_judges(name: str) -> None:
    config = validate(Config, {**TINY, "channels": 3, **ARCHITECTURES[name]}, "config")
    network = Network(config, 2)
    labels = torch.tensor([0, 1, 0, 1, 1])
    made = network.generator(torch.randn(5, 8), labels)
    assert made.shape == (5, 3, 8, 8)
    assert network.discriminator(made, labels).shape == (5,)
    assert network.discriminator(made, 1 - labels).tolist() != network.discriminator(made, labels).tolist(), "the class matters"


def test_residual_networks_begin_tame() -> None:
    """No normalisation holds them, so the first weights must: features neither vanish nor explode with depth."""
    for blocks in (1, 4):
        torch.manual_seed(0)
        network = Network(validate(Config, {**TINY, "size": 32, "widths": [8, 16, 32], "blocks": blocks}, "config"), 2)
        made = network.generator(torch.randn(64, 8), torch.zeros(64, dtype=torch.long))
        assert 0.1 < made.std().item() < 5


def test_each_player_moves_alone(played: GAN) -> None:
    batch = played.codec.collate(RECORDS)
    parts = {"discriminator": played.network.discriminator, "generator": played.network.generator}
    for phase, other in (("discriminator", "generator"), ("generator", "discriminator")):
        for parameter in played.network.parameters():
            parameter.grad = None
        played.loss(batch, phase).total.backward()
        assert all(parameter.grad is not None for parameter in parts[phase].parameters())
        assert all(parameter.grad is None for parameter in parts[other].parameters())
        assert list(played.trainable(phase)) == list(parts[phase].parameters())


def test_it_learns_what_each_class_looks_like(played: GAN) -> None:
    for name, half in (("left", slice(0, 4)), ("right", slice(4, 8))):
        contents = collect(played, Request.of(name, seed=2, n=8))
        grey = np.mean([picture(content)[..., 0] for content in contents], axis=0)
        other = np.delete(grey, np.r_[half], axis=1)
        assert grey[:, half].mean() > other.mean() + 80
        assert all(content.label.notes == {"class": name} for content in contents)


def test_a_collapse_is_said(played: GAN) -> None:
    played.network.train()
    played.loss(played.codec.collate(RECORDS), "generator")
    played.network.eval()
    watch = played.network.watch
    assert watch.seen > 0
    kept = watch.recall.clone(), watch.diversity.clone()
    watch.recall.fill_(0.8)
    watch.diversity.fill_(0.95)
    assert not played.concerns()
    watch.recall.fill_(0.04)
    (text,) = played.concerns()
    assert "collapsed" in text
    assert "4%" in text
    watch.recall.copy_(kept[0])
    watch.diversity.copy_(kept[1])


def test_a_walk_and_contents_that_do_not_depend_on_n(played: GAN) -> None:
    (walk,) = collect(played, Request.of("left", walk=2, frames=5))
    assert Image.open(io.BytesIO(walk.parts[0].data)).format == "GIF"  # type: ignore[union-attr]
    many, few = (collect(played, Request.of(seed=9, n=count)) for count in (4, 2))
    assert all((picture(one) == picture(other)).all() for one, other in zip(many, few))


def test_exported_it_draws_the_same(played: GAN, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    played.save(tmp_path)
    errors = played.export(tmp_path, formats=["fp32", "int8"])
    assert errors["fp32"]["generator_error"] < 1e-4
    assert errors["int8"]["generator_error"] < 0.1
    asked = Request.of("right", seed=3, n=3)
    for ours, theirs in zip(collect(GANRuntime.load(tmp_path), asked), collect(played, asked), strict=True):
        assert np.abs(picture(ours).astype(int) - picture(theirs)).max() <= 1
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["watched"]["recall"] == pytest.approx(
        float(played.network.watch.recall), abs=1e-3
    )


def recipe(**section: Any) -> Recipe:
    values = {"steps": 6, "batch": 8, "micro": 4, "log_every": 1, "precision": "fp32", "checkpoint_every": 3, "clip": 0.0, "ema": 0.9}
    return Recipe.of({"name": "try", "model": {"family": "gan", "config": TINY}, "train": values | section})


def test_the_engine_plays_both_phases_and_resumes_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miaobi.models.gan.model.LEAST_RECALL", 2.0)  # nobody reaches that, so the end has a warning
    asked = recipe(phases={"discriminator": {"lr": 1e-3, "betas": [0.0, 0.9]}})
    told: list[TrainEvent] = []
    train(asked, {"train": RECORDS, "val": RECORDS[:4]}, tmp_path / "whole", threads=1, on_event=told.append)
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [row for row in rows if row["kind"] == "step"]
    assert len(steps) == 6
    assert {"discriminator/loss", "discriminator/r1", "discriminator/r2", "generator/loss", "generator/recall"} <= steps[0].keys()
    assert [event.kind for event in told][-2:] == ["warning", "done"]
    assert "(recall)" in told[-2].values["text"]

    def cut(event: TrainEvent) -> None:
        if event.kind == "step" and event.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(asked, {"train": RECORDS}, tmp_path / "cut", threads=1, on_event=cut)
    train(asked, {"train": RECORDS}, tmp_path / "cut", threads=1, resume=True)
    whole, resumed = (load_file(tmp_path / name / "artifact" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_an_interruption_inside_a_step_leaves_a_run_that_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the discriminator's parts, which move running means, and after its weights have moved."""
    asked = recipe(steps=3)
    asked.model.config["architecture"] = "dcgan"
    train(asked, {"train": RECORDS}, tmp_path / "whole", threads=1)
    whole = load_file(tmp_path / "whole" / "artifact" / "model.safetensors")
    original = GAN.loss
    for name, last, steps in (("parts", 5, 1), ("phases", 6, 2)):  # two parts of two phases: four calls a step
        calls = 0

        def loss(self: GAN, batch: Any, phase: str, /, last: int = last) -> Any:
            nonlocal calls
            calls += 1
            if calls == last:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(self, batch, phase)

        monkeypatch.setattr(GAN, "loss", loss)
        assert train(asked, {"train": RECORDS}, tmp_path / name, threads=1).steps == steps
        monkeypatch.undo()
        train(asked, {"train": RECORDS}, tmp_path / name, threads=1, resume=True)
        resumed = load_file(tmp_path / name / "artifact" / "model.safetensors")
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.parametrize("preset", ["residual", "dcgan", "dense"])
def test_every_preset_of_the_recipe_plays_and_draws(preset: str, tmp_path: Path) -> None:
    changes = ["train.steps=3", "train.batch=4", "train.evaluate_every=3", "train.checkpoint_every=3", "train.sample_every=0"]
    asked = Recipe.load(Path(__file__).parents[2] / "recipes" / "gan.yaml", preset=preset, overrides=changes)
    assert asked.model.config["architecture"] == preset
    train(asked, {"train": RECORDS, "val": RECORDS[:4]}, tmp_path / "run", threads=1)
    first, other = collect(GAN.load(tmp_path / "run" / "artifact"), Request.of("left", n=2))
    assert picture(first).shape == (28, 28, 4)
    assert (picture(first) != picture(other)).any()


def test_phases_have_their_own_learning_rates_and_noise(tmp_path: Path) -> None:
    """With a rate of next to nothing the discriminator stays; the noise of its phase is not that of the generator's."""
    train(recipe(phases={"discriminator": {"lr": 1e-12}}, ema=0.0), {"train": RECORDS}, tmp_path / "run", threads=1)
    new = GAN.create(TINY, RECORDS, seed=0).network.state_dict()
    learned = load_file(tmp_path / "run" / "artifact" / "model.safetensors")
    moved = {part: max(float((new[name] - learned[name]).abs().max()) for name in new if name.startswith(part)) for part in GAN.phases}
    assert moved["discriminator"] < 1e-6 < 1e-5 < moved["generator"]


def test_an_unknown_phase_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown phase 'generater'\. Did you mean 'generator'"):
        train(recipe(phases={"generater": {"lr": 1e-4}}), {"train": RECORDS}, tmp_path / "run", threads=1)
    with pytest.raises(UsageError, match="lr"):
        recipe(phases={"generator": {"lr": -1.0}})
    with pytest.raises(UsageError, match="cannot have another"):
        recipe(phases={"generator": {"name": "sgd"}})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"size": 30, "widths": [8, 8, 8]}, "multiple of 4"),
        ({"architecture": "dcgan", "size": 28, "widths": [8, 8, 8]}, "multiple of 8"),
        ({"architecture": "dense", "patch": 2}, "only the residual"),
        ({"widths": [8, 0]}, "every width"),
    ],
)
def test_configurations_that_make_no_sense(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        validate(Config, config, "model.config")


def test_what_cannot_be_asked_or_read(played: GAN, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown class 'lefts'\. Did you mean 'left'"):
        collect(played, Request.of("lefts"))
    played.save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ArtifactError, match="cannot be read"):
        GAN.load(tmp_path)
