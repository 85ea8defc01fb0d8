"""A pulled model gets the graph that it answers with; where something stands in the way, torch answers, and `show` says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from miaobi import api
from miaobi.adapting import quantise
from miaobi.core.artifact import open_artifact, seal
from miaobi.core.families import family
from miaobi.core.types import Record
from miaobi.engine import graphs
from miaobi.engine.pull import pull

pytest.importorskip("transformers")
VALUES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def checkpoint(folder: Path, architecture: str) -> Path:
    """Random weights of an architecture over the letters of a text, as `transformers` would save them."""
    config = {"architecture": architecture, "values": VALUES, "context": 64}
    model: Any = family("hf_transformers").model_class()
    folder.mkdir()
    model.create(config, [Record(id="0", parts=("the quick brown fox jumps over the lazy dog",))]).save(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("plain") / "llama", "llama")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIAOBI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MIAOBI_RUNTIME", raising=False)
    return tmp_path / "home"


def graphs_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("onnx/*"))


def test_a_pulled_model_answers_by_its_graph(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    found = pull(str(llama), on_bytes=lambda *news: told.append(news))
    assert graphs_in(found.folder) == ["model_int8.onnx"]
    assert {(file, done <= total) for file, done, total in told} == {("onnx/model_int8.onnx", True)}
    open_artifact(found.folder, verify=True)
    cost = json.loads((found.folder / "pulled.json").read_text())["graph"]["bits"]
    assert 0 <= cost < graphs.MOST_BITS
    runtime = api.show("llama")["runtime"]
    assert (runtime["computes"], runtime["why"]) == ("onnx", "its graph is there: onnx/model_int8.onnx")
    assert f"{cost:+.4f} bits a token" in runtime["rounding"]
    loaded = api.load("llama")
    assert type(loaded.model).__name__ == "OpenRuntime"
    assert loaded.generate("the", max_tokens=4)[0].label.runtime == "onnx"
    assert api.load("llama", runtime="torch").card.runtime == "torch"
    monkeypatch.setenv("MIAOBI_RUNTIME", "torch")
    assert api.load("llama").card.runtime == "torch"


def test_the_exact_weights_where_eight_bits_cost_too_much(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MOST_BITS", -1.0)
    found = pull(str(llama))
    assert graphs_in(found.folder) == ["model.onnx"]
    theirs, ours = (api.load("llama", runtime=runtime).generate("the quick", temperature=0)[0].text for runtime in ("onnx", "torch"))
    assert theirs == ours


def test_what_stands_in_the_way_is_told(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pull(str(llama), name="plain", graph=False)
    pull(str(checkpoint(tmp_path / "neox", "gpt_neox")))
    monkeypatch.setattr("miaobi.models.hf_transformers.runtime.free_bytes", lambda: 1000)
    pull(str(llama), name="large")
    monkeypatch.undo()
    monkeypatch.setenv("MIAOBI_HOME", str(tmp_path / "home"))
    broken = checkpoint(tmp_path / "broken", "llama")
    (broken / "tokenizer.json").unlink()
    pull(str(broken))
    reasons = {
        "plain": "pulled without one",
        "broken": "there is no graph: broken has no tokenizer.json",
        "neox": "'gpt_neox' runs only in transformers",
        "large": "GB of memory",
    }
    for name, reason in reasons.items():
        assert graphs_in(tmp_path / "home/models" / name) == []
        runtime = api.show(name)["runtime"]
        assert runtime["computes"] == "torch"
        assert reason in runtime["why"]


def test_an_adapter_finds_its_base_after_a_graph_joined_it_and_may_have_a_graph(llama: Path, tmp_path: Path) -> None:
    from miaobi.engine import adapter, lora

    base = pull(str(llama), graph=False)
    learner: Any = api.load("llama", runtime="torch").model
    lora.attach(learner.network, rank=2, alpha=4)
    folder = tmp_path / "home/models/mine"
    folder.mkdir()
    adapter.save(learner, folder, base=base)
    seal(folder, family="hf_transformers", name="mine")
    assert pull(str(llama), replace=True).sha256 != base.sha256
    assert "an adapter is put onto the weights of its base" in api.show("mine")["runtime"]["why"]
    plain = api.load("mine")
    assert plain.card.runtime == "torch"
    api.export("mine", formats=("fp32",))
    exported = api.load("mine")
    assert exported.card.runtime == "onnx"
    assert exported.generate("the quick", temperature=0)[0].text == plain.generate("the quick", temperature=0)[0].text


def test_a_sealed_model_keeps_its_graph_and_what_belongs_to_it(llama: Path, tmp_path: Path, home: Path) -> None:
    """Rounded models have a graph and no weights beside it."""
    source = tmp_path / "small"
    (tmp_path / "held.txt").write_text("the quick brown fox jumps over the lazy dog\n")
    quantise(llama, bits=4, data=tmp_path / "held.txt", out=source)
    (source / "evil.py").write_text("print('evil')")
    found = pull(str(source), name="mine")
    assert graphs_in(found.folder) == ["model_q4.onnx"]
    assert not (found.folder / "evil.py").exists()
    first, again = (api.load(folder).generate("the quick", temperature=0)[0].text for folder in (source, "mine"))
    assert first == again
    assert "quantise.json" in found.files
