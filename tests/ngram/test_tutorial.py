"""The tutorial "write your own family" is executed: its files become an installed package, its lines run, its recipe trains."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE, CHINESE = DOCS / "write-your-own-family.md", DOCS / "write-your-own-family.zh.md"
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONTRACT = Path(__file__).parents[1] / "test_families.py"


def blocks(path: Path) -> list[tuple[str, str, str]]:
    """Language, file name and body of every block; the bodies of one file follow each other."""
    return BLOCK.findall(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the page in a folder, with the metadata that pip would write from its pyproject.toml."""
    folder = tmp_path_factory.mktemp("bigram")
    files: dict[str, str] = {}
    for _, name, body in blocks(PAGE):
        if name:
            files[name] = files[name] + "\n" + body if name in files else body
    for name, body in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(body, encoding="utf-8")
    project = tomllib.loads(files["pyproject.toml"])["project"]
    metadata = folder / "miaobi_bigram-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"]["miaobi.families"]
    (metadata / "entry_points.txt").write_text("[miaobi.families]\n" + "".join(f"{key} = {value}\n" for key, value in points.items()))
    return folder


def run(installed: Path, *command: str) -> str:
    """The output of a Python command in which the package is installed."""
    environment = os.environ | {
        "PYTHONPATH": str(installed),
        "MIAOBI_LANG": "en",
        "OMP_NUM_THREADS": "1",
        "MIAOBI_HOME": str(installed / "home"),
    }
    result = subprocess.run([sys.executable, *command], cwd=installed, env=environment, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_every_line_runs(installed: Path) -> None:
    lines = "\n".join(body for language, name, body in blocks(PAGE) if language == "python" and not name)
    assert lines.count("assert") >= 6
    (installed / "lines.py").write_text(lines, encoding="utf-8")
    run(installed, "lines.py")


def test_the_recipe_trains_and_the_model_writes(installed: Path) -> None:
    lines = "\n".join(body for language, name, body in blocks(PAGE) if language == "python" and not name)
    poems = re.findall(r'^    "(.+)",$', lines, re.MULTILINE)
    assert len(poems) == 7
    rows = (json.dumps({"text": json.loads(f'"{poem}"')}, ensure_ascii=False) + "\n" for poem in poems)
    (installed / "poems.jsonl").write_text("".join(rows), encoding="utf-8")
    assert "bigram" in run(installed, "-m", "miaobi.cli.main", "models")
    run(installed, "-m", "miaobi.cli.main", "train", "bigram.yaml", "--quiet")
    written = run(installed, "-m", "miaobi.cli.main", "generate", "artifacts/bigram", "明月", "--seed", "3", "--max-tokens", "20")
    assert "人工智能生成" in written


def test_the_family_keeps_the_contract(installed: Path) -> None:
    """The house's own contract test finds the installed family and passes it."""
    found = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(installed), str(CONTRACT), "-k", "bigram")
    assert re.search(r"\d+ passed", found)


def test_both_languages_show_the_same_code() -> None:
    assert [(language, name, body) for language, name, body in blocks(CHINESE)] == blocks(PAGE)
