"""A working folder with a small language model that was really trained, and data to change it by."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from miaobi import api

COLOURS = ("red", "blue", "golden", "wild", "little", "grey", "hungry", "quiet")
PLACES = ("soft mat", "kitchen", "high wall", "old boat", "warm oven", "green hill")
ANIMALS = ("cat", "horse", "pelican", "fox", "tortoise", "bee")
KINDS = [(COLOURS[n % 8], ANIMALS[(n // 3) % 6], PLACES[(5 * n) % 6], COLOURS[(3 * n + 1) % 8]) for n in range(60)]
TEXTS = [f"the {colour} {animal} sat on the {other} {where}" for colour, animal, where, other in KINDS]
CONFIG = {"width": 32, "layers": 2, "heads": 2, "context": 64}


def training(steps: int, **more: Any) -> dict[str, Any]:
    return {
        "steps": steps,
        "batch": 16,
        "evaluate_every": steps,
        "checkpoint_every": steps,
        "optimizer": {"lr": 5e-3, "weight_decay": 0.0},
        "schedule": {"name": "constant", "warmup": 2},
        "precision": "fp32",
        **more,
    }


def _write_rows(path: Path, rows: list[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def _recipe(name: str, rows: str, *, steps: int = 30, **more: Any) -> dict[str, Any]:
    data = {"source": rows, "split": {"val": 0.25}}
    return {"name": name, "data": data, "model": {"base": "base"}, "train": training(steps), **more}


@pytest.fixture(scope="session")
def recipe() -> Any:
    """A function that makes the recipe of a change of `base`."""
    return _recipe


@pytest.fixture(scope="session")
def write_rows() -> Any:
    """A function that writes JSON Lines."""
    return _write_rows


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with the model `base` in `artifacts/`, pairs to complete and pairs to prefer."""
    folder = tmp_path_factory.mktemp("adapt")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MIAOBI_HOME", str(folder / "home"))
        texts = _write_rows(folder / "texts.jsonl", [{"text": text} for text in TEXTS])
        _write_rows(
            folder / "pairs.jsonl",
            [{"prompt": f"the {colour} {animal}", "completion": f" runs to the {other} {where}"} for colour, animal, where, other in KINDS],
        )
        _write_rows(
            folder / "preferences.jsonl",
            [
                {
                    "prompt": f"the {colour} {animal}",
                    "chosen": f" is on the {other} {where}",
                    "rejected": f" sat on the {other} {where}",
                }
                for colour, animal, where, other in KINDS
            ],
        )
        api.train({**_recipe("base", texts, steps=120), "model": {"family": "gpt", "config": CONFIG}}, threads=1)
        yield folder
