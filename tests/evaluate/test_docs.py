"""The Python in the pages on data and evaluation runs, and what they list is what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from miaobi.core.families import families
from miaobi.data.readers.formats import FORMATS
from miaobi.engine.metrics import known_metrics
from miaobi.trust.formats import FORMATS as LABELLED

DOCS = Path(__file__).parents[2] / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["data.md", "evaluation.md"])
def test_the_python_runs(name: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page(name), re.S)
    assert blocks
    scope: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, name, "exec"), scope)


def test_every_metric_is_on_the_page() -> None:
    text = page("evaluation.md")
    known = set(known_metrics()).union(*(family.metrics for family in families().values()))
    assert [name for name in sorted(known) if f"`{name}`" not in text] == []


def test_every_format_is_on_its_page() -> None:
    aliases = {".ndjson", ".text", ".markdown", ".htm", ".xhtml"}
    assert [suffix for suffix in FORMATS if suffix not in aliases and f"`{suffix}`" not in page("data.md")] == []
    assert [suffix for suffix in LABELLED if f"`{suffix}`" not in page("labels.md")] == []
