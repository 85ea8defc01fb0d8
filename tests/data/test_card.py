"""The data card counts what is there, and its plots are pictures."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.data.conftest import sentences

from miaobi.core.recipe import Data
from miaobi.data.dataset import Dataset
from miaobi.data.prepare import prepare


def test_counts_lengths_licences_and_losses(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    lines = [{"text": "明" * length, "era": "唐" if length % 2 else "宋", "n": length} for length in range(1, 101)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n{broken\n", encoding="utf-8")
    (tmp_path / "note.docx").write_bytes(b"PK")
    card = make(source={"path": str(tmp_path), "files": "[an]*.*", "licence": "CC0-1.0"}, steps=[{"length": {"least": 11}}]).card
    assert card["records"] == {"read": 101, "kept": 90, "train": 90, "val": 0, "test": 0}
    assert card["dropped"] == [
        {"step": "length", "reason": "too_short", "records": 10},
        {"step": "read", "reason": "not_json", "records": 1},
    ]
    assert card["lengths"]["mean"] == 55.5
    assert card["lengths"]["quantiles"] == {"0%": 11, "5%": 15, "25%": 33, "50%": 55, "75%": 78, "95%": 96, "100%": 100}
    assert card["characters"] == {"total": 4995, "distinct": 1, "cover_99.5%": 1, "train": 4995, "val": 0, "test": 0}
    assert card["meta"]["era"] == {"distinct": 2, "most": {"宋": 45, "唐": 45}}
    assert card["licences"] == ["CC0-1.0"]
    assert card["sources"][0]["skipped_files"] == ["note.docx"]
    assert card["sources"][0]["kept"] == 90
    assert card["steps"] == [{"length": {"least": 11, "most": None, "unit": "characters"}}]


def test_readme_is_a_hub_card_and_cannot_be_broken_by_values(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "明月", "title": "a|b<script>\n"}) + "\n", encoding="utf-8")
    readme = (make(source={"path": str(tmp_path / "a.jsonl"), "licence": "MIT"}).folder / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("---\nlicense:\n- MIT\n")
    assert "<script>" not in readme
    assert "a\\|b&lt;script>  (1)" in readme


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib belongs to the extra data")
def test_plots_are_written_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib", raising=False)
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"text": text, "kind": "ab"[number % 2]}) + "\n" for number, text in enumerate(sentences(30)))
    )
    section = Data.model_validate(
        {"source": str(tmp_path / "a.jsonl"), "steps": [{"length": {"most": 40}}], "split": {"val": 0, "test": 0}}
    )
    dataset = prepare(section, tmp_path / "one")
    readme = (dataset.folder / "README.md").read_text(encoding="utf-8")
    for name in ("lengths", "field-kind"):
        assert (dataset.folder / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"![{name}](plots/{name}.png)" in readme
    again = prepare(section, tmp_path / "two", name="one")
    assert (again.folder / "plots" / "lengths.png").read_bytes() == (dataset.folder / "plots" / "lengths.png").read_bytes()
