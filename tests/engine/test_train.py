"""The training loop: exact accumulation, bit-identical resume wherever it was cut, and checkpoints that survive kill -9."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from miaobi.core.artifact import file_sha256
from miaobi.core.errors import ArtifactError, Busy, DataError, MiaobiError, UsageError
from miaobi.core.recipe import Optimizer, Recipe, Schedule
from miaobi.core.types import Record
from miaobi.engine import checkpoint
from miaobi.engine.batches import Batches, epoch_batches
from miaobi.engine.journal import TrainEvent
from miaobi.engine.optim import Average, Lion, learning_rate, make_optimizer, orthogonalise, tables_of
from miaobi.engine.train import train

RECORDS = [Record(id=str(i), parts=(f"第{i}首：" + "春花秋月何时了往事知多少"[: 3 + i % 9],)) for i in range(120)]
SPLITS = {"train": RECORDS[20:], "val": RECORDS[:20]}


def recipe(**changes: Any) -> Recipe:
    """A training of seconds whose batches are ragged and cut into micro-batches of unequal size."""
    section = {
        "steps": 24,
        "batch": 10,
        "micro": 4,
        "optimizer": {"lr": 3e-3},
        "schedule": {"warmup": 4},
        "precision": "fp32",
        "batching": "bucketed",
        "evaluate_every": 6,
        "checkpoint_every": 5,
        "log_every": 1,
        "ema": 0.9,
    } | changes
    config = {"width": 16, "layers": 1, "heads": 2, "context": 16, "dropout": 0.1}
    return Recipe.of({"name": "try", "model": {"family": "gpt", "config": config}, "train": section})


def losses(run: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {row["step"]: row["loss"] for row in rows if row["kind"] == "step"}


class Cut(Exception):
    """Stands for a crash: raised by the watcher of the training."""


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that every broken one must equal."""
    run = tmp_path_factory.mktemp("unbroken") / "run"
    result = train(recipe(), SPLITS, run, threads=1)
    assert result.artifact is not None
    assert result.val_loss is not None
    return run


def assert_equal(run: Path, unbroken: Path) -> None:
    assert losses(run) == losses(unbroken)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert file_sha256(run / "artifact" / name) == file_sha256(unbroken / "artifact" / name), name
    newest = "checkpoints/step-000024"
    for name in (checkpoint.MODEL, checkpoint.OPTIM):
        assert file_sha256(run / newest / name) == file_sha256(unbroken / newest / name), name


def test_the_run_tells_how_it_went(unbroken: Path, tmp_path: Path) -> None:
    assert (unbroken / "loss.svg").read_text(encoding="utf-8").startswith("<svg")
    asked = Recipe.of(recipe(steps=4, sample_every=2, tensorboard=True).model_dump(mode="json") | {"generate": {"prompts": ["第", "春"]}})
    train(asked, SPLITS, tmp_path / "run", threads=1)
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["step"], row["prompt"]) for row in samples] == [(2, "第"), (2, "春"), (4, "第"), (4, "春")]
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_the_loss_falls(unbroken: Path) -> None:
    by_step = losses(unbroken)
    assert np.mean([by_step[step] for step in range(20, 25)]) < 0.9 * by_step[1]


@pytest.mark.parametrize("step", [1, 7, 13, 23])
def test_a_crash_between_steps_leaves_a_run_that_ends_the_same(step: int, tmp_path: Path, unbroken: Path) -> None:
    def crash(event: TrainEvent) -> None:
        if event.kind == "step" and event.step == step:
            raise Cut

    with pytest.raises(Cut):
        train(recipe(), SPLITS, tmp_path / "run", threads=1, on_event=crash)
    train(recipe(), SPLITS, tmp_path / "run", threads=1, resume=True)
    assert_equal(tmp_path / "run", unbroken)


def test_an_interruption_inside_an_accumulation_is_done_again_from_the_step_before(
    tmp_path: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from miaobi.models.common.language import CausalLoss

    calls = 0
    original = CausalLoss.loss

    def loss(self: CausalLoss, batch: Any, phase: str, /) -> Any:
        nonlocal calls
        calls += 1
        if calls == 20:  # three micro-batches a step and evaluations between: inside an accumulation
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, phase)

    monkeypatch.setattr(CausalLoss, "loss", loss)
    result = train(recipe(), SPLITS, tmp_path / "run", threads=1)
    assert result.interrupted
    assert result.artifact is None
    assert 0 < result.steps < 24
    state = json.loads((tmp_path / "run" / "checkpoints" / f"step-{result.steps:06d}" / "state.json").read_text())
    assert state["step"] == result.steps
    train(recipe(), SPLITS, tmp_path / "run", threads=1, resume=True)
    assert_equal(tmp_path / "run", unbroken)


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_train import SPLITS, recipe
from miaobi.engine.train import train
train(recipe(steps=24), SPLITS, Path(sys.argv[2]), threads=1, resume=True, on_event=lambda event: print(event.kind, event.step, flush=True))
"""


def test_kill_9_at_any_moment_leaves_a_run_that_ends_the_same(tmp_path: Path, unbroken: Path) -> None:
    run = tmp_path / "run"
    for wait in (3, 8, 14):  # events after which the process is killed, each time a little later
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(run)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for number, _ in enumerate(process.stdout):
                if number == wait:
                    time.sleep(0.002 * wait)
                    process.kill()
                    break
        saved = checkpoint.newest(run)
        assert saved is None or saved.state["step"] % 5 == 0
    train(recipe(), SPLITS, run, threads=1, resume=True)
    assert_equal(run, unbroken)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, unbroken: Path) -> None:
    run = tmp_path / "run"

    def crash(event: TrainEvent) -> None:
        if event.kind == "step" and event.step == 17:
            raise Cut

    with pytest.raises(Cut):
        train(recipe(), SPLITS, run, threads=1, on_event=crash)
    weights = run / "checkpoints" / "step-000015" / checkpoint.MODEL
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    found = checkpoint.newest(run)
    assert found is not None
    assert found.state["step"] == 10
    train(recipe(), SPLITS, run, threads=1, resume=True)
    assert_equal(run, unbroken)
    for folder in (run / "checkpoints").iterdir():
        (folder / checkpoint.STATE).write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        checkpoint.newest(run)


def test_the_newest_checkpoint_is_that_of_the_most_steps(tmp_path: Path) -> None:
    weights = {"w": torch.zeros(1)}
    for step in (999_999, 1_000_000):
        checkpoint.save(tmp_path, step=step, model=weights, optim=weights, state={"best_step": 0}, keep=1)
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.state["step"] == 1_000_000


def test_a_run_is_never_overwritten(unbroken: Path) -> None:
    with pytest.raises(UsageError, match="--resume"):
        train(recipe(), SPLITS, unbroken, threads=1)


def test_two_trainings_on_one_run_folder(tmp_path: Path) -> None:
    with checkpoint.lock(tmp_path / "run"), pytest.raises(Busy, match="another training"):
        train(recipe(), SPLITS, tmp_path / "run")


def test_checkpoints_of_another_model_are_refused(tmp_path: Path, unbroken: Path) -> None:
    other = Recipe.of({"name": "try", "model": {"family": "gpt", "config": {"width": 32, "layers": 1, "heads": 2, "context": 16}}})
    with pytest.raises(ArtifactError, match="another model configuration"):
        train(other, SPLITS, unbroken, resume=True)


def test_no_records_and_a_family_that_does_not_learn(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training records"):
        train(recipe(), {"train": []}, tmp_path / "run")


def test_a_disk_that_fills_while_a_checkpoint_is_written(tmp_path: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: Any, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    run = tmp_path / "run"
    original = checkpoint.save_file
    monkeypatch.setattr(checkpoint, "save_file", lambda tensors, path: (full if "000010" in str(path) else original)(tensors, path))
    with pytest.raises(MiaobiError, match="the disk is full"):
        train(recipe(), SPLITS, run, threads=1)
    assert [folder.name for folder in (run / "checkpoints").iterdir()] == ["step-000005"]
    monkeypatch.undo()
    train(recipe(), SPLITS, run, threads=1, resume=True)
    assert_equal(run, unbroken)


def test_a_loss_that_is_not_a_number_stops_with_advice(tmp_path: Path) -> None:
    with pytest.raises(MiaobiError, match=r"lower train\.optimizer\.lr"):
        train(recipe(optimizer={"lr": 1e30, "name": "sgd"}, clip=0.0, schedule={"warmup": 0}), SPLITS, tmp_path / "run", threads=1)


def test_accumulation_is_exact_on_ragged_batches(tmp_path: Path) -> None:
    """The same step with micro-batches of 3 and in one piece gives the same weights, though the parts weigh differently."""
    weights = []
    for micro in (3, None):
        run = tmp_path / str(micro)
        changed = recipe(micro=micro, steps=2, evaluate_every=9, ema=0.0, batch=11).model_dump(mode="json")
        changed["model"]["config"]["dropout"] = 0.0  # masks would be drawn anew for each part
        train(Recipe.of(changed), SPLITS, run, threads=1)
        weights.append(load_file(run / "artifact" / "model.safetensors"))
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-4, atol=2e-5)


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    noisy = recipe(optimizer={"lr": 0.3}, steps=60, evaluate_every=2, early_stopping={"patience": 3}, ema=0.0)
    result = train(noisy, SPLITS, tmp_path / "run", threads=1)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    evaluations = {row["step"]: row["val_loss"] for row in rows if row["kind"] == "evaluate"}
    best = min(evaluations, key=lambda step: evaluations[step])
    assert result.steps < 60
    assert result.steps == best + 3 * 2
    kept = load_file(tmp_path / "run" / "artifact" / "model.safetensors")["model.norm.weight"]
    saved = checkpoint.read(tmp_path / "run" / "checkpoints" / f"step-{best:06d}")
    assert saved is not None
    assert torch.equal(kept, saved.model["norm.weight"])


def test_the_deterministic_mode_is_on_while_it_trains_and_two_runs_are_equal(tmp_path: Path) -> None:
    asked = recipe(steps=6, deterministic=True)
    seen: list[bool] = []
    for name in ("a", "b"):
        train(asked, SPLITS, tmp_path / name, threads=2, on_event=lambda _: seen.append(torch.are_deterministic_algorithms_enabled()))
    torch.use_deterministic_algorithms(False)
    assert seen
    assert all(seen)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")


@pytest.mark.slow  # the compiler takes its time
def test_a_compiled_network_learns_the_same(tmp_path: Path) -> None:
    runs = {}
    for name in ("eager", "compiled"):
        asked = recipe(steps=6, compile=name == "compiled", ema=0.0)
        asked.model.config["dropout"] = 0.0  # the compiler draws other random numbers
        train(asked, SPLITS, tmp_path / name, threads=1)
        runs[name] = losses(tmp_path / name)
    assert list(runs["compiled"].values()) == pytest.approx(list(runs["eager"].values()), rel=1e-4)
    saved = load_file(tmp_path / "compiled" / "artifact" / "model.safetensors")
    assert saved.keys() == load_file(tmp_path / "eager" / "artifact" / "model.safetensors").keys()


# ---------------------------------------------------------------- its parts


def test_batches_are_a_function_of_seed_and_epoch() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, size=1000)
    one = epoch_batches(lengths, 16, batching="bucketed", seed=3, epoch=2)
    two = epoch_batches(lengths, 16, batching="bucketed", seed=3, epoch=2)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], epoch_batches(lengths, 16, batching="bucketed", seed=3, epoch=3)[0])
    seen = np.concatenate(one)
    assert len(np.unique(seen)) == len(seen) == 1000 // 16 * 16
    spread = np.mean([np.ptp(lengths[batch]) for batch in one])
    plain = np.mean([np.ptp(lengths[batch]) for batch in epoch_batches(lengths, 16, batching="shuffled", seed=3, epoch=2)])
    assert spread < 0.2 * plain


def test_packed_batches_hold_a_whole_batch_of_units_and_every_record() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, size=500)
    batches = epoch_batches(lengths, 4, batching="packed", seed=0, epoch=0, context=64)
    assert sorted(np.concatenate(batches)) == list(range(500))
    assert all(lengths[batch].sum() <= 4 * 64 for batch in batches)
    assert np.mean([lengths[batch].sum() for batch in batches[:-1]]) > 0.85 * 4 * 64


def test_the_sequence_of_batches_runs_over_epochs() -> None:
    batches = Batches([1] * 10, 4, batching="shuffled", seed=0)
    epochs = [batches.at(step)[0] for step in range(6)]
    assert epochs == [0, 0, 1, 1, 2, 2]
    again = Batches([1] * 10, 4, batching="shuffled", seed=0)
    assert np.array_equal(again.at(5)[1], Batches([1] * 10, 4, batching="shuffled", seed=0).at(5)[1])


def test_schedules() -> None:
    def at(step: int, **values: Any) -> float:
        return learning_rate(step, 100, Schedule(**values))

    assert at(0, warmup=10) == pytest.approx(0.1)
    assert at(9, warmup=10) == 1
    assert at(100, warmup=0, name="cosine", floor=0.1) == pytest.approx(0.1)
    assert at(50, warmup=0, name="cosine", floor=0.0) == pytest.approx(0.5)
    assert at(75, warmup=0, name="linear", floor=0.0) == pytest.approx(0.25)
    assert at(79, warmup=0, name="wsd", decay=0.2, floor=0.0) == 1
    assert at(85, warmup=0, name="wsd", decay=0.2, floor=0.0) == pytest.approx(0.5)
    assert at(100, warmup=0, name="wsd", decay=0.2, floor=0.0) == pytest.approx(0, abs=1e-9)
    assert at(99, warmup=0, name="constant") == 1


def test_norms_and_biases_do_not_decay() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    groups = make_optimizer(network.parameters(), Optimizer(weight_decay=0.3)).param_groups
    decayed = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decayed[id(network[0].weight)] == 0.3
    assert decayed[id(network[0].bias)] == decayed[id(network[1].weight)] == decayed[id(network[1].bias)] == 0


def test_lion_takes_the_sign_of_the_interpolated_momentum() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    lion = Lion([weight], lr=0.1, betas=(0.9, 0.99), weight_decay=0.5)
    expected, momentum = np.array([1.0, -2.0, 3.0]), np.zeros(3)
    for gradient in ([0.3, -0.2, 0.0], [-5.0, 0.1, 0.2]):
        weight.grad = torch.tensor(gradient)
        lion.step()
        direction = np.sign(0.9 * momentum + 0.1 * np.array(gradient))
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * direction
        momentum = 0.99 * momentum + 0.01 * np.array(gradient)
        np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-6)


def test_muon_is_torchs_muon_on_maps_and_torchs_adamw_on_tables_and_vectors() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Embedding(7, 12), torch.nn.Linear(12, 20), torch.nn.Linear(20, 5))
    twin = copy.deepcopy(network)
    section = Optimizer(name="muon", lr=0.01, momentum=0.95, weight_decay=0.1)
    ours = make_optimizer(network.parameters(), section, tables=tables_of(network), dtype=torch.bfloat16)
    maps = [twin[1].weight, twin[2].weight]
    vectors = [twin[1].bias, twin[2].bias]
    muon = torch.optim.Muon(maps, lr=0.01, momentum=0.95, weight_decay=0.1, nesterov=True, adjust_lr_fn="match_rms_adamw")
    plain = {"lr": 0.01, "betas": section.betas, "eps": section.eps}
    adamw = torch.optim.AdamW([{"params": [twin[0].weight], "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}], **plain)
    draw = torch.Generator().manual_seed(0)
    for _ in range(5):
        for one, two in zip(network.parameters(), twin.parameters(), strict=True):
            one.grad = torch.randn(one.shape, generator=draw)
            two.grad = one.grad.clone()
        for optimizer in (ours, muon, adamw):
            optimizer.step()
    for one, two in zip(network.parameters(), twin.parameters(), strict=True):
        rounding = 1e-3 if any(two is matrix for matrix in maps) else 1e-6  # bf16 products are rounded in another order
        torch.testing.assert_close(one, two, rtol=0, atol=rounding)


def test_an_orthogonalised_matrix_has_singular_values_near_one() -> None:
    for shape in ((20, 50), (50, 20), (32, 32)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        values = torch.linalg.svdvals(orthogonalise(matrix))
        assert 0.5 < values.min() <= values.max() < 1.3


def test_the_average_of_weights_follows_and_swaps_back() -> None:
    network = torch.nn.Linear(2, 1, bias=False)
    average = Average(network, 0.5)
    start = network.weight.detach().clone()
    with torch.no_grad():
        network.weight.add_(1.0)
    average.update(network, 100)
    moved = network.weight.detach().clone()
    average.swap(network)
    torch.testing.assert_close(network.weight.detach(), start + 0.5)
    average.swap(network)
    assert torch.equal(network.weight.detach(), moved)
