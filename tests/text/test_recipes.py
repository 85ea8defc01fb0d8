"""The recipes of the text families are valid, share their data, and the script behind Austen's reads R's format."""

from __future__ import annotations

import importlib.util
import zlib
from pathlib import Path
from types import ModuleType

import pytest

from miaobi.core.families import family
from miaobi.core.recipe import Recipe
from miaobi.core.schema import validate
from miaobi.data.steps import choose
from miaobi.engine.metrics import find_metric

FOLDER = Path(__file__).parents[2] / "recipes" / "text"
RECIPES = sorted(FOLDER.glob("*/*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recipe_is_valid(path: Path) -> None:
    recipe = Recipe.load(path)
    assert recipe.name.endswith(f"-{path.stem}")
    assert path.parent.name == "labels" or recipe.name == f"{path.parent.name}-{path.stem}"
    kind = family(recipe.model.family or "bert")
    config, options = kind.schemas()
    validate(config, recipe.model.config, "model.config")
    validate(options, recipe.generate.options, "generate.options")
    choose(recipe.data.steps)
    for name in recipe.evaluate.metrics:
        find_metric(name, kind)


@pytest.mark.parametrize("name", ["poems", "austen"])
def test_what_is_compared_learns_the_same(name: str) -> None:
    compared = [Recipe.load(path) for path in RECIPES if path.parent.name == name]
    assert {recipe.name for recipe in compared} == {
        f"{name}-{each}" for each in ("ngram", "ffn", "rnn", "lstm", "gru", "gpt", "bert", "seq2seq")
    }
    assert all(recipe.data == compared[0].data for recipe in compared)
    assert all(recipe.evaluate == compared[0].evaluate for recipe in compared)
    continuing = [recipe for recipe in compared if recipe.model.family != "seq2seq"]
    assert all(recipe.generate.prompts == continuing[0].generate.prompts for recipe in continuing), "whichever comes first, they are asked"


@pytest.fixture(scope="module")
def austen() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_austen", FOLDER / "build_austen.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def vector(lines: list[str]) -> bytes:
    """A character vector as R serialises it, version 3."""
    encoded = [line.encode() for line in lines]
    head = b"X\n" + b"".join(number.to_bytes(4, "big") for number in (3, 0x40201, 0x30500, 5)) + b"UTF-8"
    body = b"".join((9).to_bytes(4, "big") + len(one).to_bytes(4, "big") + one for one in encoded)
    return head + (16).to_bytes(4, "big") + len(lines).to_bytes(4, "big") + body


def test_lists_of_lines_are_read_out_of_r_files(austen: ModuleType) -> None:
    books = [["EMMA", "", "Emma — handsome"], ["PERSUASION"]]
    data = b"".join(len(raw := vector(book)).to_bytes(4, "big") + zlib.compress(raw) for book in books)
    assert list(austen.vectors(data)) == books


def test_passages_are_whole_sentences_of_a_chapter(austen: ModuleType) -> None:
    long = " ".join(f"It was the {number}th fine day, and Mr. Knightley came again." for number in range(20))
    lines = ["EMMA", "", "by Jane Austen", "", "CHAPTER I", "", *long.split(" and "), "", "CHAPTER II", "", "_She_ stayed."]
    found = list(austen.passages(lines))
    assert {row["title"] for row in found} == {"Emma"}
    assert all(300 <= len(row["text"]) <= 420 for row in found[:-2])
    assert found[0]["before"] == ""
    assert found[1]["before"] == found[0]["text"]
    assert (found[-1]["text"], found[-1]["before"]) == ("She stayed.", "")
    assert "Jane Austen" not in "".join(row["text"] for row in found)
