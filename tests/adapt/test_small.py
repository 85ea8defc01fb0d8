"""Made small and carried elsewhere: the rounding and what it costs, GGUF and Hugging Face read back, and the search for settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from miaobi import adapting, api
from miaobi.core.errors import ArtifactError, UsageError
from miaobi.engine.quantise import stepped_bits
from miaobi.engine.tune import parameter, tune
from miaobi.models.common.decoder_rounding import packed, restored, round_to_four_bits

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("inner", [64, 50])
def test_four_bits_are_near_and_the_narrower_ranges_nearer(inner: int) -> None:
    matrix = RANDOM.standard_t(3, size=(6, inner)).astype(np.float32)
    values, scales, zeros = round_to_four_bits(matrix, group=16)
    assert (values.max(), zeros.max()) <= (15, 15)
    error = ((restored(values, scales, zeros, inner=inner) - matrix) ** 2).mean()
    groups = np.pad(matrix, ((0, 0), (0, -inner % 16))).reshape(6, -1, 16)
    low, high = np.minimum(groups.min(-1), 0), np.maximum(groups.max(-1), 0)
    plain = np.maximum(high - low, 1e-9)[..., None] / 15
    zero = np.rint(-low[..., None] / plain)
    naive = (np.clip(np.rint(groups / plain + zero), 0, 15) - zero) * plain
    assert error <= ((naive - groups) ** 2).sum() / matrix.size + 1e-9
    assert error < 0.05 * matrix.var()


def test_two_values_share_a_byte() -> None:
    values, zeros = np.array([[[1, 2, 15, 0]]], np.uint8), np.array([[3, 4, 5]], np.uint8)
    stored = packed(values, zeros)
    assert stored[0].tolist() == [[[1 | 2 << 4, 15]]]
    assert stored[1].tolist() == [[3 | 4 << 4, 5]]


def test_a_row_of_zeros_stays_zero() -> None:
    values, scales, zeros = round_to_four_bits(np.zeros((2, 32), np.float32), group=32)
    assert not restored(values, scales, zeros, inner=32).any()


def test_stepping_scores_as_the_whole_network_does(place: Path) -> None:
    from miaobi.models.common.language import token_bits
    from miaobi.models.common.transformer import TorchStepper

    model: Any = api.load("base", runtime="torch").model
    sequences = [model.codec.lesson(record) for record in _records(5)]
    found = list(stepped_bits(TorchStepper(model.network), sequences))
    expected = [float(bits.sum()) for bits in token_bits(model.network, [ids for ids, _ in sequences])]
    assert found == pytest.approx(expected, rel=1e-4)


def _records(count: int) -> list[Any]:
    from miaobi.core.types import Record

    return [Record(id=str(n), parts=("the red cat sat on the soft mat"[: 31 - 3 * n],)) for n in range(count)]


def test_four_bits_are_measured_and_written(place: Path) -> None:
    reports = {bits: adapting.quantise("base", bits=bits, records=8) for bits in (4, 8)}
    for bits, form in ((4, "int4"), (8, "int8")):
        folder = place / "artifacts" / f"base-{form}"
        assert not (folder / "model.safetensors").exists()
        assert json.loads((folder / "quantise.json").read_text(encoding="utf-8")) == reports[bits]
        small = api.load(f"base-{form}")
        assert small.card.runtime == "onnx"
        assert small.generate("the red", temperature=0, max_tokens=8)[0].text
    costs = {bits: abs(report["difference"]["value"]) for bits, report in reports.items()}
    assert 0 < costs[8] < 0.02
    assert 0 < costs[4] < 0.2
    assert reports[4]["smaller"] > reports[8]["smaller"] > 1.5
    with pytest.raises(ArtifactError, match="exists already"):
        adapting.quantise("base", bits=4, records=8)


def test_gguf_and_hub_say_the_same(place: Path, tmp_path: Path) -> None:
    """Also by another reader than ours: transformers reads the GGUF file and undoes llama.cpp's order of rows itself."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("gguf")
    assert adapting.convert("base", tmp_path / "hf")["same_tokens"] == 1
    found = adapting.convert("base", tmp_path / "gguf" / "base.gguf", form="gguf-f32")
    assert found["logit_error"] < 1e-5
    assert found["same_tokens"] == 1
    ids = torch.arange(5, 17)[None]
    ours: Any = api.load("base", runtime="torch").model
    with torch.no_grad():
        expected = ours.network(ids)
        for folder, more in ((tmp_path / "hf", {}), (tmp_path / "gguf", {"gguf_file": "base.gguf"})):
            theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **more).eval()
            torch.testing.assert_close(theirs(ids).logits, expected, atol=1e-4, rtol=1e-3)
    rounded = adapting.convert("base", tmp_path / "eight.gguf", form="gguf-q8_0")
    assert 1e-4 < rounded["weight_error"] < 0.01
    assert 0 < rounded["bits_a_token"] < 0.01
    with pytest.raises(UsageError, match="exists already"):
        adapting.convert("base", tmp_path / "gguf" / "base.gguf", form="gguf-f32")
    with pytest.raises(UsageError, match=r"unknown format 'ggml'\. Did you mean 'gguf'"):
        adapting.convert("base", tmp_path / "x", form="ggml")


def test_ranges_are_read_and_wrong_ones_named() -> None:
    assert parameter("train.optimizer.lr=log(1e-4,1e-2)").values == (1e-4, 1e-2)
    assert parameter("model.config.layers=int(2, 6)").values == (2, 6)
    assert parameter("train.optimizer.name=choice(adamw, muon)").values == ("adamw", "muon")
    for text, message in (
        ("lr", "takes KEY=RANGE"),
        ("a=lag(1,2)", "unknown range 'lag'"),
        ("a=log(0,1)", "above 0 for log"),
        ("a=int(1.5,3)", "whole for int"),
        ("a=uniform(3,1)", "lower and a higher"),
        ("a=choice(x)", "at least two"),
    ):
        with pytest.raises(UsageError, match=message):
            parameter(text)


def test_a_search_finds_better_values_and_goes_on_after_a_kill(place: Path, recipe: Any) -> None:
    pytest.importorskip("optuna")
    base = {**recipe("searched", "texts.jsonl", steps=6), "model": {"family": "gpt", "config": {"width": 16, "heads": 2, "context": 64}}}
    base["train"] |= {"evaluate_every": 2, "checkpoint_every": 2}
    ranges = ["train.optimizer.lr=log(1e-5,3e-2)", "model.config.layers=choice(1,2)"]
    wrong = ["train.optimiser.lr=log(1e-5,1e-2)"]
    with pytest.raises(UsageError, match=r"unknown key 'train\.optimiser'"):
        adapting.tune(base, wrong)
    told: list[Any] = []
    adapting.tune(base, ranges, trials=3, threads=1, on_trial=told.append)
    assert [trial["number"] for trial in told] == [0, 1, 2]
    folder = place / "runs" / "searched-tune"
    whole, calls = api.recipe_of(base), []

    def dying(*arguments: Any, **options: Any) -> Any:
        def stop(event: Any) -> None:
            if event.kind == "checkpoint" and event.step == 2:
                raise KeyboardInterrupt

        return api.train(*arguments, **{**options, "on_event": stop}, threads=1)

    def counting(*arguments: Any, **options: Any) -> Any:
        calls.append((options["folder"].name, options["resume"]))
        return api.train(*arguments, **options, threads=1)

    parameters = [parameter(text) for text in ranges]
    with pytest.raises(KeyboardInterrupt):
        tune(whole, parameters, folder, train=dying, trials=5)
    report = tune(whole, parameters, folder, train=counting, trials=5)
    assert calls[0] == ("trial-003", True), "the attempt that was cut goes on from its checkpoint"
    assert len(report["trials"]) == 5
    losses = [trial["val_loss"] for trial in report["trials"] if trial["state"] == "complete"]
    assert report["best"]["val_loss"] == min(losses)
    best = api.recipe_of(folder / "best.yaml")
    assert best.train.optimizer.lr == pytest.approx(report["best"]["values"]["train.optimizer.lr"])
    assert "<svg" in (folder / "tune.html").read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="another recipe or other ranges"):
        adapting.tune(base, ranges[:1], trials=5)
    shutil.rmtree(folder)
