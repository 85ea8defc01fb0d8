"""Every kind of network, noise and condition learns; latents, upscalers and few-step students; what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.diffusion.conftest import TINY, drawing, learn, media, sealed

from miaobi.core.errors import ArtifactError, DataError, UsageError
from miaobi.core.types import Media, Record, Request
from miaobi.data.pictures import decode
from miaobi.engine.generate import collect

torch = pytest.importorskip("torch")

UNET = {"size": 8, "backbone": "unet", "widths": [16, 32], "blocks": 1, "attention": [1], "channels": 1}


def create(config: dict[str, Any], records: list[Record], seed: int = 1) -> Any:
    from miaobi.models.diffusion.model import Diffusion

    torch.set_num_threads(1)
    return Diffusion.create(config, records, seed=seed)


def seen(model: Any, *parts: Any, **options: Any) -> np.ndarray[Any, Any]:
    (content,) = collect(model, Request.of(tuple(parts), seed=1, **options))
    part = content.parts[0]
    assert isinstance(part, Media)
    return decode(part.data).astype(float)


@pytest.mark.parametrize(
    "config",
    [
        UNET | {"conditions": ["class"]},
        UNET | {"predict": "noise", "schedule": "linear", "weighting": "min-snr"},
        TINY | {"predict": "velocity", "schedule": "cosine", "times": "log-normal"},
        TINY | {"predict": "clean", "patch": 4},
        TINY | {"conditions": ["text", "class", "style"], "text_tokens": 2, "times": "logit-normal", "dropout": 0.05},
        UNET | {"conditions": ["text"], "text_tokens": 2, "text_width": 32},
    ],
    ids=["unet-class", "unet-noise", "dit-velocity", "dit-clean", "dit-everything", "unet-tokens"],
)
def test_every_kind_learns_and_draws(config: dict[str, Any], records: list[Record]) -> None:
    model = create(config, records)
    losses = learn(model, records, 40)
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:3])
    prompt = "bar" if "class" in config.get("conditions", ()) or "text" in config.get("conditions", ()) else ""
    assert seen(model, prompt, steps=3).shape == (8, 8, 4)


def test_the_validation_loss_is_a_number_and_not_a_draw(learned: Any, records: list[Record]) -> None:
    learned.network.eval()
    with torch.no_grad():
        torch.manual_seed(1)
        first = learned.loss(learned.codec.collate(records), "main")
        torch.manual_seed(2)
        second = learned.loss(learned.codec.collate(records), "main")
        halves = [learned.loss(learned.codec.collate(part), "main") for part in (records[:4], records[4:])]
    assert first.total.item() == second.total.item()
    assert sum(half.total.item() for half in halves) == pytest.approx(first.total.item(), rel=1e-4)
    assert sum(half.count for half in halves) == first.count == 8


def test_what_it_is_told_lowers_the_loss(learned: Any, records: list[Record]) -> None:
    learned.network.eval()
    batch = dict(learned.codec.collate(records))
    with torch.no_grad():
        told = learned.loss(batch, "main").total.item()
        wrong = learned.loss(batch | {"rows": batch["rows"].flip(0)}, "main").total.item()
        hidden = learned.loss(batch | {"told": torch.zeros(8, dtype=torch.bool), "style": batch["style"] * 0}, "main").total.item()
    assert told < 0.7 * hidden
    assert hidden < wrong


@pytest.fixture(scope="module")
def codec_folder(records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain autoencoder of the drawings: 2 by 2 by 8 latents."""
    from miaobi.core.artifact import new_folder, seal
    from miaobi.models.vae.model import VAE

    torch.set_num_threads(1)
    torch.manual_seed(0)
    values = {"size": 8, "channels": 4, "patch": 2, "widths": [16, 16], "latent": 8, "kind": "plain", "likelihood": "none", "refine": 0}
    model = VAE.create(values, records, seed=1)
    optimizer = torch.optim.Adam(model.trainable("main"), lr=5e-3)
    model.network.train()
    for _ in range(250):
        loss = model.loss(model.codec.collate(records), "main")
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    model.network.eval()
    folder = tmp_path_factory.mktemp("codec") / "codec"
    with new_folder(folder) as making:
        model.save(making)
        seal(making, family="vae", name="codec")
    return folder


def test_latents(records: list[Record], codec_folder: Path, tmp_path: Path) -> None:
    """A latent model draws in its codec's latents, takes it along, and no longer needs its folder."""
    config = TINY | {"codec": str(codec_folder), "patch": 1, "conditions": ["class"], "stored": "fp16"}
    model = create(config, records)
    assert model.shape == (8, 2, 2)
    before = {name: tensor.clone() for name, tensor in model.network.autoencoder.state_dict().items()}
    losses = learn(model, records, 150)
    assert np.mean(losses[-10:]) < 0.6 * losses[0]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.network.autoencoder.state_dict().items())
    assert "latents" in model.codec.collate(records, rng=np.random.default_rng(0)), "they are computed once"
    folder = sealed(model, tmp_path / "latent")
    assert str(codec_folder) not in (folder / "config.json").read_text(encoding="utf-8")
    loaded = type(model).load(folder)
    again = seen(loaded, "square", steps=4)
    assert np.abs(again - seen(model, "square", steps=4)).max() <= 4  # stored in 16 bits
    start = media(drawing("bar", (220, 40, 40), True))
    assert (
        np.abs(seen(loaded, "bar", start, steps=10, strength=0.1, background="transparent") - drawing("bar", (220, 40, 40), True)).mean()
        < 40
    )


def test_a_codec_of_other_pictures_is_refused(records: list[Record], codec_folder: Path) -> None:
    with pytest.raises(UsageError, match="4 channels of 8 pixels, and the model is to draw 3 of 16"):
        create(TINY | {"codec": str(codec_folder), "channels": 3, "size": 16}, records)
    with pytest.raises(UsageError, match="2 cells a side, no multiple of 4"):
        create(TINY | {"codec": str(codec_folder), "patch": 4}, records)


def test_an_upscaler_follows_the_small_picture(records: list[Record]) -> None:
    model = create(UNET | {"channels": 3, "upscale": 2, "conditions": []}, records)
    learn(model, records, 120)
    large = drawing("square", (220, 40, 40), True)
    found = seen(model, media(large[::2, ::2]))
    other = seen(model, media(drawing("bar", (40, 60, 220), True)[::2, ::2]))
    expected = np.where(large[..., 3:] > 0, large[..., :3], 255)
    assert np.abs(found[..., :3] - expected).mean() < 0.5 * np.abs(other[..., :3] - expected).mean()
    asked = model.request_for(records[0])
    assert asked is not None
    assert asked.prompt == ""
    assert np.abs(seen(model, *asked.turns[0].parts) - found).max() <= 1, "evaluation asks with the picture made small"
    with pytest.raises(UsageError, match="makes a picture larger"):
        seen(model)


def test_a_painter_takes_an_upscaler_along(learned: Any, records: list[Record], tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from miaobi.core.artifact import open_artifact
    from miaobi.models.diffusion.bundle import attach
    from miaobi.models.diffusion.runtime import DiffusionRuntime

    wide = create({"size": 16, "backbone": "unet", "widths": [8, 8], "blocks": 1, "attention": [1], "channels": 4, "upscale": 2}, records)
    painter, upscaler = sealed(learned, tmp_path / "painter"), sealed(wide, tmp_path / "upscaler")
    with pytest.raises(UsageError, match="upscaler is no plain upscaler of the pictures of upscaler"):
        attach(upscaler, upscaler)
    attach(painter, upscaler)
    assert "upscaler/model.safetensors" in open_artifact(painter, verify=True).files
    model = type(learned).load(painter)
    model.export(painter, formats=["fp32"])
    runtime = DiffusionRuntime.load(painter)
    for asked in ({}, {"size": 8}, {"size": 16}):
        size = asked.get("size", 8)
        first, second = (seen(who, "red bar", steps=2, **asked) for who in (model, runtime))
        assert first.shape == (size, size, 4)
        assert np.abs(first - second).max() <= 2
    with pytest.raises(UsageError, match="makes pictures of 8, 16 pixels, not of 12"):
        seen(model, size=12)
    copied = tmp_path / "copied"
    copied.mkdir()
    model.save(copied)
    assert type(learned).load(copied).upscaler is not None

    with pytest.raises(ArtifactError, match="has no onnx/denoiser"):
        attach(painter, upscaler, weights=False)
    wide.export(upscaler, formats=["int8"])
    attach(painter, upscaler, weights=False)
    assert not {"upscaler/model.safetensors", "upscaler/README.md"} & set(open_artifact(painter, verify=True).files)
    assert type(learned).load(painter).upscaler is None
    assert seen(DiffusionRuntime.load(painter), "red bar", steps=2, size=16).shape == (16, 16, 4)


def test_a_student_needs_fewer_steps(learned: Any, records: list[Record], tmp_path: Path) -> None:
    """Told nothing, the teacher's one step is the mean of all pictures; the student's is nearly the picture that many steps make."""
    folder = sealed(learned, tmp_path / "teacher")
    model = create({"distill": str(folder), "distill_guidance": 1.0, "distill_pairs": 64}, records)
    assert model.config.width == TINY["width"]
    model.codec.dropout = 0.9  # mostly told nothing
    learn(model, records, 120, lr=3e-3)
    student = type(model).load(sealed(model, tmp_path / "student"))
    assert student.config.distill

    def drawn(who: Any, steps: int) -> np.ndarray[Any, Any]:
        contents = collect(who, Request.of("", seed=1, n=16, steps=steps, guidance=1.0))
        return np.stack([decode(part.data).astype(float) for content in contents for part in content.parts if isinstance(part, Media)])

    many = drawn(learned, 24)
    one, few = (np.abs(pictures - many).mean() for pictures in (drawn(learned, 1), drawn(student, 1)))
    assert few < 0.7 * one
    (content,) = collect(student, Request.of("red square"))
    assert content.label.notes["steps"] == 4
    with pytest.raises(UsageError, match="of its teacher's shape; leave out of its config: width"):
        create({"distill": str(folder), "width": 64}, records)


def test_the_graphs_draw_the_same(records: list[Record], codec_folder: Path, learned: Any, tmp_path: Path) -> None:
    """Latents, tokens and an upscaler's second picture through the light runtime."""
    pytest.importorskip("onnx")
    from miaobi.models.diffusion.runtime import DiffusionRuntime

    latent = create(TINY | {"codec": str(codec_folder), "patch": 1, "conditions": ["text", "class"], "text_tokens": 2}, records)
    large = create(UNET | {"channels": 3, "upscale": 2}, records)
    for number, (model, parts) in enumerate([(latent, ("红色方块",)), (large, (media(drawing("bar", (9, 9, 9), True)[::2, ::2]),))]):
        learn(model, records, 10)
        folder = tmp_path / str(number)
        folder.mkdir()
        model.save(folder)
        errors = model.export(folder, formats=["fp32", "int8"])
        assert errors["fp32"]["denoiser_error"] < 1e-4
        assert errors["int8"]["denoiser_error"] < 0.15
        for path in (folder / "onnx").glob("*_int8.onnx"):
            path.unlink()
        runtime = DiffusionRuntime.load(folder)
        assert np.abs(seen(runtime, *parts, steps=3) - seen(model, *parts, steps=3)).max() <= 2
    with pytest.raises(UsageError, match="unknown format 'fp8'"):
        latent.export(tmp_path / "0", formats=["fp8"])


def test_records_without_what_steers_are_refused() -> None:
    bare = [Record(id="1", parts=(media(drawing("bar", (1, 2, 3), True)),), meta={})]
    with pytest.raises(DataError, match="no record has a caption"):
        create(TINY | {"conditions": ["text"]}, bare)
    with pytest.raises(DataError, match="no record has a style"):
        create(TINY | {"conditions": ["style"]}, bare)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"size": 9, "patch": 2}, "size 9 is not a multiple of patch 2"),
        ({"width": 100, "heads": 3}, "width 100 is not a multiple of 4 times heads, 12"),
        ({"size": 10, "backbone": "unet", "widths": [8, 8, 8]}, "cannot be halved 2 times"),
        ({"upscale": 2, "codec": "x"}, "works on pixels"),
        ({"widths": [6]}, "multiples of 4"),
    ],
)
def test_configurations_that_do_not_fit(config: dict[str, Any], message: str, records: list[Record]) -> None:
    with pytest.raises(UsageError, match=message):
        create(config, records)


def test_damaged_weights(learned: Any, tmp_path: Path) -> None:
    folder = sealed(learned, tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"no")
    with pytest.raises(ArtifactError, match="cannot be read"):
        type(learned).load(folder)
