"""From a text file to a measured model, verb by verb, with a family that learns in an instant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from miaobi.cli.main import main
from miaobi.engine import checkpoint

RECIPE = """
version: 1
name: birdie
summary: says lines again
data: {source: corpus.txt, split: {val: 0.2}}
model: {family: parrot}
evaluate: {samples: 4, records: 5, metrics: [distinct, length]}
generate: {prompts: [题目], options: {lines: 3}, seed: 4}
trust: {licence: CC0-1.0}
presets: {short: {generate: {options: {lines: 1}}}}
"""


@pytest.fixture
def recipe(workplace: Path) -> Path:
    """A recipe and its corpus."""
    poems = [f"第{number}首其一\n第{number}首其二" for number in range(60)]
    Path("corpus.txt").write_text("\n\n".join(poems), encoding="utf-8")
    Path("birdie.yaml").write_text(RECIPE, encoding="utf-8")
    return Path("birdie.yaml")


def result(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    """What the command says with `--json`."""
    assert main([*words, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert isinstance(value, dict)
    return value


def test_the_whole_journey(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared = result(capsys, "prepare", "birdie.yaml")
    assert prepared["kind"] == "dataset"
    folder = str(prepared["folder"])
    assert folder.startswith("datasets/birdie-")

    trained = result(capsys, "train", "birdie.yaml")
    assert trained["artifact"] == "artifacts/birdie"
    assert Path("runs/birdie/loss.svg").is_file()
    assert "birdie" in Path("artifacts/birdie/README.md").read_text(encoding="utf-8")
    source = result(capsys, "verify", "birdie")["source"]

    made = result(capsys, "generate", "birdie.yaml")["contents"]
    assert isinstance(made, list)
    assert made[0]["label"]["options"]["lines"] == 3
    assert made[0]["label"]["seed"] == 4
    assert made[0]["label"]["prompt"] == "题目"
    assert made == result(capsys, "generate", "birdie", "题目", "--lines", "3", "--seed", "4")["contents"] or made[0]["label"]["created"]

    figures = result(capsys, "evaluate", "birdie.yaml", "--out", "figures")["figures"]
    assert isinstance(figures, dict)
    assert "distinct_2" in figures
    assert Path("figures/eval.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    shown = result(capsys, "show", "birdie")
    assert shown["figures"] == {name: figure["value"] for name, figure in figures.items()}
    assert shown["source"] == source  # a card and figures make no other model

    assert result(capsys, "show", folder)["kind"] == "dataset"
    assert result(capsys, "show", "runs/birdie")["kind"] == "run"
    assert result(capsys, "show", "birdie.yaml")["kind"] == "recipe"
    models = result(capsys, "models")["models"]
    assert isinstance(models, list)
    assert "birdie" in [model["name"] for model in models]


def test_changes_of_the_recipe(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = result(capsys, "prepare", "birdie.yaml")
    other = result(capsys, "prepare", "birdie.yaml", "--set", "data.split.val=0.5")
    assert other["folder"] != first["folder"]  # another data section is another dataset
    result(capsys, "train", "birdie.yaml", "--preset", "short", "--set", "name=shorty", "--seed", "3")
    resolved = result(capsys, "show", "runs/shorty/resolved.yaml")
    assert isinstance(resolved["generate"], dict)
    assert resolved["generate"]["options"] == {"lines": 1}
    assert isinstance(resolved["train"], dict)
    assert resolved["train"]["seed"] == 3


def test_a_run_that_is_being_trained_is_busy(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with checkpoint.lock(Path("runs/birdie")):
        assert main(["train", "birdie.yaml"]) == 6
    assert "another training holds runs/birdie" in capsys.readouterr().err


def test_a_run_is_found_by_its_folder(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result(capsys, "train", "birdie.yaml")
    result(capsys, "generate", "runs/birdie", "--seed", "1")
    Path("artifacts/birdie").rename("gone")
    assert main(["generate", "runs/birdie"]) == 4
    assert "is not finished" in capsys.readouterr().err


def test_what_cannot_be_exported_says_so(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result(capsys, "train", "birdie.yaml")
    assert main(["export", "birdie"]) == 2
    assert "cannot be exported" in capsys.readouterr().err


def test_compare_needs_data_and_two_models(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result(capsys, "train", "birdie.yaml")
    assert main(["compare", "birdie", "birdie"]) == 2
    assert "--on RECIPE" in capsys.readouterr().err
    assert main(["compare", "birdie", "--on", "birdie.yaml"]) == 2
    assert "at least two" in capsys.readouterr().err
