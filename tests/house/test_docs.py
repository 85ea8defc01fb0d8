"""What the documentation says is what the program says: the help texts, the site, the recipes that ship."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from miaobi.cli.main import VERBS, top_parser, verb_parser
from miaobi.core.language import speaking, tr

ROOT = Path(__file__).parents[2]
BEGINNINGS = {
    "cli.md": "# The command line\n\nGenerated from `--help`; a test keeps it so.\n",
    "cli.zh.md": "# 命令行\n\n由 `--help` 生成，有测试保证一致。系统的语言是中文时帮助就是中文；否则用 `--lang zh` 或 `MIAOBI_LANG=zh`。\n",
}


def reference(name: str) -> str:
    """The page of all help texts."""
    parts = [BEGINNINGS[name]]
    for title, parser in [("miaobi", top_parser()), *((f"miaobi {verb}", verb_parser(verb, [])) for verb in VERBS)]:
        parts.append(f"## {title}\n\n```text\n{parser.format_help()}```\n")
    return "\n".join(parts)


@pytest.mark.parametrize("name", BEGINNINGS)
def test_the_page_of_the_command_line_is_its_help(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "102")  # where help is wrapped
    monkeypatch.setattr(argparse, "_", tr)  # as `main` does
    with speaking("zh" if name.endswith(".zh.md") else "en"):
        page = reference(name)
    path = ROOT / "docs" / name
    if os.environ.get("MIAOBI_UPDATE_DOCS"):
        path.write_text(page, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == page


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
