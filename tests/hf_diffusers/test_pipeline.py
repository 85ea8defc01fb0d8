"""A diffusers folder is looked over, loaded by its index, and asked for pictures, also from pictures and inside masks."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import miaobi.api
from miaobi.core.artifact import open_artifact
from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.shelf import find
from miaobi.core.types import Content, Done, Media, Modality, Progress, Request
from miaobi.data.pictures import Pixels, decode, encode
from miaobi.engine.bench import is_folder_of_pictures
from miaobi.engine.generate import collect, run
from miaobi.models.hf_diffusers.model import Pipeline
from miaobi.models.hf_diffusers.samplers import KARRAS
from miaobi.models.hf_diffusers.watch import Report, Watched


@pytest.fixture(scope="module")
def model(stable_diffusion: Path) -> Pipeline:
    return Pipeline.load(stable_diffusion)


def picture(value: int, name: str, *, side: int = 16) -> Media:
    return Media(modality=Modality.IMAGE, mime="image/png", data=encode(np.full((side, side, 3), value, np.uint8)), name=name)


def pixels(content: Content) -> Pixels:
    assert isinstance(content.parts[0], Media)
    return decode(content.parts[0].data)


def ask(model: Pipeline, *parts: str | Media, seed: int = 1, **options: object) -> list[Pixels]:
    return [pixels(content) for content in collect(model, Request.of(parts or ("a red fox",), seed=seed, **{"steps": 2, **options}))]


def test_a_folder_is_loaded_by_its_index_and_labelled(stable_diffusion: Path) -> None:
    artifact = open_artifact(stable_diffusion)
    assert (artifact.family, artifact.name) == ("hf_diffusers", "tiny-sd")
    (content,) = miaobi.load(stable_diffusion).generate("a red fox", seed=1, steps=2)
    assert (content.label.family, content.label.model, content.label.source) == ("hf_diffusers", "tiny-sd", artifact.sha256)
    assert pixels(content).shape == (16, 16, 4)


def test_a_content_is_the_same_in_any_batch(model: Pipeline) -> None:
    together, split = ask(model, n=3, batch=3), ask(model, n=3, batch=2)
    assert len(together) == 3
    for first, second in zip(together, split):
        assert abs(first.astype(int) - second).max() <= 2
    assert (together[0] != together[1]).any()
    assert (ask(model, seed=2)[0] != together[0]).any()
    np.testing.assert_array_equal(ask(model, n=3, batch=3)[2], together[2])


def test_progress_counts_steps_of_all_batches_and_shows_previews(model: Pipeline) -> None:
    chunks = list(run(model, Request.of("a cat", seed=1, n=2, batch=1, steps=3, previews=True)))
    progress = [chunk for chunk in chunks if isinstance(chunk, Progress)]
    assert [(chunk.step, chunk.total, chunk.index) for chunk in progress] == [
        (1, 6, 0),
        (2, 6, 0),
        (3, 6, 0),
        (4, 6, 1),
        (5, 6, 1),
        (6, 6, 1),
    ]
    shown = [chunk.preview for chunk in progress if chunk.preview]
    assert len(shown) == 4, "the last step shows the picture itself"
    assert isinstance(shown[0], Media)
    assert decode(shown[0].data).shape == (16, 16, 4)
    assert [chunk.index for chunk in chunks if isinstance(chunk, Done)] == [0, 1]


def test_closing_ends_the_work() -> None:
    seen: list[int] = []

    def work(report: Report[int]) -> None:
        for number in itertools.count():
            seen.append(number)
            report(number)
            time.sleep(0.001)

    steps: Iterator[int] = iter(Watched[int, None](work))
    assert [next(steps), next(steps)] == [0, 1]
    steps.close()  # type: ignore[attr-defined]
    ended = len(seen)
    time.sleep(0.01)
    assert len(seen) == ended, "the thread has ended"
    with pytest.raises(RuntimeError, match="wrong"):
        list(Watched[int, None](lambda report: (_ for _ in ()).throw(RuntimeError("wrong"))))


def test_a_start_picture_counts_the_more_the_less_may_change(model: Pipeline) -> None:
    start = picture(200, "image")
    (little,), (much,) = (ask(model, "a cat", start, strength=strength, steps=10) for strength in (0.1, 1.0))
    (other,) = ask(model, "a cat", picture(20, "image"), strength=0.1, steps=10)
    assert little.shape == (16, 16, 4)
    assert (little != other).any(), "the start picture is looked at"
    assert (little != much).any(), "and the strength is"


def test_a_mask_keeps_what_is_black_in_it(model: Pipeline) -> None:
    mask = np.zeros((16, 16, 3), np.uint8)
    black, white = (Media(modality=Modality.IMAGE, mime="image/png", data=encode(mask + value), name="mask") for value in (0, 255))
    start = picture(200, "image")
    kept, also_kept = (ask(model, prompt, start, black, strength=1.0)[0] for prompt in ("a cat", "blue fox"))
    made, otherwise = (ask(model, prompt, start, white, strength=1.0)[0] for prompt in ("a cat", "blue fox"))
    np.testing.assert_array_equal(kept, also_kept)
    assert (made != otherwise).any()
    assert (made != kept).any()


def test_samplers_by_name_are_those_that_fit(model: Pipeline) -> None:
    made = {name: ask(model, sampler=name, steps=4)[0] for name in ("auto", "euler", "dpmpp-2m", "heun")}
    assert (made["euler"] != made["auto"]).any()
    np.testing.assert_array_equal(ask(model, sampler="auto", steps=4)[0], made["auto"])
    with pytest.raises(UsageError, match=r"unknown sampler 'eulr'. Did you mean 'euler'"):
        ask(model, sampler="eulr")
    with pytest.raises(UsageError, match="unknown sampler 'flow-euler'"):
        ask(model, sampler="flow-euler")


def test_guidance_and_what_should_not_be_there_change_the_picture(model: Pipeline) -> None:
    plain = ask(model, guidance=7.5)[0]
    assert (ask(model, guidance=1.0)[0] != plain).any()
    assert (ask(model, guidance=7.5, negative="blue")[0] != plain).any()


def test_memory_options_leave_the_picture_as_it_is(model: Pipeline) -> None:
    plain = ask(model)[0]
    assert abs(ask(model, slicing=True, tiling=True)[0].astype(int) - plain).max() <= 2
    np.testing.assert_array_equal(ask(model)[0], plain)
    half = ask(model, precision="bf16")[0]
    assert (half != plain).any()
    np.testing.assert_allclose(ask(model)[0].astype(int), plain, atol=12)  # the weights were rounded on the way
    with pytest.raises(UsageError, match="offload"):
        ask(model, offload="model")


def test_a_lora_is_put_on_and_taken_off(stable_diffusion: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    import diffusers

    trained = diffusers.UNet2DConditionModel.from_pretrained(stable_diffusion / "unet")
    trained.add_adapter(peft.LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights="gaussian"))
    torch.manual_seed(3)
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=1.0)
    layers = peft.get_peft_model_state_dict(trained)
    diffusers.StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=layers, safe_serialization=True)
    (path,) = tmp_path.glob("*.safetensors")
    model = Pipeline.load(stable_diffusion)
    plain = ask(model)[0]
    full, none = ask(model, lora=str(path))[0], ask(model, lora=str(path), lora_strength=0.0)[0]
    assert (full != plain).any()
    assert abs(none.astype(int) - plain).max() <= 1
    np.testing.assert_array_equal(ask(model)[0], plain)
    with pytest.raises(UsageError, match=r"LoRA is a \.safetensors file"):
        ask(model, lora=str(tmp_path / "evil.bin"))
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="does not fit"):
        ask(model, lora=str(tmp_path / "damaged.safetensors"))


def test_what_a_pipeline_lacks_is_an_error(pixart: Path) -> None:
    model = Pipeline.load(pixart)
    made = ask(model, guidance=1.0, width=16, height=16)[0]
    assert made.shape == (16, 16, 4)
    with pytest.raises(UsageError, match="PixArtAlphaPipeline starts from no image"):
        ask(model, "a cat", picture(200, "image"))


@pytest.mark.parametrize("steps", [1, 3])
def test_every_sampler_draws_what_the_seed_says(stable_diffusion: Path, tmp_path: Path, steps: int) -> None:
    """Of Stable Diffusion 2 as well, which predicts v: a scheduler by name predicts what the network has learned."""
    second = tmp_path / "sd2"
    shutil.copytree(stable_diffusion, second)
    config = second / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"prediction_type": "v_prediction"}))
    model = Pipeline.load(second)
    for name in KARRAS:
        first, again = (ask(model, sampler=name, steps=steps)[0] for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert model.pipeline.scheduler.config.prediction_type == "v_prediction"


def test_weights_that_are_there_in_half_precision_alone_are_loaded(stable_diffusion: Path, model: Pipeline, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    shutil.copytree(stable_diffusion, folder)
    for path in [*folder.rglob("*.safetensors")]:
        path.rename(path.with_suffix(".fp16.safetensors"))
    np.testing.assert_allclose(ask(Pipeline.load(folder))[0], ask(model)[0].astype(float), atol=1)  # sums of another order may round apart


def test_sizes_that_cannot_be_made_are_explained(model: Pipeline) -> None:
    with pytest.raises(UsageError, match="multiples of 8; 17 is none"):
        ask(model, width=17, height=16)


def copy(folder: Path, target: Path, change: dict[str, object]) -> Path:
    shutil.copytree(folder, target)
    index = json.loads((target / "model_index.json").read_text())
    (target / "model_index.json").write_text(json.dumps(index | change))
    return target


def test_code_and_pickles_are_refused(stable_diffusion: Path, tmp_path: Path) -> None:
    (tmp_path / "ran").mkdir()
    evil = copy(stable_diffusion, tmp_path / "code", {"unet": ["evil", "UNet"]})
    (evil / "evil.py").write_text(f"open({str(tmp_path / 'ran' / 'it')!r}, 'w')")
    with pytest.raises(ArtifactError, match="code of evil, which is never run"):
        Pipeline.load(evil)
    with pytest.raises(ArtifactError, match="does not have"):
        Pipeline.load(copy(stable_diffusion, tmp_path / "class", {"_class_name": ["pipeline", "Evil"]}))
    pickled = copy(stable_diffusion, tmp_path / "pickled", {})
    weights = next((pickled / "unet").glob("*.safetensors"))
    weights.rename(pickled / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ArtifactError, match="pickled"):
        Pipeline.load(pickled)
    (pickled / "model_index.json").write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read"):
        Pipeline.load(pickled)
    assert not list((tmp_path / "ran").iterdir())
    damaged = copy(stable_diffusion, tmp_path / "damaged", {})
    next((damaged / "vae").glob("*.safetensors")).write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        Pipeline.load(damaged)


def test_a_plain_folder_is_a_model_wherever_models_are_named(stable_diffusion: Path, workplace: Path) -> None:
    shutil.copytree(stable_diffusion, workplace / "artifacts" / "tiny")
    assert find("tiny") == Path("artifacts/tiny")
    shown = miaobi.api.show("artifacts/tiny")
    assert (shown["kind"], shown["family"], shown["source"]) == ("model", "hf_diffusers", open_artifact(stable_diffusion).sha256)
    assert not is_folder_of_pictures(Path("artifacts/tiny"))
    (workplace / "artifacts" / "tiny" / "unet" / "config.json").write_text("{}")
    assert open_artifact(Path("artifacts/tiny")).sha256 != shown["source"], "another file is another model"
