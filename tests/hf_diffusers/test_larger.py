"""The larger pipelines, tiny here: Stable Diffusion XL, Stable Diffusion 3 and Flux; from words and pictures, inside masks, with a LoRA."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.types import Done, Media, Modality, Progress, Request
from miaobi.data.pictures import Pixels, decode, encode
from miaobi.engine.generate import collect, run
from miaobi.models.hf_diffusers.model import Pipeline

KINDS = ["xl", "sd3", "flux"]
FLOWS = ["sd3", "flux"]


@pytest.fixture(scope="module")
def models(xl: Path, sd3: Path, flux: Path) -> dict[str, Pipeline]:
    """Each pipeline, loaded once."""
    return {"xl": Pipeline.load(xl), "sd3": Pipeline.load(sd3), "flux": Pipeline.load(flux)}


def picture(value: int, name: str, *, width: int = 16, height: int = 16) -> Media:
    return Media(modality=Modality.IMAGE, mime="image/png", data=encode(np.full((height, width, 3), value, np.uint8)), name=name)


def ask(model: Pipeline, *parts: str | Media, seed: int = 1, **options: object) -> list[Pixels]:
    """Pictures of 16 by 16 where nothing else is asked."""
    sized = {} if any(isinstance(part, Media) for part in parts) else {"width": 16, "height": 16}
    contents = collect(model, Request.of(parts or ("a red fox",), seed=seed, **{"steps": 2, **sized, **options}))
    return [decode(part.data) for content in contents for part in content.parts if isinstance(part, Media)]


@pytest.mark.parametrize("kind", KINDS)
def test_words_become_pictures(models: dict[str, Pipeline], kind: str) -> None:
    model = models[kind]
    first, second = ask(model, n=2, batch=1)
    assert first.shape == (16, 16, 4)
    assert (first != second).any()
    together = ask(model, n=2, batch=2)
    assert max(abs(one.astype(int) - other).max() for one, other in zip(together, (first, second))) <= 2
    np.testing.assert_array_equal(ask(model)[0], first)
    assert (ask(model, "blue cat")[0] != first).any(), "the words are read"
    assert (ask(model, negative="blue", guidance=7.0)[0] != ask(model, guidance=7.0)[0]).any(), "and those of what should not be there"
    assert ask(model, width=24, height=16)[0].shape == (16, 24, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_picture_keeps_its_size_and_is_looked_at(models: dict[str, Pipeline], kind: str) -> None:
    model = models[kind]
    start, other = picture(200, "image", width=24), picture(20, "image", width=24)
    little, much, elsewhere = (
        ask(model, "a cat", given, strength=strength, steps=8)[0] for given, strength in ((start, 0.2), (start, 1.0), (other, 0.2))
    )
    assert little.shape == (16, 24, 4)
    assert (little != elsewhere).any()
    assert (little != much).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_picture_of_any_size_is_made_to_fit(models: dict[str, Pipeline], kind: str) -> None:
    made = ask(models[kind], "a cat", picture(200, "image", width=21, height=18), steps=4)[0]
    assert made.shape == ((16, 16, 4) if kind == "xl" else (16, 20, 4))


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_keeps_what_is_black_in_it(models: dict[str, Pipeline], kind: str) -> None:
    model, start = models[kind], picture(200, "image")
    kept, also_kept, made, otherwise = (
        ask(model, words, start, picture(value, "mask"), strength=1.0)[0] for value in (0, 255) for words in ("a cat", "blue fox")
    )
    assert kept.shape == (16, 16, 4)
    np.testing.assert_array_equal(kept, also_kept)
    assert (made != otherwise).any()
    assert (made != kept).any()


@pytest.mark.parametrize("kind", KINDS)
def test_previews_show_the_picture_on_its_way(models: dict[str, Pipeline], kind: str) -> None:
    chunks = list(run(models[kind], Request.of("a cat", seed=1, n=2, batch=2, steps=3, width=24, height=16, previews=True)))
    shown = [chunk for chunk in chunks if isinstance(chunk, Progress) and isinstance(chunk.preview, Media)]
    assert [(chunk.step, chunk.index) for chunk in shown] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    pictures = [decode(chunk.preview.data) for chunk in shown if isinstance(chunk.preview, Media)]
    assert {preview.shape for preview in pictures} == {(16, 24, 4)}
    assert (pictures[0] != pictures[2]).any()
    assert len([chunk for chunk in chunks if isinstance(chunk, Done)]) == 2


@pytest.mark.parametrize(("kind", "sampler", "passes"), [("xl", "heun", 5), ("sd3", "flow-heun", 5), ("sd3", "auto", 3)])
def test_progress_ends_where_it_said(models: dict[str, Pipeline], kind: str, sampler: str, passes: int) -> None:
    """Heun's method asks the network twice a step, a start picture leaves steps out."""
    asked = Request.of("a cat", seed=1, n=2, batch=1, steps=3, width=16, height=16, sampler=sampler)
    progress = [chunk for chunk in run(models[kind], asked) if isinstance(chunk, Progress)]
    assert {chunk.total for chunk in progress} == {2 * passes}
    assert [chunk.step for chunk in progress] == [*range(1, 2 * passes + 1)]
    asked = Request.of(("a cat", picture(200, "image")), seed=1, steps=10, strength=0.3)
    progress = [chunk for chunk in run(models[kind], asked) if isinstance(chunk, Progress)]
    assert progress[-1].step == progress[-1].total == 3


def test_samplers_of_a_flow_come_to_the_same_picture(models: dict[str, Pipeline]) -> None:
    """They solve one differential equation: with many steps they agree, with few they do not."""
    model, names = models["sd3"], ("flow-euler", "flow-heun", "dpmpp-2m", "unipc")
    reference = ask(model, sampler="flow-heun", steps=80, guidance=1.0)[0].astype(int)
    few, many = ({name: ask(model, sampler=name, steps=steps, guidance=1.0)[0].astype(int) for name in names} for steps in (3, 40))
    for name in names:
        assert abs(few[name] - reference).mean() > 4
        assert abs(many[name] - reference).mean() < 2.5
    np.testing.assert_array_equal(ask(model, steps=3, guidance=1.0)[0], few["flow-euler"])


@pytest.mark.parametrize(
    ("kind", "sampler", "known"),
    [
        ("sd3", "ddim", "dpmpp-2m, flow-euler, flow-heun, unipc"),
        ("flux", "euler", "flow-euler"),
        ("flux", "flow-heun", "flow-euler"),
        ("xl", "flow-euler", "ddim, ddpm, dpmpp-2m, dpmpp-2m-sde, euler, euler-ancestral, heun, lms, pndm, unipc"),
    ],
)
def test_a_sampler_that_does_not_fit_names_those_that_do(models: dict[str, Pipeline], kind: str, sampler: str, known: str) -> None:
    with pytest.raises(UsageError, match=rf"unknown sampler '{sampler}'.* Known: {known}$"):
        ask(models[kind], sampler=sampler)


def test_a_flow_begins_at_a_picture_by_its_own_samplers_alone(models: dict[str, Pipeline]) -> None:
    start = picture(200, "image")
    for name in ("flow-euler", "flow-heun"):
        assert ask(models["sd3"], "a cat", start, sampler=name, steps=4)[0].shape == (16, 16, 4)
    with pytest.raises(UsageError, match=r"unknown sampler 'dpmpp-2m'.* Known: flow-euler, flow-heun$"):
        ask(models["sd3"], "a cat", start, sampler="dpmpp-2m")


@pytest.mark.parametrize(("kind", "step"), [("xl", 8), ("sd3", 4), ("flux", 4)])
def test_sizes_that_cannot_be_made_are_refused_with_the_step(models: dict[str, Pipeline], kind: str, step: int) -> None:
    with pytest.raises(UsageError, match=f"multiples of {step}"):
        ask(models[kind], width=16 + step // 2, height=16)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lora_is_put_on_scaled_and_taken_off(models: dict[str, Pipeline], kind: str, tmp_path: Path) -> None:
    model = models[kind]
    path = save_lora(model, tmp_path)
    plain = ask(model)[0]
    full, half, none = (ask(model, lora=str(path), lora_strength=strength)[0] for strength in (1.0, 0.5, 0.0))
    assert (full != plain).any()
    assert (half != full).any()
    assert abs(none.astype(int) - plain).max() <= 1
    start = picture(200, "image")
    with_it, without = (ask(model, "a cat", start, lora=lora, steps=4)[0] for lora in (str(path), ""))
    assert (with_it != without).any(), "it counts from a start picture too"
    np.testing.assert_array_equal(ask(model)[0], plain)


def test_a_lora_of_another_pipeline_is_refused(models: dict[str, Pipeline], tmp_path: Path) -> None:
    path = save_lora(models["xl"], tmp_path)
    plain = ask(models["flux"])[0]
    with pytest.raises(ArtifactError, match="has no weights for the parts of the pipeline FluxPipeline"):
        ask(models["flux"], lora=str(path))
    np.testing.assert_array_equal(ask(models["flux"])[0], plain)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_options_leave_the_picture_as_it_is(models: dict[str, Pipeline], kind: str) -> None:
    model = models[kind]
    plain = ask(model)[0].astype(int)
    assert abs(ask(model, slicing=True, tiling=True)[0] - plain).max() <= 2
    np.testing.assert_array_equal(ask(model)[0], plain)
    half = Pipeline.load(model.folder)
    assert (ask(half, precision="bf16")[0] != plain).any()


def test_without_its_largest_encoder_it_still_reads(sd3: Path, tmp_path: Path) -> None:
    """People leave T5 out of Stable Diffusion 3, where it takes most of the memory."""
    folder = tmp_path / "no-t5"
    shutil.copytree(sd3, folder)
    for part in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(folder / part)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}))
    model = Pipeline.load(folder)
    assert (ask(model, "a cat")[0] != ask(model, "blue fox")[0]).any()


@pytest.mark.parametrize("kind", ["xl", "flux"])
def test_after_a_lora_that_does_not_fit_another_one_does(models: dict[str, Pipeline], kind: str, tmp_path: Path) -> None:
    path = save_lora(models[kind], tmp_path)
    broken = tmp_path / "broken.safetensors"
    save_file({name: tensor[..., :1].contiguous() for name, tensor in load_file(path).items()}, broken)
    plain = ask(models[kind])[0]
    with pytest.raises(ArtifactError, match="does not fit"):
        ask(models[kind], lora=str(broken))
    np.testing.assert_array_equal(ask(models[kind])[0], plain)
    assert (ask(models[kind], lora=str(path))[0] != plain).any()


def test_a_mask_needs_a_picture_of_its_size(models: dict[str, Pipeline]) -> None:
    with pytest.raises(UsageError, match="a mask needs the picture that it lies on"):
        ask(models["xl"], "a cat", picture(255, "mask"))
    with pytest.raises(UsageError, match="the mask has 24 by 16 pixels and the picture 16 by 16"):
        ask(models["xl"], "a cat", picture(200, "image"), picture(255, "mask", width=24))


def save_lora(model: Pipeline, folder: Path) -> Path:
    """Low-rank additions to the attention of a pipeline's network, saved as its trainer saves them."""
    peft = pytest.importorskip("peft")
    name = "unet" if hasattr(model.pipeline, "unet") else "transformer"
    network: Any = type(getattr(model.pipeline, name)).from_pretrained(model.folder / name)
    network.add_adapter(peft.LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights="gaussian"))
    torch.manual_seed(3)
    for key, parameter in network.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(parameter, std=1.0)
    layers = peft.get_peft_model_state_dict(network)
    type(model.pipeline).save_lora_weights(folder, **{f"{name}_lora_layers": layers}, safe_serialization=True)
    (path,) = folder.glob("*.safetensors")
    return path
