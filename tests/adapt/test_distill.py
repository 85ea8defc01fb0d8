"""A teacher's distribution and its texts: a student that learns from them, and vocabularies that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from miaobi import adapting, api
from miaobi.core.errors import UsageError
from miaobi.core.types import Record
from miaobi.data.conversations import CUT
from miaobi.engine.distill import TEXTS, Both, Distilling, check_same_tokens, soft_divergence
from miaobi.models.common.text_codec import TextCodec

STUDENT = {"width": 16, "layers": 1, "heads": 2, "context": 64}


def test_the_divergence_is_that_of_the_softened_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(3, 7, generator=generator), torch.randn(3, 7, generator=generator)
    soft = F.softmax(teacher / 3, dim=-1)
    expected = (soft * (soft.log() - F.softmax(student / 3, dim=-1).log())).sum()
    assert soft_divergence(teacher, student, temperature=3).item() == pytest.approx(expected.item(), rel=1e-5)
    assert soft_divergence(teacher, teacher, temperature=3).item() == pytest.approx(0, abs=1e-6)


def student(name: str, recipe: Any, place: Path, **section: Any) -> dict[str, Any]:
    change = recipe(name, "texts.jsonl", steps=60, distill={"teacher": "base", **section})
    return {**change, "model": {"family": "gpt", "config": STUDENT}}


def test_a_student_learns_what_its_teacher_says(place: Path, recipe: Any) -> None:
    """Its distribution comes nearer to the teacher's, it has the teacher's vocabulary, and both are measured on the same records."""
    done = adapting.distill(student("pupil", recipe, place, logits=1.0), threads=1)
    imitation = done.report["held_out"]["imitation"]
    assert imitation["last"] < 0.6 * imitation["first"]
    own = done.report["bits_per_character"]["own"]
    assert own["before"]["value"] < own["after"]["value"], "the teacher is the larger one"
    teacher, pupil = (api.load(name, runtime="torch").model for name in ("base", "pupil"))
    assert isinstance(pupil.codec, TextCodec)
    assert pupil.codec.source == teacher.codec.source


def test_the_teacher_writes_texts_that_are_learned_and_not_written_twice(place: Path, recipe: Any) -> None:
    change = student("reader", recipe, place, logits=0.0, texts=6)
    change["train"] |= {"steps": 2, "batch": 4}
    change["generate"] = {"prompts": ["the red", "the blue"], "options": {"max_tokens": 12}}
    adapting.distill(change, threads=1)
    path = place / "runs" / "reader" / TEXTS
    first = path.read_text(encoding="utf-8").splitlines()
    assert len(first) >= 6
    assert all('"text":"the ' in line for line in first)
    whole, cut = (Record(id="a", parts=("the cat",), meta=meta) for meta in ({}, json.loads(first[0])["meta"]))
    codec = TextCodec.fit([whole], context=64)
    assert cut.meta == {CUT: True}, "twelve letters are no whole text"
    assert (codec.lesson(whole)[1][-1], codec.lesson(cut)[1][-1]) == (True, False), "where it was cut is no end to learn"
    assert codec.lesson(cut)[1][:-1] == codec.lesson(whole)[1][:-1]
    path.write_text("\n".join([*first[:-1], first[-1][:20]]), encoding="utf-8")  # a kill in the middle of a line
    told: list[Any] = []
    api.train(change, resume=True, threads=1, on_event=lambda event: told.append(event) if event.kind == "texts" else None)
    assert path.read_text(encoding="utf-8").splitlines()[: len(first)] == first
    assert len(told) == 1, "only the last request is asked again"


def test_of_conversations_the_teacher_answers_what_is_asked_in_them(place: Path, recipe: Any) -> None:
    change = {**student("answering", recipe, place, logits=0.0, texts=5), "generate": {"options": {"max_tokens": 12}}}
    change["data"] = {**change["data"], "source": "pairs.jsonl"}
    change["train"] |= {"steps": 2, "batch": 4}
    adapting.distill(change, threads=1)
    rows = [json.loads(line) for line in (place / "runs" / "answering" / TEXTS).read_text(encoding="utf-8").splitlines()]
    known = {row["prompt"]: row["completion"] for row in map(json.loads, (place / "pairs.jsonl").read_text(encoding="utf-8").splitlines())}
    assert len(rows) == 5
    for row in rows:
        asked, answered = row["meta"]["messages"]
        assert (asked["role"], answered["role"]) == ("user", "assistant")
        assert answered["content"] != known[asked["content"]], "the teacher's own words, in the place of the record's"
        assert row["text"] == f"{asked['content']}\n{answered['content']}"


def test_two_that_spell_otherwise_are_refused(place: Path) -> None:
    teacher: Any = api.load("base", runtime="torch").model
    other: Any = api.load("base", runtime="torch").model
    other.codec = TextCodec.fit([Record(id="a", parts=("thz rdeblu",))], context=64)
    with pytest.raises(UsageError, match="other vocabularies"):
        check_same_tokens(teacher, other)
    check_same_tokens(teacher, teacher)


def test_a_teacher_is_named_that_there_is(place: Path, recipe: Any) -> None:
    with pytest.raises(UsageError, match=r"unknown model 'bose'\. Did you mean 'base'"):
        adapting.distill({**student("lost", recipe, place), "distill": {"teacher": "bose"}}, threads=1)
    with pytest.raises(UsageError, match="no section distill"):
        adapting.distill(recipe("plain", "texts.jsonl"))


def test_one_sequence_behind_another() -> None:
    records = [Record(id=str(number), parts=("",)) for number in range(5)]
    both = Both(records[:3], records[3:])
    assert [record.id for record in both] == list("01234")
    assert (both[-1].id, both[3].id, [record.id for record in both[1:4]]) == ("4", "3", list("123"))
    with pytest.raises(IndexError):
        both[5]


def test_the_teacher_does_not_move(place: Path) -> None:
    from miaobi.core.adapting import Distill

    learner: Any = api.load("base", runtime="torch").model
    aim = Distilling(learner, Distill(teacher="base"))
    assert aim.teacher is not None
    aim.loss(learner.codec.collate([Record(id="a", parts=("the red cat",))]), "main").total.backward()
    assert all(parameter.grad is None for parameter in aim.teacher.network.parameters())
    assert any(parameter.grad is not None for parameter in learner.network.parameters())
