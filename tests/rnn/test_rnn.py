"""Recurrent language models: numpy's cells are torch's, rows do not see one another, and memory has no end."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from miaobi.core.errors import ArtifactError, UsageError  # noqa: E402
from miaobi.core.types import Record, Request  # noqa: E402
from miaobi.engine.generate import collect  # noqa: E402
from miaobi.models.rnn.cells import Cells  # noqa: E402
from miaobi.models.rnn.model import RNN, TOKENS  # noqa: E402
from miaobi.models.rnn.runtime import RNNRuntime  # noqa: E402
from miaobi.models.rnn.schema import Config  # noqa: E402
from miaobi.models.rnn.stepper import RecurrentStepper  # noqa: E402

TEXTS = ("床前明月光，疑是地上霜。", "举头望明月，低头思故乡。")
RECORDS = [Record(id=f"{number}", parts=(text,)) for number, text in enumerate(TEXTS * 2)]
SHAPES: list[dict[str, Any]] = [
    {"cell": "ffn", "width": 12, "hidden": 20, "layers": 2, "window": 4},
    {"cell": "rnn", "width": 12, "layers": 2},
    {"cell": "lstm", "width": 12, "hidden": 20, "layers": 2},
    {"cell": "gru", "width": 12, "hidden": 20, "tied": False},
]


def make(**config: Any) -> RNN:
    """A model with random weights, not all of them those that training begins with."""
    model = RNN.create(config, RECORDS, seed=3)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)), alpha=0.1)
    model.network.eval()
    return model


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape["cell"])
def test_numpy_computes_what_torch_computes(shape: dict[str, Any]) -> None:
    model = make(**shape)
    cells = Cells(Config(**shape), {name: tensor.numpy() for name, tensor in model.network.state_dict().items()})
    tokens = np.random.default_rng(0).integers(0, cells.vocab_size, (3, 9))
    with torch.no_grad():
        expected, _ = model.network(torch.from_numpy(tokens))
    found, state = cells.advance(tokens[:, :4], None)
    np.testing.assert_allclose(found, expected[:, 3].numpy(), atol=2e-5)
    for step in range(4, 9):
        found, state = cells.advance(tokens[:, step : step + 1], state)
    np.testing.assert_allclose(found, expected[:, -1].numpy(), atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape["cell"])
def test_rows_of_unequal_prompts_are_what_they_are_alone(shape: dict[str, Any]) -> None:
    model = make(**shape)
    prompts = [[5, 6, 7], [8], [5, 9, 4]]

    def logits(some: list[list[int]]) -> Any:
        stepper = RecurrentStepper(model._advance, model.codec.vocab_size)
        stepper.start(some)
        stepper.reorder(list(range(len(some)))[::-1])
        return stepper.step([6] * len(some)).numpy()[::-1]

    together = logits(prompts)
    for row, prompt in enumerate(prompts):
        np.testing.assert_allclose(together[row], logits([prompt])[0], atol=1e-5)


def test_a_document_of_many_stretches_is_scored_as_a_whole() -> None:
    model = make(cell="lstm", width=12, context=8)
    long = Record(id="long", parts=(RECORDS[0].text * 30,))
    ids = model.codec.document(long)
    assert len(ids) > 2 * TOKENS
    with torch.no_grad():
        logits, _ = model.network(torch.tensor([ids[:-1]]))
        nats = torch.nn.functional.cross_entropy(logits[0], torch.tensor(ids[1:]), reduction="sum").item()
    short, found = model.score([RECORDS[1], long])
    assert found.bits == pytest.approx(nats / math.log(2), rel=1e-5)
    assert short.bits == pytest.approx(next(model.score([RECORDS[1]])).bits, rel=1e-5)
    assert found.tokens == len(ids) - 1
    assert found.characters == len(long.text)


def test_an_unknown_character_costs_the_choice_among_all() -> None:
    model = make(cell="gru", width=12)
    known, strange = (next(model.score([Record(id="", parts=(text,))])) for text in ("床前明", "床前\u2603"))
    assert strange.bits > known.bits + 15


def test_one_document_a_row() -> None:
    """A state would carry one document into the next, so rows are not packed."""
    batch = make(cell="lstm", width=12).codec.collate(RECORDS)
    assert batch["tokens"].shape[0] == len(RECORDS)
    assert "segments" not in batch


def test_a_window_sees_no_further() -> None:
    model = make(cell="ffn", width=12, window=3)
    tokens = torch.tensor([[4, 5, 6, 7, 8], [9, 9, 6, 7, 8]])
    with torch.no_grad():
        logits, _ = model.network(tokens)
    assert torch.equal(logits[0, -1], logits[1, -1])
    assert not torch.equal(logits[0, 3], logits[1, 3])


def test_generation_goes_beyond_the_context(tmp_path: Path) -> None:
    model = make(cell="gru", width=12, context=8)
    model.save(tmp_path)
    request = Request.of("床前", seed=3, max_tokens=60, min_tokens=60)
    text = collect(model, request)[0].text
    assert len(text) == 60
    assert collect(RNNRuntime.load(tmp_path), request)[0].text == text
    assert collect(RNN.load(tmp_path), request)[0].text == text


def test_an_expression_is_followed() -> None:
    pytest.importorskip("llguidance")
    for content in collect(make(cell="gru", width=12), Request.of("床前", regex="明月[光霜]{3,5}，", n=4, seed=1)):
        assert re.fullmatch("明月[光霜]{3,5}，", content.text)


def test_marks_are_never_written() -> None:
    model = make(cell="rnn", width=12)
    model.network.head.bias.data[[model.codec.begin, model.codec.unknown, 0]] = 50.0
    assert len(collect(model, Request.of("", seed=1, max_tokens=30, min_tokens=30))[0].text) == 30


@pytest.mark.parametrize("kind", [RNN, RNNRuntime])
def test_damaged_files_are_told(tmp_path: Path, kind: Any) -> None:
    model = make(cell="lstm", width=12)
    model.save(tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ArtifactError, match="cannot be read"):
        kind.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(weights)
    config = (tmp_path / "config.json").read_text(encoding="utf-8")
    (tmp_path / "config.json").write_text(config.replace('"width": 12', '"width": 16'), encoding="utf-8")
    with pytest.raises(ArtifactError, match="cannot be read"):
        kind.load(tmp_path)
    (tmp_path / "config.json").write_text(config.replace('"lstm"', '"lstn"'), encoding="utf-8")
    with pytest.raises(UsageError, match="cell"):
        kind.load(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ArtifactError, match=r"config\.json"):
        kind.load(tmp_path)
