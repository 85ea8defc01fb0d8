"""A recipe says what is wrong, where, and what is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from miaobi.core import language
from miaobi.core.errors import UsageError
from miaobi.core.recipe import Recipe, Source

PLAIN: dict[str, Any] = {"version": 1, "name": "poet", "model": {"family": "gpt"}}


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIAOBI_LANG", "en")


def of(changes: dict[Any, Any] | None = None, **more: Any) -> Recipe:
    return Recipe.of({**PLAIN, **(changes or {})}, **more)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trian": {}}, r"unknown key 'trian'\. Did you mean 'train'\? Known: adapt, data"),
        ({"train": {"optimizer": {"learning": 1}}}, r"unknown key 'train\.optimizer\.learning'.*Known: betas, eps, lr"),
        ({"train": {"steps": 0}}, "'train.steps' is 0: it should be at least 1"),
        ({"train": {"steps": "many"}}, "'train.steps' is 'many': a whole number is wanted"),
        ({"train": {"steps": True}}, "'train.steps' is True: a number is wanted here"),
        ({"train": {"optimizer": {"lr": float("nan")}}}, "'train.optimizer.lr' is nan"),
        ({"train": {"optimizer": {"name": "adam"}}}, "it should be 'adamw', 'sgd', 'lion' or 'muon'"),
        ({"train": None}, "'train' is None: keys with values are wanted"),
        ({"model": {}}, "`family`"),
        ({"name": "../up"}, "'name' is '../up': it should match"),
        ({"version": 2}, "version 2; this miaobi reads up to 1"),
        (
            {"data": {"source": {"pth": "a"}}},
            r"^recipe: 'data\.source\.path' is missing; unknown key 'data\.source\.pth'\. Did you mean 'path'",
        ),
        ({"data": {"source": [{"path": "a"}, {"path": "b", "x": 1}]}}, r"^recipe: unknown key 'data\.source\.1\.x'"),
        ({"presets": ["cpu"]}, "`presets` should be"),
        ({"presets": {"cpu": 3}}, "`presets` should be"),
        ({1: 2}, "'1'"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(changes: dict[Any, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        of(changes)
    assert re.search(words, str(caught.value)), str(caught.value)


def test_several_problems_come_together() -> None:
    with pytest.raises(UsageError, match=r"'train\.steps' is 0.*'train\.batch' is 0"):
        of({"train": {"steps": 0, "batch": 0}})


def test_the_message_can_be_chinese() -> None:
    language.set_language("zh")
    try:
        with pytest.raises(UsageError) as caught:
            of({"train": {"stepz": 3, "batch": 0}})
        assert "未知的键“train.stepz”。是不是“steps”？" in str(caught.value)
        assert "“train.batch”的值是 0：应不小于 1" in str(caught.value)
    finally:
        language.set_language(None)


def test_presets_then_overrides() -> None:
    presets = {"cpu": {"train": {"steps": 10, "batch": 4}}, "gpu": {"train": {"batch": 256}}}
    recipe = of(
        {"train": {"steps": 5, "seed": 3}, "presets": presets}, preset="cpu", overrides=["train.batch=8", "generate.prompts=[a, b]"]
    )
    assert (recipe.train.steps, recipe.train.batch, recipe.train.seed) == (10, 8, 3)
    assert recipe.generate.prompts == ["a", "b"]
    assert of({"presets": presets}).train.steps == 1000
    with pytest.raises(UsageError, match=r"unknown preset 'cpo'\. Did you mean 'cpu'"):
        of({"presets": presets}, preset="cpo")
    with pytest.raises(UsageError, match="unknown preset 'cpu'"):
        of(preset="cpu")


@pytest.mark.parametrize(
    ("override", "value"),
    [("1e-3", 1e-3), ("2.0e-4", 2e-4), ("1", 1.0)],
)
def test_an_override_means_what_it_looks_like(override: str, value: float) -> None:
    assert of(overrides=[f"train.optimizer.lr={override}"]).train.optimizer.lr == value


def test_overrides_of_every_kind() -> None:
    recipe = of(
        overrides=["train.micro=null", "train.compile=true", "data.source=npm:poems", "train.optimizer.betas=[0.8, 0.9]", "summary=a=b"]
    )
    assert recipe.train.micro is None
    assert recipe.train.compile is True
    assert recipe.data.sources() == [Source(path="npm:poems")]
    assert recipe.train.optimizer.betas == (0.8, 0.9)
    assert recipe.summary == "a=b"


@pytest.mark.parametrize("override", ["train.steps", "=3", "train.steps=[", "summary=2026-13-45", "train.steps=" + "9" * 5000])
def test_overrides_that_are_none(override: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        of(overrides=[override])


def test_an_unknown_override_is_an_unknown_key() -> None:
    with pytest.raises(UsageError, match=r"unknown key 'train\.stepz'\. Did you mean 'steps'"):
        of(overrides=["train.stepz=3"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no recipe"),
        (b"- a\n- b\n", "holds no recipe"),
        (b"just words", "holds no recipe"),
        (b"a: [1\nb: 2\n", r"is not YAML: .* \(line 2\)"),
        (b"name: a\ntrain:\n  steps: 10\n  steps: 20\n", "line 4: 'steps' stands twice"),
        (b"name: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        (b"name: !!python/name:os.system\n", "could not determine a constructor"),
        (b"name: \xff\xfe\n", "not UTF-8"),
        (b"\x00\x01\x02", "not YAML"),
        (b"summary: 2026-13-45\n", "a value that YAML cannot read"),
        (b"seed: " + b"9" * 5000, "a value that YAML cannot read"),
        (b"[" * 5000, "a value that YAML cannot read"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=words) as caught:
        Recipe.load(path)
    assert str(path) in str(caught.value)


def test_a_bomb_of_aliases_is_refused_in_few_words(tmp_path: Path) -> None:
    levels = [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [b"a%d: &a%d [%s]" % (level, level, b", ".join([b"*a%d" % (level - 1)] * 9)) for level in range(1, 12)]
    path = tmp_path / "bomb.yaml"
    path.write_bytes(b"version: 1\n" + b"\n".join(levels) + b"\ntrain: *a11\n")
    with pytest.raises(UsageError, match="unknown key 'a0'") as caught:
        Recipe.load(path)
    assert len(str(caught.value)) < 10_000


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no recipe at"):
        Recipe.load(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="is a folder"):
        Recipe.load(tmp_path)


def test_what_is_written_out_reads_in_as_the_same(tmp_path: Path) -> None:
    recipe = of(
        {"summary": "诗", "data": {"source": [{"path": "npm:poems", "meta": {"era": "唐"}}], "steps": ["clean", {"dedup": "minhash"}]}}
    )
    path = tmp_path / "resolved.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert Recipe.load(path) == recipe


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        of().name = "other"  # type: ignore[misc]


def test_every_recipe_that_ships_is_valid_with_every_preset() -> None:
    from miaobi.core.recipe import read_yaml

    folder = Path(__file__).parents[2] / "recipes"
    for path in sorted(folder.glob("*.yaml")):
        Recipe.load(path)
        for preset in read_yaml(path).get("presets", {}):
            Recipe.load(path, preset=preset)


def test_data_of_another_recipe(tmp_path: Path) -> None:
    (tmp_path / "painter.yaml").write_text("version: 1\nname: painter\ndata: {source: pictures, limit: 9}\nmodel: {family: gan}\n")
    (tmp_path / "codec.yaml").write_text("version: 1\nname: codec\ndata: painter.yaml\nmodel: {family: vae}\n")
    (tmp_path / "judge.yaml").write_text("version: 1\nname: judge\ndata: codec.yaml\nmodel: {family: scorer}\n")
    painter, codec = Recipe.load(tmp_path / "painter.yaml"), Recipe.load(tmp_path / "codec.yaml")
    assert (codec.name, codec.model.family, codec.data) == ("codec", "vae", painter.data)
    assert Recipe.load(tmp_path / "codec.yaml", overrides=["data.limit=3"]).data.limit == 3
    with pytest.raises(UsageError, match=r"codec\.yaml has no data section of its own to share"):
        Recipe.load(tmp_path / "judge.yaml")
    (tmp_path / "painter.yaml").unlink()
    with pytest.raises(UsageError, match=r"there is no recipe at .*painter\.yaml"):
        Recipe.load(tmp_path / "codec.yaml")
