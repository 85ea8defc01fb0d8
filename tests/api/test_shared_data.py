"""Recipes with the same data section share what was prepared for one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from miaobi import api
from miaobi.core.recipe import Recipe


def recipe(name: str, seed: int = 0) -> Recipe:
    return Recipe.of({"name": name, "data": {"source": "corpus", "split": {"seed": seed}}, "model": {"family": "ngram"}})


def test_a_data_section_is_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = api.dataset_folder(recipe("one")), api.dataset_folder(recipe("two"))
    assert (first.name[:4], second.name[:4]) == ("one-", "two-"), "nothing is there yet"
    first.mkdir(parents=True)
    assert api.dataset_folder(recipe("two")) == second, "an unfinished one is nobody else's"
    (first / "dataset.json").write_text("{}")
    assert api.dataset_folder(recipe("two")) == first
    assert api.dataset_folder(recipe("two", seed=1)).name.startswith("two-")
    second.mkdir()
    (second / "dataset.json").write_text("{}")
    assert api.dataset_folder(recipe("two")) == second
