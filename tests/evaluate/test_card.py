"""The card says what was recorded, in two languages, with a head that the Hub reads; what was not recorded it leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from miaobi.core.artifact import Artifact, seal
from miaobi.core.recipe import Evaluate, Recipe
from miaobi.core.types import Record
from miaobi.engine.card import model_card
from miaobi.engine.compare import parameters
from miaobi.engine.evaluate import evaluate
from miaobi.engine.report import read_log
from miaobi.models.ngram.model import NGram

RECIPE = Recipe.model_validate(
    {
        "name": "tiny",
        "summary": "A trigram of ten couplets.",
        "model": {"family": "ngram", "config": {"order": 3}},
        "data": {"source": {"path": "npm:chinese-poetry", "licence": "MIT"}, "steps": ["poem", {"dedup": "exact"}]},
        "generate": {"prompts": ['中秋"月']},
        "trust": {"licence": "MIT"},
    }
)


@pytest.fixture(scope="module")
def model(poems: list[Record]) -> NGram:
    found = NGram.create({"order": 3}, poems)
    found.fit(poems)
    return found


@pytest.fixture(scope="module")
def artifact(model: NGram, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("tiny")
    model.save(folder)
    return seal(folder, family="ngram", name="tiny", licence="MIT", data=("poems@abc",))


def test_a_full_card(model: NGram, artifact: Artifact, poems: list[Record], tmp_path: Path) -> None:
    section = Evaluate(metrics=["bits_per_character", "distinct"], samples=3, baselines=["ngram:2"])
    found = evaluate(model, poems[60:], section, training=poems[:60])
    log = tmp_path / "log.jsonl"
    log.write_text('{"kind": "step", "step": 900, "loss": 5.0, "seconds": 4000}\n{"kind": "evaluate", "step": 900, "val_loss": 4.5}\n')
    card = model_card(
        RECIPE,
        artifact,
        data={"records": {"train": 60, "val": 30}, "dropped": [{"step": "dedup", "reason": "duplicate", "records": 7}]},
        evaluation=found,
        log=read_log(log),
        parameters=parameters(artifact),
        machine="two cores",
        notes={"zh": {"limits": "只会十副对联。"}},
    )
    head, english, chinese = card.split("---\n", 1)[1].partition("\n---\n")[0], *card.split("\n# ")[1:3]
    metadata = yaml.safe_load(head)
    assert (metadata["license"], metadata["language"], metadata["library_name"]) == ("mit", ["zh"], "miaobi")
    value = found["figures"]["bits_per_character"]["value"]
    assert metadata["model-index"][0]["results"][0]["metrics"][0] == {
        "type": "bits_per_character",
        "name": "bits_per_character",
        "value": value,
    }
    for part in ("train 60, val 30", "dedup duplicate 7", "`npm:chinese-poetry` (MIT)", "poem → dedup", "900", "67 min"):
        assert part in english, part
        assert part in chinese, part
    assert 'miaobi generate tiny "中秋\\"月"' in english
    assert "Against `ngram:2` on the same characters" in english
    assert "与 `ngram:2` 在相同的字上比较" in chinese
    assert "fiction" in english
    assert "只会十副对联。" in chinese
    assert artifact.sha256 in card
    assert "\n\n\n" not in card


def test_a_card_of_what_was_never_recorded(artifact: Artifact) -> None:
    card = model_card(RECIPE, artifact)
    assert "Not evaluated yet" in card
    assert "尚未评测" in card
    assert "model-index" not in card
    assert "training time" not in card


def test_a_card_of_a_painter(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    painter = seal(tmp_path, family="diffusion", name="tiny")
    recipe = Recipe.model_validate({"name": "tiny", "model": {"family": "diffusion"}, "generate": {"prompts": ["一只红狐"]}})
    gap = {"value": -3.0, "relative": -0.25, "relative_low": -0.4, "relative_high": -0.1, "test": "half-samples"}
    evaluation = {
        "figures": {name: {"value": 0.5, "count": 9} for name in ("frechet", "retrieval_zh", "retrieval_en", "style")},
        "baselines": {"older": {"figures": {"frechet": {"value": 12.0}}, "differences": {"frechet": gap}}},
        "examples": [{"prompt": "一只红狐", "options": {"style": "flat"}, "seed": 4, "sha256": "0" * 64}],
    }
    card = model_card(recipe, painter, evaluation=evaluation)
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["pipeline_tag"] == "text-to-image"
    assert [one["name"] for one in metadata["model-index"][0]["results"][0]["metrics"]] == [
        "frechet",
        "retrieval_zh",
        "retrieval_en",
        "style",
    ]
    assert 'miaobi generate tiny "一只红狐" --out picture.png' in card
    assert "Against `older` in `frechet` (its value is 12): -25.0% (95 % interval -40.0% to -10.0%; half-samples)." in card
    assert "半样本法" in card
    assert "**一只红狐** (flat, seed 4)" in card
    assert "EfficientNet-lite0" in card
    assert "text" not in metadata["tags"]
