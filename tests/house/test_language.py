"""Every message has its Chinese, with the same fields: the source is searched, so that a new message cannot be forgotten."""

from __future__ import annotations

import argparse
import ast
import functools
import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from miaobi.core import language
from miaobi.core.apps import apps
from miaobi.core.families import families
from miaobi.core.recipe import Recipe
from miaobi.data.steps import kinds
from miaobi.models.diffusion.schema import Config

SOURCE = Path(language.__file__).parents[1]
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
TRANSLATED = {"tr", "unknown", "news"}  # functions whose first argument is a template; `news` prints to the person's terminal


def error_names() -> set[str]:
    """MiaobiError and all classes below it, but those that write their template themselves."""
    names = {"MiaobiError"}
    bases = {
        node.name: {ast.unparse(base).split(".")[-1] for base in node.bases}
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    while more := {name for name, above in bases.items() if above & names} - names:
        names |= more
    return names - {"MissingExtra"}


def templates() -> Iterator[tuple[Path, int, ast.expr]]:
    """The first argument of every call that takes a template."""
    known = error_names() | TRANSLATED
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = ast.unparse(node.func).split(".")[-1]
            if name in known or (name == "__init__" and ast.unparse(node.func) == "super().__init__"):
                yield path, node.lineno, node.args[0]


def literals(node: ast.expr) -> Iterator[str]:
    """The strings that an expression may be: a constant, or either side of a conditional."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from literals(node.body)
        yield from literals(node.orelse)


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def catalogue() -> dict[str, str]:
    merged: dict[str, str] = {}
    for path in sorted(language.CATALOGUES.glob("*.json")):
        merged |= json.loads(path.read_text(encoding="utf-8"))
    return merged


def test_every_message_has_its_chinese() -> None:
    known = catalogue()
    missing = [
        f"{path.relative_to(SOURCE)}:{line}: {text}"
        for path, line, node in templates()
        for text in literals(node)
        if text.strip() and text not in known
    ]
    assert not missing, "\n".join(["without Chinese in core/messages/zh:", *missing])


def schemas() -> Iterator[tuple[str, type[BaseModel], bool]]:
    """Every schema that a person fills in, those inside it too, by where it stands, and whether its own docstring is shown as well."""
    found: list[tuple[str, type[BaseModel], bool]] = [("recipe", Recipe, True)]
    found += [(f"step {name}", kind.options, True) for name, kind in kinds().items()]
    found += [(f"family {name}", schema, False) for name, family in families().items() for schema in family.schemas()]
    found += [(f"app {name}", app.schema(), False) for name, app in apps().items()]
    seen: set[type[BaseModel]] = set()
    while found:
        place, schema, shown = found.pop()
        if schema not in seen:
            seen.add(schema)
            yield place, schema, shown
            found += [
                (f"{place}.{key}", inner, True) for key, field in schema.model_fields.items() for inner in models_in(field.annotation)
            ]


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The schemas that an annotation such as `X | None` or `list[X]` names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def test_every_key_that_a_person_may_write_is_explained_in_chinese() -> None:
    texts = [(f"{place}.{key}", field.description) for place, schema, _ in schemas() for key, field in schema.model_fields.items()]
    texts += [(place, schema.__doc__) for place, schema, shown in schemas() if shown]
    texts += [(f"{name} (summary)", kind.summary) for name, kind in (*families().items(), *apps().items())]
    assert len(texts) > 700
    known = catalogue()
    missing = [f"{place}: {text}" for place, text in texts if not text or " ".join(text.split()) not in known]
    assert not missing, "\n".join(["without Chinese in core/messages/zh:", *missing])


def test_a_docstring_of_several_lines_is_found_in_the_catalogue() -> None:
    description = Config.model_fields["predict"].description or ""
    assert "\n" in description
    with language.speaking("zh"):
        assert language.described(description).startswith("网络预测什么")
        assert language.described(None) == ""


def test_no_message_is_an_f_string() -> None:
    """An f-string could not be found in a catalogue."""
    wrong = [f"{path.relative_to(SOURCE)}:{line}" for path, line, node in templates() if isinstance(node, ast.JoinedStr)]
    assert not wrong


@functools.cache
def strings() -> set[str]:
    """Every string in the source; docstrings of several lines as one line, too, which is how `described` asks for them."""
    parser = ast.parse(Path(argparse.__file__).read_text(encoding="utf-8"))  # its own words are translated too
    nodes = (node for tree in (*TREES.values(), parser) for node in ast.walk(tree))
    found = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return found | {" ".join(text.split()) for text in found if "\n" in text}


@pytest.mark.parametrize("path", sorted(language.CATALOGUES.glob("*.json")), ids=lambda path: path.stem)
def test_translations_are_of_messages_that_exist_and_have_their_fields(path: Path) -> None:
    constants = strings()
    for english, chinese in json.loads(path.read_text(encoding="utf-8")).items():
        assert english in constants, f"no source has: {english}"
        assert fields(english) == fields(chinese), english
        assert chinese.strip(), english


def test_one_message_has_one_chinese() -> None:
    seen: dict[str, str] = {}
    for path in sorted(language.CATALOGUES.glob("*.json")):
        for english, chinese in json.loads(path.read_text(encoding="utf-8")).items():
            assert seen.setdefault(english, chinese) == chinese, f"{path.name}: {english}"


def test_the_language_is_chosen_then_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MIAOBI_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    language.set_language(None)  # another test may have chosen
    assert language.language() == "en"
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert language.language() == "zh"
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    assert language.language() == "en"
    monkeypatch.setenv("MIAOBI_LANG", "zh")
    assert language.language() == "zh"
    language.set_language("en")
    try:
        assert language.tr("there is no file at {path}", path="x") == "there is no file at x"
        language.set_language("zh")
        assert language.tr("there is no file at {path}", path="x") == "没有文件 x"
        assert language.tr("not in any catalogue {x}", x=1) == "not in any catalogue 1"
    finally:
        language.set_language(None)
