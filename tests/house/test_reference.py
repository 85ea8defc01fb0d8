"""docs/recipes.md is what the schemas say, and its example is a valid recipe."""

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


def test_the_page_of_recipes_is_current(reference: ModuleType) -> None:
    page = reference.page()
    if os.environ.get("MIAOBI_UPDATE_DOCS"):
        reference.PAGE.write_text(page, encoding="utf-8")
    assert reference.PAGE.read_text(encoding="utf-8") == page, "run: python docs/reference.py"


def test_the_example_is_a_valid_recipe(reference: ModuleType) -> None:
    found = re.search(r"```yaml\n(.*?)```", reference.INTRO, re.S)
    assert found
    recipe = Recipe.of(yaml.safe_load(found.group(1)), preset="small", overrides=["train.steps=10"])
    assert recipe.model.config == {"order": 2}
    assert recipe.train.steps == 10
    assert [step.kind.name for step in choose(recipe.data.steps)] == ["normalise", "length", "dedup"]
