"""Rewards: answers that earn more become likelier, the leash holds, and a person's function is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from miaobi import adapting, api
from miaobi.core.adapting import Reinforce
from miaobi.core.errors import DataError, UsageError
from miaobi.core.types import Record, Request
from miaobi.engine.reinforce import Reinforcing, judges, load_reward
from miaobi.models.verse import reward as verse
from miaobi.trust.originality import LineFilter

GOOD = "中庭地白树栖鸦，冷露无声湿桂花。\n今夜月明人尽望，不知秋思落谁家。"


def count_of_e(prompt: str, answer: str, meta: Any) -> float:
    return answer.count("e") - 0.5 * abs(len(answer) - 12)


def test_what_is_rewarded_becomes_likelier_on_held_out_prompts(place: Path, recipe: Any, write_rows: Any) -> None:
    words = ["red", "blue", "golden", "wild", "little", "grey", "hungry", "quiet"]
    rows = write_rows(place / "asked.jsonl", [{"text": f"the {one} {other}"} for one in words for other in words if one != other])
    section = {"reinforce": {"samples": 6, "kl": 0.01, "max_tokens": 16}, "adapt": {"rank": 4}}
    change = recipe("earning", rows, steps=20, **section)
    change["train"] |= {"batch": 4, "evaluate_records": 8, "optimizer": {"lr": 1e-2, "weight_decay": 0.0}}
    done = adapting.adapt(change, reward=count_of_e, threads=1)
    seen = done.report["held_out"]["reward"]
    assert (seen["first_step"], seen["last_step"]) == (0, 20)
    assert seen["last"] > seen["first"] + 2
    assert done.report["held_out"]["kl"]["last"] > 0.1


def learner_of(name: str) -> Any:
    return api.load(name, runtime="torch").model


def test_advantages_are_over_the_others_to_the_same_prompt(place: Path) -> None:
    aim = Reinforcing(learner_of("base"), Reinforce(samples=3), reward=count_of_e)
    found = aim._advantages(torch.tensor([1.0, 2.0, 6.0, 5.0, 5.0, 5.0]))
    assert found.tolist() == [1 - 4, 2 - 3.5, 6 - 1.5, 0, 0, 0]


def test_the_leash_is_zero_where_nothing_changed_and_positive_elsewhere(place: Path) -> None:
    learner = learner_of("base")
    aim = Reinforcing(learner, Reinforce(samples=2, kl=0.5, max_tokens=8), reward=count_of_e)
    batch = aim.codec.collate([Record(id="a", parts=("the red",))])
    torch.manual_seed(3)
    assert aim.loss(batch, "main").logs["kl"] == pytest.approx(0, abs=1e-4)
    with torch.no_grad():
        learner.network.head.weight.mul_(1.5)
    torch.manual_seed(3)
    assert aim.loss(batch, "main").logs["kl"] > 0.1


def test_the_same_dice_give_the_same_answers_and_held_out_ones_are_always_the_same(place: Path) -> None:
    aim = Reinforcing(learner_of("base"), Reinforce(samples=2, max_tokens=8), reward=count_of_e)
    batch = aim.codec.collate([Record(id="a", parts=("the red",)), Record(id="b", parts=("the blue",))])
    totals = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        totals.append(aim.loss(batch, "main").total.item())
    assert totals[0] == totals[1] != totals[2]
    with torch.no_grad():
        assert len({aim.loss(batch, "main").logs["reward"] for _ in range(2)}) == 1


def test_rewards_that_nobody_knows_are_refused(place: Path, tmp_path: Path) -> None:
    learner = learner_of("base")
    with pytest.raises(UsageError, match=r"unknown reward 'lenght'\. Did you mean 'length'"):
        judges(learner, Reinforce(reward={"lenght": 1}), None)
    with pytest.raises(UsageError, match="names no reward"):
        judges(learner, Reinforce(), None)
    with pytest.raises(UsageError, match="--reward FILE"):
        judges(learner, Reinforce(reward={"python": 2.0}), None)
    wrong = judges(learner, Reinforce(), lambda prompt, answer, meta: float("nan"))["python"]
    with pytest.raises(UsageError, match="finite number, not nan"):
        wrong(Request.of("a"), "b", {})
    for place_of, error, message in (
        ("nothing.py:f", UsageError, "no such file"),
        (str(tmp_path / "broken.py") + ":f", DataError, "ZeroDivisionError"),
        (str(tmp_path / "empty.py") + ":f", UsageError, "no function 'f'"),
    ):
        (tmp_path / "broken.py").write_text("1 / 0", encoding="utf-8")
        (tmp_path / "empty.py").write_text("", encoding="utf-8")
        with pytest.raises(error, match=message):
            load_reward(place_of)


def test_another_model_can_be_the_judge(place: Path) -> None:
    judge = judges(learner_of("base"), Reinforce(reward={"model:base": 1}), None)["model:base"]
    likely, unlikely = judge(Request.of(""), "the red cat sat on the soft mat", {}), judge(Request.of(""), "qzx vvkj", {})
    assert likely > unlikely + 1


def test_a_poem_is_worth_what_it_keeps_of_its_rules() -> None:
    asked = Request.of("中秋", form="七绝")
    worse = GOOD.replace("谁家", "谁山")  # the last rhyme goes
    short = GOOD[:-4] + "。"
    assert verse.form(asked, GOOD) == verse.rhyme(asked, GOOD) == 1
    assert 0 < verse.rhyme(asked, worse) < 1
    assert verse.form(asked, worse) == 1
    assert 0.5 < verse.form(asked, short) < 1
    assert verse.rhyme(asked, short) == 0
    assert verse.form(asked, "") == 0
    assert verse.tone(asked, GOOD) > 0.9
    assert verse.unrepeated(asked, GOOD) == 1
    assert verse.unrepeated(asked, GOOD.replace("冷露", "月露")) == 0.5
    known = LineFilter.build(["冷露无声湿桂花"], rate=1e-6)
    assert verse.novelty(GOOD, known) == 0.75
    assert verse.novelty("", known) == 0
