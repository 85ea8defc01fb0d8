"""What an autoencoder gives: samples of a class, reconstructions, walks, codes with a prior; and what it refuses."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.schema import validate
from miaobi.core.types import Media, Record, Request, Verb
from miaobi.data.pictures import decode
from miaobi.engine.generate import collect
from miaobi.models.vae.draw import reconstruction_sheet
from miaobi.models.vae.runtime import VAERuntime
from miaobi.models.vae.schema import Config

torch = pytest.importorskip("torch")

from miaobi.models.common import autoencoder  # noqa: E402
from miaobi.models.vae.model import VAE  # noqa: E402


def media(content: Any) -> Media:
    (part,) = content.parts
    assert isinstance(part, Media)
    return part


def picture(content: Any) -> np.ndarray:
    return decode(media(content).data)


def looks(pixels: np.ndarray) -> str:
    """Which class a picture is of: the bar lies where rows differ from each other more than columns."""
    grey = pixels[..., 0].astype(float)
    return "lying" if grey.mean(1).std() > grey.mean(0).std() else "standing"


@pytest.mark.parametrize("kind", ["normal", "quantised"])
def test_samples_are_of_the_class_that_the_prompt_names(kind: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    for name in ("lying", "standing"):
        contents = collect(model, Request.of(name, seed=3, n=12))
        right = sum(looks(picture(content)) == name for content in contents)
        assert right >= 10
        assert all(content.label.notes == {"class": name} for content in contents)
        assert len({picture(content).tobytes() for content in contents}) > 3, "they differ"


@pytest.mark.parametrize("kind", ["normal", "quantised", "plain"])
def test_a_picture_comes_back(kind: str, records: list[Record], request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    originals = [decode(record.parts[0].data) for record in records]  # type: ignore[union-attr]
    found = model.reconstruct(originals)
    assert np.mean([np.abs(a[..., 0].astype(int) - b[..., 0]).mean() for a, b in zip(found, originals)]) < 25
    assert reconstruction_sheet(model, originals, columns=6).shape[0] > 8 * 8


def test_a_picture_beside_its_reconstruction(normal: Any, records: list[Record]) -> None:
    asked = Request.of(("lying", records[0].parts[0]), compare=True)
    (both,) = collect(normal, asked)
    assert picture(both).shape[1] > 2 * 8
    (plain,) = collect(normal, Request.of(("lying", records[0].parts[0])))
    assert picture(plain).shape == (8, 8, 4)
    assert (picture(both)[1:9, 1:9] == decode(records[0].parts[0].data)).all()  # type: ignore[union-attr]


def test_variation_leaves_the_picture(normal: Any, records: list[Record]) -> None:
    still, near = (collect(normal, Request.of(("lying", records[0].parts[0]), variation=share, n=2)) for share in (0.0, 3.0))
    assert (picture(still[0]) == picture(still[1])).all()
    assert (picture(near[0]) != picture(near[1])).any()


def test_a_walk_is_an_animation_that_begins_and_ends_at_its_samples(normal: Any) -> None:
    (walk,) = collect(normal, Request.of("lying", seed=5, walk=3, frames=4))
    assert media(walk).mime == "image/gif"
    film = Image.open(io.BytesIO(media(walk).data))
    assert film.n_frames > 8, "there and back; frames that equal the one before are one"
    frames = []
    for number in range(film.n_frames // 2):
        film.seek(number)
        frames.append(np.asarray(film.convert("RGB")).astype(float))
    steps = [np.abs(a - b).mean() for a, b in itertools.pairwise(frames)]
    assert max(steps) < 100
    assert np.abs(frames[0] - frames[-1]).mean() > 0


def test_a_content_is_the_same_whatever_n_is(normal: Any) -> None:
    many, few = (collect(normal, Request.of(seed=9, n=count)) for count in (4, 2))
    assert all((picture(one) == picture(other)).all() for one, other in zip(many, few))
    assert (picture(many[0]) != picture(many[1])).any()


def test_a_quantised_model_and_its_runtime_live_on_disk(quantised: Any, tmp_path: Path, records: list[Record]) -> None:
    pytest.importorskip("onnx")
    quantised.save(tmp_path)
    errors = quantised.export(tmp_path, formats=["fp32", "int8"])
    assert errors["fp32"]["decoder_error"] < 1e-4
    assert errors["int8"]["decoder_error"] < 0.1
    runtime, loaded = VAERuntime.load(tmp_path), VAE.load(tmp_path)
    greedy = Request.of(("lying", records[0].parts[0]), n=1)
    for model in (runtime, loaded):
        assert np.abs(picture(collect(model, greedy)[0]).astype(int) - picture(collect(quantised, greedy)[0])).max() <= 2
    drawn = Request.of("standing", seed=4, n=3)
    assert [looks(picture(content)) for content in collect(runtime, drawn)] == ["standing"] * 3
    (tmp_path / "onnx" / "decoder.onnx").write_bytes(b"half")
    with pytest.raises(ArtifactError, match="cannot be read"):
        VAERuntime.load(tmp_path)


def test_the_codebook_is_used(quantised: Any, records: list[Record]) -> None:
    logs = quantised.loss(quantised.codec.collate(records), "main")
    assert logs.logs["perplexity"] / logs.count > 3


def test_a_latent_codec_is_read_from_an_artifact(plain: Any, records: list[Record], tmp_path: Path) -> None:
    plain.save(tmp_path)
    codec = autoencoder.load(tmp_path)
    pixels = plain.codec.collate(records)["pixels"]
    assert pixels.shape[1] == 4
    with torch.inference_mode():
        latents = codec.encode(pixels)[0]
        assert latents.shape == (len(records), *codec.latent_shape)
        assert (latents.std((0, 2, 3)) - 1).abs().max() < 0.35
        assert (codec.decode(latents) - pixels).abs().mean() < 0.2


def test_a_distance_is_no_likelihood(plain: Any, records: list[Record]) -> None:
    assert Verb.SCORE not in plain.card.verbs
    with pytest.raises(UsageError, match="no likelihoods"):
        next(iter(plain.score(records)))


def test_half_precision_halves_the_file(records: list[Record], tmp_path: Path) -> None:
    sizes = {}
    for stored in ("fp32", "fp16"):
        (tmp_path / stored).mkdir()
        model = VAE.create({"size": 8, "stored": stored}, records)
        model.save(tmp_path / stored)
        sizes[stored] = (tmp_path / stored / "model.safetensors").stat().st_size
        assert collect(VAE.load(tmp_path / stored), Request.of(seed=1))
    assert sizes["fp16"] < 0.55 * sizes["fp32"]


def test_what_cannot_be_asked(normal: Any, plain: Any) -> None:
    with pytest.raises(UsageError, match=r"unknown class 'lyin'\. Did you mean 'lying'"):
        collect(normal, Request.of("lyin"))
    with pytest.raises(UsageError, match="no prior"):
        collect(plain, Request.of())
    with pytest.raises(UsageError, match="reads no words"):
        collect(plain, Request.of("a cat"))
    with pytest.raises(UsageError, match="comparison needs a picture"):
        collect(normal, Request.of(compare=True))
    with pytest.raises(UsageError, match="2 samples at least"):
        collect(normal, Request.of(walk=1))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"size": 30, "patch": 4}, "multiple of 8"),
        ({"channels": 4, "likelihood": "bernoulli"}, "black and white"),
        ({"widths": [16, 0]}, "every width"),
    ],
)
def test_configurations_that_make_no_sense(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        validate(Config, config, "model.config")


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ArtifactError, match="configuration of the model"):
        VAE.load(tmp_path)
