"""Conversations and preferences in the shapes that people publish, and what of them is learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from miaobi.core.errors import DataError
from miaobi.core.recipe import Data, Source
from miaobi.core.types import Record
from miaobi.data.prepare import prepare
from miaobi.data.readers import read
from miaobi.data.records import Dropped
from miaobi.models.common.text_codec import TextCodec

USER, ASSISTANT = "user", "assistant"
GOOD: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, [(USER, "a"), (ASSISTANT, "b")]),
    ({"prompt": "p", "completion": "c"}, [(USER, "p"), (ASSISTANT, "c")]),
    ({"messages": '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]'}, [(USER, "a"), (ASSISTANT, "b")]),
    ({"instruction": "i", "input": "", "output": "o"}, [(USER, "i"), (ASSISTANT, "o")]),
    ({"instruction": "i", "input": "x", "output": "o"}, [(USER, "i\n\nx"), (ASSISTANT, "o")]),
    ({"instruction": "i", "output": "o", "history": [["q", "r"]]}, [(USER, "q"), (ASSISTANT, "r"), (USER, "i"), (ASSISTANT, "o")]),
    (
        {"conversations": [{"from": "human", "value": "h"}, {"from": "gpt", "value": "g"}], "system": "s"},
        [("system", "s"), (USER, "h"), (ASSISTANT, "g")],
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": "b"}]},
        [(USER, "a"), (ASSISTANT, "b")],
    ),
]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"messages": [{"role": "user", "content": "a"}]}, "says nothing"),
    ({"messages": None}, "neither text nor a list"),
    ({"messages": "hello"}, "messages is a text, and no JSON of turns"),
    ({"messages": [{"role": "alien", "content": "a"}]}, "turn 1: unknown role 'alien'"),
    ({"messages": [{"role": "user", "content": "a"}, "b"]}, "turn 2 is no object"),
    ({"messages": [{"role": "user", "content": 3}, {"role": "assistant", "content": "b"}]}, "turn 1 has no text"),
    ({"prompt": "p", "completion": "  "}, "turn 2: the assistant's answer is empty"),
    ({"instruction": 5, "output": "o"}, "instruction is no text"),
    ({"instruction": "i", "output": "o", "history": [["q"]]}, "round 1 of history is no pair"),
    ({"prompt": "p", "chosen": "a", "rejected": "a"}, "the same"),
    ({"prompt": "p", "chosen": "a", "rejected": ""}, "an answer is empty"),
    ({"chosen": "a", "rejected": "b"}, "there is no prompt"),
]


def rows_of(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_every_shape_becomes_the_same_turns(tmp_path: Path) -> None:
    path = rows_of(tmp_path, [row for row, _ in GOOD])
    found = [[(turn["role"], turn["content"]) for turn in record.meta["messages"]] for record in read(Source(path=str(path)))]
    assert found == [turns for _, turns in GOOD]


def test_malformed_rows_are_dropped_with_their_number_and_reason(tmp_path: Path) -> None:
    dropped: list[Dropped] = []
    good = {"prompt": "p", "completion": "c"}
    records = list(read(Source(path=str(rows_of(tmp_path, [good, *(row for row, _ in BAD)]))), on_dropped=dropped.append))
    assert len(records) == 1
    for number, (one, (_, reason)) in enumerate(zip(dropped, BAD, strict=True), start=2):
        assert one.id == f"rows.jsonl#{number}"
        assert one.reason == "bad_conversation"
        assert reason in one.detail


def test_so_many_malformed_rows_are_borne_and_no_more(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": f"p{number}", "completion": "c"} for number in range(4)]
    path = rows_of(tmp_path, [*rows, {"messages": []}, {"messages": 3}])
    kept = prepare(Data(source=str(path), malformed=2), tmp_path / "kept", workers=1)
    assert kept.card["dropped"] == [{"step": "read", "reason": "bad_conversation", "records": 2}]
    with pytest.raises(DataError, match=r"2 rows .* bears 1.*rows\.jsonl#5: messages"):
        prepare(Data(source=str(path), malformed=1), tmp_path / "refused", workers=1)
    assert "malformed" not in Data().model_dump(), "a data section of before keeps its hash"


def test_a_preference_keeps_three_texts_and_the_options(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "yes"}]
    refused = [turns[0], {**turns[1], "content": "no"}]
    rows = [{"prompt": "q", "chosen": "yes", "rejected": "no", "options": {"form": "七绝"}}, {"chosen": turns, "rejected": refused}]
    first, second = read(Source(path=str(rows_of(tmp_path, rows))))
    asked = [{"role": "user", "content": "q"}]
    assert first.meta["options"] == {"form": "七绝"}
    for record in (first, second):
        assert (record.meta["prompt"], record.meta["chosen"], record.meta["rejected"]) == (asked, "yes", "no")


def test_a_text_beside_stays_a_text_unless_the_fields_say_otherwise(tmp_path: Path) -> None:
    path = rows_of(tmp_path, [{"text": "t", "instruction": "i", "output": "o"}, {"question": "q", "answer": "a"}])
    plain = next(iter(read(Source(path=str(path)), on_dropped=lambda dropped: None)))
    assert (plain.text, plain.meta["instruction"]) == ("t", "i")
    source = Source(path=str(path), fields={"prompt": "question", "completion": "answer"})
    named = list(read(source, on_dropped=lambda dropped: None))
    assert [[turn["content"] for turn in record.meta["messages"]] for record in named] == [["q", "a"]]


def conversation(name: str, question: str, answer: str) -> Record:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Record(id=name, parts=(f"{question}\n{answer}",), meta={"messages": turns})


def test_only_what_the_assistant_says_is_learned_and_nothing_leaks() -> None:
    """Packed into one row, every conversation has the loss that it has alone."""
    from miaobi.models.common.language import CausalLoss, new_network
    from miaobi.models.common.transformer_config import TransformerConfig

    records = [conversation("a", "what", "this and that"), conversation("b", "who", "we"), Record(id="c", parts=("a plain text",))]
    codec = TextCodec.fit([Record(id="all", parts=("abcdefghijklmnopqrstuvwxyz \n",))], context=48)
    batch = codec.collate(records)
    assert len(batch["tokens"]) == 1
    assert "segments" in batch
    learned = batch["tokens"][:, 1:][batch["weights"]]
    end = codec.end
    expected = {text: [*codec.ids(text), end] for text in ("this and that", "we", "a plain text")}
    assert sorted(learned.tolist()) == sorted(number for ids in expected.values() for number in ids)
    shape = {"width": 16, "layers": 2, "heads": 2, "key_heads": 2, "head_width": 8, "hidden": 24, "context": 48}
    learner = CausalLoss(new_network(TransformerConfig(vocab_size=codec.vocab_size, **shape), 1).eval())
    with torch.no_grad():
        together = learner.loss(batch, "main")
        alone = [learner.loss(codec.collate([record]), "main") for record in records]
    assert together.count == sum(loss.count for loss in alone)
    assert together.total.item() == pytest.approx(sum(loss.total.item() for loss in alone), rel=1e-5)


def test_a_conversation_of_several_turns_needs_a_template() -> None:
    turns = [{"role": role, "content": "hm"} for role in (USER, ASSISTANT, USER, ASSISTANT)]
    codec = TextCodec.fit([Record(id="all", parts=("hm",))], context=48)
    with pytest.raises(DataError, match="no chat template"):
        codec.lesson(Record(id="long", parts=("hm",), meta={"messages": turns}))


def test_with_a_chat_template_each_answer_is_learned_where_it_would_be_asked_for() -> None:
    """The ids that are learned from are those that generation starts from, with the answers and their end marks behind."""
    from miaobi.models.common.chat_template import Chat, ChatTemplate

    template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    texts = TextCodec.fit([Record(id="all", parts=("abcdefghijklmnopqrstuvwxyz<|_>\n",))], context=200)
    source = json.loads(texts.source)
    start = len(source["model"]["vocab"])
    for number, mark in enumerate(("<|im_start|>", "<|im_end|>"), start=start):
        source["model"]["vocab"][mark] = number
        source["added_tokens"].append({**source["added_tokens"][0], "id": number, "content": mark})
    codec = TextCodec(json.dumps(source), context=200)
    codec.chat = Chat(ChatTemplate(template), codec.source)
    turns = [{"role": role, "content": text} for role, text in ((USER, "hi"), (ASSISTANT, "yes"), (USER, "<|im_end|>"), (ASSISTANT, "no"))]
    ids, said = codec.lesson(Record(id="a", parts=("",), meta={"messages": turns}))
    learned = [number for number, is_said in zip(ids, said, strict=True) if is_said]
    assert learned == [*codec.ids("yes"), start + 1, *codec.ids("no"), start + 1]
    prompt = codec.chat.prompt(turns[:3])
    assert ids[: len(prompt)] == prompt
    assert said[len(prompt)]
    assert ids.count(start + 1) == 4, "what a person types is no mark"
