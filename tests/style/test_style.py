"""Style transfer: the losses mean what they say, each method learns, and the result has the size and the opacity that was asked for."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from miaobi.core.errors import ArtifactError, DataError, UsageError
from miaobi.core.types import Media, Modality, Progress, Record, Request
from miaobi.data.pictures import Pixels, decode, encode
from miaobi.engine import features
from miaobi.engine.generate import collect, run
from miaobi.models.common.picture_codec import from_pixels
from miaobi.models.style.losses import content_loss, gram, gram_loss, moments, moments_loss, restyle, roughness
from miaobi.models.style.model import Style
from miaobi.models.style.pixels import optimise
from miaobi.models.style.runtime import StyleRuntime

SIZE = 32
TINY: dict[str, Any] = {"size": SIZE, "width": 8, "blocks": 1, "flip": False}


def picture(number: int, style: str, *, size: int = SIZE) -> Pixels:
    """A disc: `stripes` red and white on a clear ground, `plain` blue."""
    ys, xs = np.mgrid[:size, :size] * (SIZE / size)
    inside = np.hypot(ys - 12 - number, xs - 20 + number) < 9
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[inside] = (20, 40, 220, 255)
    if style == "stripes":
        pixels[inside] = (255, 255, 255, 255)
        pixels[inside & (ys % 6 < 3)] = (220, 20, 20, 255)
    return pixels


def media(pixels: Pixels, name: str = "image") -> Media:
    return Media(modality=Modality.IMAGE, mime="image/png", data=encode(pixels), name=name)


RECORDS = [
    Record(id=f"{style}{number}", parts=(media(picture(number, style)),), meta={"style": style})
    for number in range(4)
    for style in ("plain", "stripes")
]
CONTENT, MANNER = (torch.from_numpy(from_pixels([picture(1, style)], 3)) for style in ("plain", "stripes"))


def result(model: Style | StyleRuntime, *pictures: Media, **options: Any) -> Pixels:
    (content,) = collect(model, Request.of(pictures or (media(picture(1, "plain")),), seed=3, **options))
    assert isinstance(content.parts[0], Media)
    return decode(content.parts[0].data)


def learn(method: str, steps: int, **config: Any) -> tuple[Style, list[dict[str, float]]]:
    """A model after so many steps, and the logs of each."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Style.create({**TINY, "method": method, **config}, RECORDS, seed=0)
    optimizers = {phase: torch.optim.Adam(model.trainable(phase), lr=5e-3) for phase in model.phases}
    batch, logs = model.codec.collate(RECORDS), []
    model.network.train()
    for _ in range(steps):
        seen: dict[str, float] = {}
        for phase in model.phases:
            loss = model.loss(batch, phase)
            optimizers[phase].zero_grad()
            (loss.total / loss.count).backward()
            optimizers[phase].step()
            seen |= {name: value / loss.count for name, value in loss.logs.items()}
        logs.append(seen)
    return model, logs


@pytest.fixture(scope="module")
def adain() -> tuple[Style, list[dict[str, float]]]:
    return learn("adain", 80, width=16)


@pytest.fixture(scope="module")
def fast() -> tuple[Style, list[dict[str, float]]]:
    return learn("fast", 40)


def test_a_picture_differs_from_itself_in_nothing() -> None:
    maps = features.stages(CONTENT)
    assert content_loss(maps, maps).item() == 0
    assert gram_loss(maps, [gram(x) for x in maps]).item() == 0
    assert moments_loss(maps, [moments(x) for x in maps]).item() == 0
    assert roughness(torch.full((1, 3, 4, 4), 0.3)).item() == 0
    other = features.stages(MANNER)
    assert content_loss(other, maps).item() > 0.01
    assert gram_loss(other, [gram(x) for x in maps]).item() > 0.01


def test_correlations_are_the_sums_over_places() -> None:
    x = torch.randn(2, 3, 4, 5)
    expected = torch.einsum("bchw,bdhw->bcd", x, x) / 20
    torch.testing.assert_close(gram(x), expected)


def test_restyled_maps_have_the_moments_of_the_style_as_far_as_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 8, 8, generator=generator) * 3 + 1
    style = torch.tensor([[1.0, -2.0, 0.5]]).expand(2, 3), torch.tensor([[0.5, 2.0, 1.0]]).expand(2, 3)
    mean, deviation = moments(restyle(x, style))
    torch.testing.assert_close(mean, style[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(deviation, style[1], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(restyle(x, style, 0.0), x)


def test_optimised_pixels_come_nearer_to_the_style_and_stay_near_the_content() -> None:
    made, losses = zip(*optimise(CONTENT, MANNER, steps=25, generator=torch.Generator().manual_seed(0)))
    assert losses[-1] < 0.5 * losses[0]
    grams = [gram(x) for x in features.stages(MANNER)[:4]]
    assert gram_loss(features.stages(made[-1]), grams) < 0.5 * gram_loss(features.stages(CONTENT), grams)
    assert content_loss(features.stages(made[-1]), features.stages(CONTENT)) < content_loss(
        features.stages(MANNER), features.stages(CONTENT)
    )
    assert made[-1].abs().max() <= 1


def test_previews_come_and_the_seed_decides(adain: tuple[Style, Any]) -> None:
    model = adain[0]
    parts = (media(picture(1, "plain")), media(picture(1, "stripes"), "style_image"))
    chunks = list(run(model, Request.of(parts, seed=1, method="pixels", steps=41)))
    steps = [chunk for chunk in chunks if isinstance(chunk, Progress)]
    assert [(chunk.step, chunk.total) for chunk in steps] == [(20, 41), (40, 41)]
    assert isinstance(steps[0].preview, Media)
    assert decode(steps[0].preview.data).shape == (SIZE, SIZE, 4)
    first, again, other = (
        collect(model, Request.of(parts, seed=seed, method="pixels", steps=3))[0].label.content_sha256 for seed in (1, 1, 2)
    )
    assert first == again != other


def test_adain_learns_and_takes_names_and_pictures(adain: tuple[Style, list[dict[str, float]]]) -> None:
    model, logs = adain
    assert logs[-1]["style"] < 0.8 * logs[0]["style"]
    assert logs[-1]["same"] < 0.6 * logs[0]["same"]
    named = result(model, style="stripes")
    shown = result(model, media(picture(1, "plain")), media(picture(2, "stripes"), "style_image"))
    plain = result(model, style="stripes", strength=0.0)
    redness = [float(pixels[..., 0].astype(int).mean() - pixels[..., 2].mean()) for pixels in (plain, named, shown)]
    assert redness[0] < redness[1], "the style's name makes the blue disc redder"
    assert redness[0] < redness[2], "and so does a picture of it"


def test_fast_learns_named_styles_only(fast: tuple[Style, list[dict[str, float]]]) -> None:
    model, logs = fast
    first, last = (np.mean([log["style"] for log in part]) for part in (logs[:5], logs[-5:]))
    assert last < 0.8 * first
    assert (result(model, style="plain") != result(model, style="stripes")).any()
    with pytest.raises(UsageError, match="takes no style picture"):
        result(model, media(picture(1, "plain")), media(picture(1, "stripes"), "style_image"))
    with pytest.raises(UsageError, match=r"unknown style 'stripe'. Did you mean 'stripes'"):
        result(model, style="stripe")


def test_cycle_learns_there_and_back() -> None:
    model, logs = learn("cycle", 25, styles=["plain", "stripes"], width=4)
    assert logs[-1]["cycle"] < 0.8 * logs[0]["cycle"]
    assert logs[-1]["real"] + logs[-1]["made"] < logs[0]["real"] + logs[0]["made"]
    assert (result(model, style="stripes") != result(model, style="plain")).any()


def test_each_phase_moves_its_own_networks() -> None:
    model = Style.create({**TINY, "method": "cycle", "styles": ["plain", "stripes"], "width": 4}, RECORDS, seed=0)
    parameters = {phase: {id(parameter) for parameter in model.trainable(phase)} for phase in model.phases}
    assert not parameters["critic"] & parameters["generator"]
    assert len(parameters["critic"] | parameters["generator"]) == len(list(model.network.parameters()))
    batch = model.codec.collate(RECORDS[::2])  # of one style only
    for phase in model.phases:
        assert torch.isfinite(model.loss(batch, phase).total)
    model.loss(batch, "critic").total.backward()
    assert all(parameter.grad is None for parameter in model.trainable("generator")), "the critics' loss does not reach the translators"


@pytest.mark.parametrize(("size", "expected"), [(0, (50, 40)), (64, (64, 51))])
def test_the_result_has_the_contents_shape(adain: tuple[Style, Any], size: int, expected: tuple[int, int]) -> None:
    content = media(np.full((50, 40, 4), 200, np.uint8))
    assert result(adain[0], content, size=size).shape == (*expected, 4)


def test_clear_places_stay_clear_and_colours_may_stay(adain: tuple[Style, Any]) -> None:
    content = picture(1, "plain")
    clear = result(adain[0], background="transparent", style="stripes")
    np.testing.assert_array_equal(clear[..., 3], content[..., 3])
    kept = result(adain[0], keep_colours=True, style="stripes").astype(int)
    inside = content[..., 3] > 0
    assert (kept[inside][:, 2] >= kept[inside][:, 0]).mean() > 0.95, "what was blue is bluer than red"


@pytest.mark.parametrize("method", ["adain", "fast", "cycle"])
def test_saved_and_loaded_it_draws_the_same(method: str, tmp_path: Any) -> None:
    model = Style.create({**TINY, "method": method, "styles": ["stripes", "plain"]}, RECORDS, seed=0)
    model.save(tmp_path)
    loaded = Style.load(tmp_path)
    assert loaded.styles == ("stripes", "plain")
    for style in loaded.styles:
        np.testing.assert_array_equal(result(loaded, style=style), result(model, style=style))


def test_what_cannot_be_done_is_said(adain: tuple[Style, Any]) -> None:
    model = adain[0]
    with pytest.raises(UsageError, match="no picture 'image'"):
        collect(model, Request.of("red"))
    with pytest.raises(UsageError, match="needs a style picture"):
        result(model, method="pixels")
    with pytest.raises(UsageError, match="unknown colour"):
        result(model, background="nocolour")
    with pytest.raises(DataError, match=r"no record is of the style 'oil'\. Styles of the data: plain, stripes"):
        Style.create({**TINY, "styles": ["oil"]}, RECORDS)
    with pytest.raises(UsageError, match="two styles"):
        Style.create({**TINY, "method": "cycle"}, RECORDS)
    for name, value in itertools.product(("strength", "steps", "size"), (-1, 10**9)):
        with pytest.raises(UsageError, match=name):
            result(model, **{name: value})


@pytest.mark.parametrize("method", ["adain", "fast", "cycle"])
def test_the_graphs_draw_what_torch_draws_at_any_size(method: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    model = learn("cycle", 3, styles=["plain", "stripes"], width=4)[0] if method == "cycle" else request.getfixturevalue(method)[0]
    model.save(tmp_path)
    errors = model.export(tmp_path, formats=["fp32", "int8"])
    assert max(errors["fp32"].values()) < 1e-4
    assert max(errors["int8"].values()) < 0.1
    runtime = StyleRuntime.load(tmp_path)
    asked: list[tuple[list[Media], dict[str, Any]]] = [
        ([media(picture(1, "plain"))], {"style": "stripes"}),
        ([media(picture(2, "stripes", size=50)[:, :40].copy())], {"style": "plain", "strength": 0.6}),
        ([media(picture(1, "plain"))], {"size": 96, "keep_colours": True, "background": "transparent"}),
    ]
    if method == "adain":
        asked.append(([media(picture(1, "plain", size=44)), media(picture(2, "stripes", size=37), "style_image")], {"strength": 0.8}))
    for pictures, options in asked:
        found, expected = (result(one, *pictures, **options).astype(int) for one in (runtime, model))
        assert found.shape == expected.shape
        assert abs(found - expected).max() <= 1
        assert (expected != result(model, *pictures, **{**options, "strength": 0.0})).any()
    with pytest.raises(UsageError, match=r"unknown style 'stripe'. Did you mean 'stripes'"):
        result(runtime, style="stripe")


def test_optimised_pixels_are_the_same_beside_the_graphs(fast: tuple[Style, Any], tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    model = fast[0]
    model.save(tmp_path)
    model.export(tmp_path, formats=["fp32"])
    pictures = media(picture(1, "plain")), media(picture(1, "stripes"), "style_image")
    found, expected = (result(one, *pictures, method="pixels", steps=3) for one in (StyleRuntime.load(tmp_path), model))
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(UsageError, match="takes no style picture"):
        result(StyleRuntime.load(tmp_path), *pictures)


def test_the_graphs_need_no_torch(adain: tuple[Style, Any], tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    model, folder = adain[0], tmp_path / "model"
    folder.mkdir()
    model.save(folder)
    model.export(folder, formats=["int8"])
    (tmp_path / "in.png").write_bytes(media(picture(1, "plain")).data)
    code = """
import sys
from pathlib import Path
sys.modules["torch"] = None  # importing it fails
from miaobi.core.types import Media, Modality, Request
from miaobi.engine.generate import collect
from miaobi.models.style.runtime import StyleRuntime
folder = Path(sys.argv[1])
given = Media(modality=Modality.IMAGE, mime="image/png", data=(folder / "in.png").read_bytes(), name="image")
(content,) = collect(StyleRuntime.load(folder / "model"), Request.of((given,), style="stripes"))
(folder / "out.png").write_bytes(content.parts[0].data)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)
    expected = result(model, style="stripes").astype(int)
    assert abs(decode((tmp_path / "out.png").read_bytes()).astype(int) - expected).mean() < 3, "eight bits change little"
    (folder / "onnx" / "decoder_int8.onnx").unlink()
    with pytest.raises(ArtifactError, match="holds no ONNX graph"):
        StyleRuntime.load(folder)
