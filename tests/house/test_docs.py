"""What the documentation says is what the program says: the help texts, the site, the recipes that ship."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from miaobi.cli.main import VERBS, top_parser, verb_parser
from miaobi.core.language import set_language

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "cli.md"


@pytest.fixture
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    """Help in English, wrapped at a known width."""
    monkeypatch.setenv("COLUMNS", "102")
    monkeypatch.setenv("MIAOBI_LANG", "en")
    set_language(None)


def reference() -> str:
    """The page of all help texts."""
    parts = ["# The command line\n\nGenerated from `--help`; a test keeps it so.\n"]
    for title, parser in [("miaobi", top_parser()), *((f"miaobi {verb}", verb_parser(verb, [])) for verb in VERBS)]:
        parts.append(f"## {title}\n\n```text\n{parser.format_help()}```\n")
    return "\n".join(parts)


def test_the_page_of_the_command_line_is_its_help(english: None) -> None:
    page = reference()
    if os.environ.get("MIAOBI_UPDATE_DOCS"):
        REFERENCE.write_text(page, encoding="utf-8")
    assert REFERENCE.read_text(encoding="utf-8") == page


def test_every_recipe_that_ships_is_valid() -> None:
    from miaobi.core.recipe import Recipe, read_yaml

    recipes = sorted(ROOT.glob("recipes/*.yaml"))
    assert recipes
    for path in recipes:
        for preset in ("", *read_yaml(path).get("presets", {})):
            assert Recipe.load(path, preset=preset).name


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    assert "妙笔" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
