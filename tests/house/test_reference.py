"""docs/recipes.md and docs/recipes.zh.md are what the schemas say, and their example is a valid recipe."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from miaobi.core.recipe import Recipe
from miaobi.data.steps import choose

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_of_recipes_is_current(reference: ModuleType, language: str) -> None:
    page, path = reference.page(language), reference.PAGES[language]
    if os.environ.get("MIAOBI_UPDATE_DOCS"):
        path.write_text(page, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == page, "run: python docs/reference.py"


def test_the_chinese_page_has_the_same_keys_and_no_english_explanation(reference: ModuleType) -> None:
    rows = {
        language: [line.split(" | ") for line in reference.page(language).splitlines() if line.startswith("| `")]
        for language in ("en", "zh")
    }
    assert [row[0] for row in rows["en"]] == [row[0] for row in rows["zh"]]
    assert not [row for row in rows["zh"] if not re.search(r"[\u4e00-\u9fff]", row[-1])]


def test_the_example_is_a_valid_recipe(reference: ModuleType) -> None:
    found = re.search(r"```yaml\n(.*?)```", reference.page("en"), re.S)
    assert found
    assert found.group() in reference.page("zh")
    recipe = Recipe.of(yaml.safe_load(found.group(1)), preset="small", overrides=["train.steps=10"])
    assert recipe.model.config == {"order": 2}
    assert recipe.train.steps == 10
    assert [step.kind.name for step in choose(recipe.data.steps)] == ["normalise", "length", "dedup"]
