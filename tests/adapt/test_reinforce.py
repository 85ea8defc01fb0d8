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
from miaobi.engine.reinforce import Reinforcing, advantages, judges, load_reward, surrogate
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


def test_advantages_are_over_the_others_to_the_same_prompt() -> None:
    found = advantages(torch.tensor([1.0, 2.0, 6.0, 5.0, 5.0, 5.0]), 3)
    assert found.tolist() == [1 - 4, 2 - 3.5, 6 - 1.5, 0, 0, 0]


def test_the_gradient_is_that_of_the_expected_reward_and_divergence() -> None:
    """Answers of two tokens, of which the second depends on the first: all of them, and all pairs of two answers, by hand."""
    kl, V = 0.7, 3
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in ((V,), (V, V)))
    old = [torch.randn(shape, generator=generator, dtype=torch.float64).log_softmax(-1) for shape in ((V,), (V, V))]
    rewards = torch.randn((V, V), generator=generator, dtype=torch.float64).flatten()
    one, two = first.log_softmax(-1), second.log_softmax(-1)
    said = (one[:, None] + two).flatten()  # of the answer (a, b)
    apart = [(new.exp() * (new - before)).sum(-1) for new, before in zip((one, two), old, strict=True)]
    leash = (apart[0] + apart[1])[:, None].expand(V, V).flatten()
    exact = torch.autograd.grad((said.exp() * (kl * leash - rewards)).sum(), (first, second), retain_graph=True)
    chances = said.exp().detach()
    drawn = torch.cartesian_prod(torch.arange(V * V), torch.arange(V * V))  # every pair of answers to one prompt
    losses = surrogate(rewards[drawn].flatten(), said[drawn].flatten(), leash[drawn].flatten(), kl=kl, samples=2)
    mean = (chances[drawn].prod(dim=1) * losses.view(-1, 2).mean(dim=1)).sum()
    for found, wanted in zip(torch.autograd.grad(mean, (first, second)), exact, strict=True):
        torch.testing.assert_close(found, wanted)


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


def test_a_classifier_can_be_the_judge(place: Path) -> None:
    from miaobi.core.artifact import seal
    from miaobi.models.bert.model import Bert

    records = [Record(id=name, parts=(name,), meta={"label": name}) for name in ("cat", "dog", "bee")]
    model = Bert.create({"task": "classify", "width": 8, "layers": 1, "heads": 1, "context": 8}, records, seed=1)
    folder = place / "artifacts" / "kinds"
    folder.mkdir()
    model.save(folder)
    seal(folder, family="bert", name="kinds")
    learner = learner_of("base")
    found = judges(learner, Reinforce(reward={f"model:kinds#{name}": 1 for name in ("cat", "dog", "bee")}), None)
    assert sum(judge(Request.of(""), "a cat", {}) for judge in found.values()) == pytest.approx(1, abs=1e-6)
    for wrong in ("model:kinds#horse", "model:kinds", "model:base#cat"):
        with pytest.raises(UsageError, match=r"model:NAME#CLASS"):
            judges(learner, Reinforce(reward={wrong: 1}), None)


def test_what_is_asked_of_a_conversation_is_what_comes_before_its_last_answer(place: Path) -> None:
    turns = [{"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))]
    prompts = Reinforcing(learner_of("base"), Reinforce(), reward=count_of_e).codec
    asked = prompts.request(Record(id="", parts=("a\nb\nc\nd",), meta={"messages": turns}))
    assert [(turn.role, turn.parts) for turn in asked.turns] == [("user", ("a",)), ("assistant", ("b",)), ("user", ("c",))]
    assert prompts.request(Record(id="", parts=("plain",), meta={"prompt": "a column of that name"})).prompt == "plain"


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
