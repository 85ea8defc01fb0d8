"""Processes that train together: the same weights as one process that takes the parts of a batch one after another, and no silent loss."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.recipe import Recipe
from miaobi.core.types import Record
from miaobi.engine import parallel
from miaobi.engine.journal import TrainEvent
from miaobi.engine.peers import Peers
from miaobi.engine.train import train

RECORDS = [Record(id=str(i), parts=(f"第{i}首：" + "春花秋月何时了往事知多少"[: 3 + i % 9],)) for i in range(60)]
SPLITS = {"train": RECORDS[10:], "val": RECORDS[:10]}


def recipe(workers: int, family: str = "gpt") -> Recipe:
    section = {
        "steps": 6,
        "batch": 8,
        "micro": 4,
        "precision": "fp32",
        "evaluate_every": 3,
        "checkpoint_every": 3,
        "log_every": 1,
        "ema": 0.9,
    }
    config = {"width": 16, "layers": 1, "heads": 2, "context": 16, "dropout": 0.1} if family == "gpt" else {}
    model = {"family": family, "config": config}
    return Recipe.of({"name": "try", "model": model, "train": section, "scale": {"workers": workers}})


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training of one process."""
    run = tmp_path_factory.mktemp("one")
    train(recipe(1), SPLITS, run, threads=1)
    return run


def assert_equal(one: Path, two: Path) -> None:
    assert rows(one) == rows(two)
    weights = [load_file(run / "artifact" / "model.safetensors") for run in (one, two)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def rows(run: Path) -> list[dict[str, Any]]:
    """The log, without what time it took."""
    found = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in row.items() if name not in ("seconds", "units_per_second")} for row in found]


def test_two_processes_learn_what_one_does(one: Path, tmp_path: Path) -> None:
    """A batch of two micro-batches: a sum of two has one order only, so weights are equal to the bit."""
    train(recipe(2), SPLITS, tmp_path / "two", threads=2)
    assert_equal(one, tmp_path / "two")


def test_what_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one pass"):
        train(recipe(2, "ngram"), SPLITS, tmp_path / "run")
    with pytest.raises(UsageError, match="stays in this process"):
        train(recipe(2), SPLITS, tmp_path / "run", reward=lambda prompt, answer, meta: 1.0)
    with pytest.raises(UsageError, match="there are 0 GPUs"):
        parallel.threads_of(2, None, "cuda")


def test_parts_are_each_taken_once() -> None:
    indices = torch.arange(11).numpy()
    for micro in (None, 2, 3, 20):
        taken = [part for rank in range(3) for part in Peers(rank, 3).parts(indices, micro)]
        assert sorted(int(index) for _, part in taken for index in part) == list(range(11))
        assert len({number for number, _ in taken}) == len(taken)
    assert [len(part) for _, part in Peers().parts(indices, None)] == [11]


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_training_with_a_sentence_and_it_can_go_on(
    one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[subprocess.Popen[bytes]] = []
    start = parallel._start

    def watched(*arguments: Any) -> subprocess.Popen[bytes]:
        others.append(start(*arguments))
        return others[-1]

    def kill(event: TrainEvent) -> None:
        if event.kind == "step" and event.step == 4:
            os.kill(others[0].pid, signal.SIGKILL)

    monkeypatch.setattr(parallel, "_start", watched)
    with pytest.raises(MiaobiError, match="Go on from the last checkpoint"):
        train(recipe(2), SPLITS, tmp_path / "two", threads=2, on_event=kill)
    train(recipe(2), SPLITS, tmp_path / "two", threads=2, resume=True)
    assert_equal(one, tmp_path / "two")
    assert all(other.poll() is not None for other in others)


@pytest.mark.slow
def test_a_process_that_does_not_start_says_why(tmp_path: Path) -> None:
    good = recipe(2)
    wrong = good.model_copy(update={"model": good.model.model_copy(update={"config": {"width": -1}})})
    job = parallel.Job(recipe=wrong, splits=SPLITS, folder=tmp_path, tokenizer=None, base=None, device="cpu", threads=2, resume=False)
    with pytest.raises(MiaobiError, match=r"did not start: .*width"), parallel.company(job):
        pass
