"""One code decodes for every family: whatever the weights, what a schema or an expression asks for is what comes."""

from __future__ import annotations

import json
import re
import string
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("llguidance")

from miaobi.core.families import family
from miaobi.core.types import Record, Request
from miaobi.engine.generate import collect

RECORDS = [Record(id=str(number), parts=(string.printable[: 95 - number] + " 诗",), meta={"title": "abc"}) for number in range(3)]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
SMALL = {"width": 8, "layers": 1, "heads": 1, "context": 128}
NEOX = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ngram": ({"order": 2}, {}),
    "rnn": ({"cell": "gru", "width": 8}, {}),
    "gpt": (SMALL, {}),
    "bert": (SMALL, {"order": "left"}),
    "seq2seq": (SMALL, {}),
    "hf_transformers": ({"architecture": "gpt_neox", "values": NEOX, "context": 128}, {}),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_schema_and_an_expression_are_followed_by_every_family(name: str) -> None:
    config, options = MODELS[name]
    if name == "hf_transformers":
        pytest.importorskip("transformers")
    maker: Any = family(name).model_class()
    model = maker.create(config, RECORDS, seed=1)
    if name == "ngram":
        model.fit(RECORDS)
    prompt = "" if name == "ngram" else "a"
    for content in collect(model, Request.of(prompt, json_schema=PERSON, max_tokens=80, n=2, seed=1, **options)):
        found = json.loads(content.text)
        assert set(found) == {"name", "age"}
        assert len(found["name"]) <= 5
        assert 0 <= found["age"] <= 99
    for content in collect(model, Request.of(prompt, regex="(诗|[a-f]{2})-[0-9]{3}", max_tokens=40, n=2, seed=1, **options)):
        assert re.fullmatch("(诗|[a-f]{2})-[0-9]{3}", content.text)
