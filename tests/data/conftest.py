"""What the data tests share: small corpora that are text, and a way to prepare them."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from miaobi.core.recipe import Data
from miaobi.data.dataset import Dataset
from miaobi.data.prepare import prepare

HAN = [chr(code) for code in range(0x4E00, 0x4E00 + 1500)]


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of our own, English, and no matplotlib, which takes a second to import; `test_card.py` brings it back."""
    monkeypatch.setenv("MIAOBI_LANG", "en")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setenv("MIAOBI_HOME", str(tmp_path / "home"))


def sentences(number: int, *, seed: int = 0, length: int = 40) -> list[str]:
    """Texts of random Han characters: no two are alike."""
    rng = random.Random(seed)
    return ["".join(rng.choices(HAN, k=length)) for _ in range(number)]


def write_jsonl(path: Path, texts: list[str], **meta: Any) -> Path:
    """One record a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text, **meta}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Dataset]:
    """Prepare `texts` (or the sources given) into a fresh folder with the given keys of the data section."""
    count = 0

    def run(texts: list[str] | None = None, **section: Any) -> Dataset:
        nonlocal count
        count += 1
        if texts is not None:
            section["source"] = str(write_jsonl(tmp_path / f"texts-{count}.jsonl", texts))
        section.setdefault("split", {"val": 0, "test": 0})
        return prepare(Data.model_validate(section), tmp_path / f"dataset-{count}", name="test")

    return run


def dropped(dataset: Dataset) -> list[dict[str, Any]]:
    """The lines of dropped.jsonl."""
    return [json.loads(line) for line in (dataset.folder / "dropped.jsonl").read_text(encoding="utf-8").splitlines()]
