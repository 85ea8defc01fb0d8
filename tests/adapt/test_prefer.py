"""Preferences: the losses as their papers have them, and a model that learns what is liked better."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from miaobi import adapting, api
from miaobi.core.errors import DataError
from miaobi.core.types import Record, Request
from miaobi.engine.prefer import dpo, ipo, orpo, padded, row_sums, token_log_probabilities

TURN = [{"role": "user", "content": "the red cat"}]


def test_the_losses_are_those_of_the_papers() -> None:
    """By hand, for one pair: chosen 2 nats likelier than before, rejected 1 nat less likely."""
    ratios = torch.tensor([2.0, -1.0], dtype=torch.float64)
    loss, margin = dpo(ratios, beta=0.1)
    assert margin.item() == pytest.approx(0.3)
    assert loss.item() == pytest.approx(-math.log(1 / (1 + math.exp(-0.3))))
    smoothed, _ = dpo(ratios, beta=0.1, smoothing=0.2)
    assert smoothed.item() == pytest.approx(0.8 * loss.item() + 0.2 * math.log(1 + math.exp(0.3)))
    loss, margin = ipo(ratios, beta=0.1)
    assert (loss.item(), margin.item()) == (pytest.approx((3 - 5) ** 2), 3)
    likelihoods, lengths = torch.tensor([-4.0, -9.0], dtype=torch.float64), torch.tensor([4, 3])
    loss, margin = orpo(likelihoods, lengths, beta=0.5)
    odds = [math.log(p / (1 - p)) for p in (math.exp(-1), math.exp(-3))]
    assert margin.item() == pytest.approx(odds[0] - odds[1])
    assert loss.item() == pytest.approx(1 - 0.5 * math.log(1 / (1 + math.exp(odds[1] - odds[0]))))


def test_a_fresh_adapter_prefers_nothing(place: Path) -> None:
    """The reference is the network without its additions, so at first the loss is log 2 to the bit."""
    from miaobi.core.adapting import Prefer
    from miaobi.engine import lora
    from miaobi.engine.prefer import Preferring

    learner: Any = api.load("base", runtime="torch").model
    records = [Record(id="a", parts=("",), meta={"prompt": TURN, "chosen": " is here", "rejected": " sat there"})]
    full = Preferring(learner, Prefer())
    lora.attach(learner.network, rank=2, alpha=4)
    for aim in (full, Preferring(learner, Prefer())):
        loss = aim.loss(aim.codec.collate(records), "main")
        assert loss.total.item() / loss.count == pytest.approx(math.log(2), abs=1e-6)


def test_a_row_says_how_likely_its_answer_is(place: Path) -> None:
    """Sums over the answer's tokens and the end mark, and over nothing of the prompt or the padding."""
    learner: Any = api.load("base", runtime="torch").model
    rows = [learner.answered(Request.of("the red cat"), text) for text in (" sat", " sat on the mat")]
    batch = padded(rows)
    with torch.no_grad():
        found = row_sums(token_log_probabilities(learner.logits(batch), batch), batch["weights"])
        for (ids, prompt), value in zip(rows, found, strict=True):
            logits = learner.network(torch.tensor([ids[:-1]])).log_softmax(-1)[0]
            expected = sum(logits[place - 1, ids[place]].item() for place in range(prompt, len(ids)))
            assert value.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("loss", "beta"), [("dpo", 0.1), ("ipo", 0.1), ("orpo", 0.5)])
def test_what_is_liked_better_becomes_likelier_on_held_out_prompts(place: Path, loss: str, beta: float, recipe: Any) -> None:
    section = {"adapt": {"rank": 4}, "prefer": {"loss": loss, "beta": beta}}
    done = adapting.adapt(recipe(f"like-{loss}", "preferences.jsonl", steps=25, **section), threads=1)
    likelier, preferred = done.report["held_out"]["likelier"], done.report["held_out"]["preferred"]
    assert likelier["first"] < 0.2, "the base knows animals that sat"
    assert likelier["last"] > 0.9
    assert preferred["last"] > 0.9
    assert likelier["first_step"] == 0


def test_rows_that_are_no_preferences_are_named(place: Path, tmp_path: Path, recipe: Any, write_rows: Any) -> None:
    rows = write_rows(tmp_path / "plain.jsonl", [{"text": f"the {word} cat"} for word in ("red", "blue", "old", "wild")])
    with pytest.raises(DataError, match=r"plain\.jsonl#\d.*prompt, chosen and rejected"):
        adapting.adapt(recipe("plain", rows, prefer={}), threads=1)
    long = write_rows(tmp_path / "long.jsonl", [{"prompt": f"{n} " + "cat " * 40, "chosen": "a", "rejected": "b"} for n in range(8)])
    with pytest.raises(DataError, match="fills the model's context"):
        adapting.adapt(recipe("long", long, prefer={}), threads=1)
