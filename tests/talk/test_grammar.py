"""Texts that follow a schema or an expression: whatever the weights, whatever the tokenizer, and in time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.types import Done, Piece
from miaobi.engine.sampling import grammar, trial
from miaobi.engine.sampling.options import Sampling
from miaobi.engine.sampling.spelling import Spelling
from miaobi.engine.sampling.table import Table
from miaobi.engine.sampling.text import stream

END = 256
BYTES = Spelling((*(bytes([byte]) for byte in range(256)), b""), {END: "<end>"})
WORDS = Spelling(
    (*BYTES.tokens, b'{"', b'":', b'", "', b"}}", b"true", b" null", "中秋".encode(), "月".encode()[:2], b"]", b"12"), {END: "<end>"}
)
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "mood": {"enum": ["calm", "merry", "忧"]},
        "poems": {"type": "array", "items": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}},
    },
    "required": ["name", "age", "mood", "poems"],
    "additionalProperties": False,
}


def longest() -> float:
    """Seconds that anybody waits for a grammar: two, more where many want each core."""
    return 2.0 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class Wild:
    """Random logits at every step, the same for the same seed: a model that has learned nothing."""

    def __init__(self, size: int, *, seed: int = 0, bias: Sequence[int] = ()) -> None:
        self.vocab_size, self._rng, self._rows, self._bias = size, np.random.default_rng(seed), 0, list(bias)

    def start(self, prompts: Sequence[Sequence[int]]) -> Any:
        self._rows = len(prompts)
        return self._logits()

    def step(self, tokens: Sequence[int]) -> Any:
        return self._logits()

    def reorder(self, rows: Sequence[int]) -> None:
        self._rows = len(rows)

    def _logits(self) -> Any:
        logits = self._rng.normal(size=(self._rows, self.vocab_size)).astype(np.float32)
        logits[:, self._bias] += 6.0
        return logits


def write(spelling: Spelling, *, seed: int = 0, bias: Sequence[int] = (), spare: int = 0, **options: Any) -> list[tuple[str, str]]:
    """Text and reason of every content."""

    def text(tokens: Sequence[int]) -> str:
        return b"".join(spelling.bytes_of(token) for token in tokens).decode("utf-8", "replace")

    chosen = Sampling(**options)
    chunks = list(
        stream(
            Wild(len(spelling.tokens) + spare, seed=seed, bias=bias),
            [[1]],
            chosen,
            end_tokens=[END],
            seed=seed,
            detokenize=text,
            spelling=lambda: spelling,
        )
    )
    written = [
        "".join(c.part for c in chunks if isinstance(c, Piece) and c.index == i and isinstance(c.part, str)) for i in range(chosen.n)
    ]
    return list(zip(written, [chunk.reason for chunk in sorted((c for c in chunks if isinstance(c, Done)), key=lambda c: c.index)]))


def valid(value: Any) -> None:
    assert set(value) == {"name", "age", "mood", "poems"}
    assert isinstance(value["name"], str)
    assert value["name"]
    assert type(value["age"]) is int
    assert 0 <= value["age"] <= 150
    assert value["mood"] in ("calm", "merry", "忧")
    assert all(isinstance(poem["title"], str) for poem in value["poems"])


@pytest.mark.parametrize("spelling", [BYTES, WORDS], ids=["bytes", "words"])
@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"beams": 3, "n": 2}, {"n": 3, "top_p": 0.9}], ids=str)
def test_random_weights_write_json_that_follows_the_schema(spelling: Spelling, options: dict[str, Any]) -> None:
    for seed in range(3):
        found = write(spelling, seed=seed, spare=5, max_tokens=160, json_schema=PERSON, **options)
        assert len(found) == options.get("n", 1)
        for text, reason in found:
            valid(json.loads(text))
            assert reason == "stop"


@pytest.mark.parametrize("room", [90, 120, 300])
def test_an_answer_ends_before_the_tokens_run_out(room: int) -> None:
    """The model always wants another list and another letter, and never the end."""
    endless = {"type": "object", "properties": {"a": {"$ref": "#/$defs/any"}}, "required": ["a"], "additionalProperties": False}
    endless["$defs"] = {"any": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/any"}}, {"type": "string"}]}}
    for schema, bias in ((endless, b"["), (endless, b"xyz"), (PERSON, b"abc"), ({"type": "object"}, b'{":abc, ')):
        ((text, reason),) = write(BYTES, bias=list(bias), json_schema=schema, max_tokens=room)
        assert json.loads(text) is not None
        assert reason == "stop"
        assert len(text.encode()) > room // 2


def test_too_few_tokens_are_said_to_be_too_few() -> None:
    ((text, reason),) = write(BYTES, json_schema=PERSON, max_tokens=5)
    assert reason == "length"
    assert text.startswith('{"na')


@pytest.mark.parametrize("pattern", [r"[a-f]{3}-\d{2}", r"(red|green|blue)( fox)?", r".{5}，.{5}。", r"\p{Han}{4}", "(a+)+$"])
def test_random_weights_match_the_expression(pattern: str) -> None:
    for seed in range(5):
        ((text, reason),) = write(WORDS, seed=seed, regex=pattern, max_tokens=200)
        ours = pattern.replace(r"\p{Han}", "[\u2e80-\U0003ffff]")
        assert re.fullmatch(ours, text), text
        assert reason == "stop"


@pytest.mark.parametrize(
    "options",
    [
        {"regex": "(a+)+$"},
        {"regex": "a{1,999999}"},
        {"regex": "((a{1,1000}){1,1000}){1,1000}"},
        {"regex": "(a|b)*a(a|b){30}"},
        {"regex": r"(\w|\W){50,1000}"},
        {"regex": "(" * 2000 + ")" * 2000},
        {"regex": "(?=a)b"},
        {"regex": "("},
        {"json_schema": {"$ref": "#"}},
        {"json_schema": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}},
        {"json_schema": {"type": "array", "items": {"$ref": "#"}}},
        {"json_schema": {"$ref": "file:///etc/passwd"}},
        {"json_schema": {"$ref": "http://127.0.0.1:9/x.json"}},
        {"json_schema": {"type": "string", "pattern": "^(a+)+$"}},
        {"json_schema": {"type": "string", "minLength": 10**9}},
        {"json_schema": {"type": "object", "properties": {f"k{number}": {"type": "string"} for number in range(3000)}}},
        {"json_schema": {"enum": [f"v{number}" for number in range(8000)]}},
        {"json_schema": {"type": "array", "items": {"type": "integer"}, "minItems": 10**7}},
        {"json_schema": {"allOf": [{"anyOf": [{"type": "object", "properties": {f"p{i}_{j}": {}}} for j in range(4)]} for i in range(12)]}},
        {"json_schema": {"type": "integer", "multipleOf": 99_991}},
        {"json_schema": {"not": {"type": "string"}}},
        {"json_schema": {"type": "nonsense"}},
    ],
    ids=lambda options: str(options)[:60],
)
def test_hostile_grammars_are_refused_or_ready_at_once(options: dict[str, Any]) -> None:
    began = time.perf_counter()
    with contextlib.suppress(MiaobiError):
        write(BYTES, max_tokens=20, **options)
    assert time.perf_counter() - began < longest()


def test_a_schema_deeper_than_the_stack_is_refused() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(300):
        deep = {"type": "object", "properties": {"a": deep}, "required": ["a"]}
    with pytest.raises(UsageError, match="cannot be followed"):
        write(BYTES, json_schema=deep)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "allOf": [{"pattern": f".*(a|b).{{{number + 1}}}c"} for number in range(30)]},  # a minute and more
        {"type": "object", "properties": {f"k{number}": {} for number in range(7000)}},  # ten seconds
        {
            "$ref": "#/$defs/d0",
            "$defs": {f"d{n}": {"type": "object", "properties": {"a": {"$ref": f"#/$defs/d{(n + 1) % 1800}"}}} for n in range(1800)},
        },  # overflows the stack
    ],
    ids=["patterns", "fields", "chain"],
)
def test_what_takes_too_much_ends_its_own_process_and_no_other(schema: dict[str, Any]) -> None:
    began = time.perf_counter()
    with pytest.raises(UsageError, match="too much time or memory"):
        write(BYTES, json_schema=schema)
    assert time.perf_counter() - began < longest()
    assert write(BYTES, regex="[ab]{3}")[0][1] == "stop"


def test_who_prepares_a_grammar_lets_others_begin() -> None:
    table, seen = Table(), list[str]()

    @contextlib.contextmanager
    def aside() -> Iterator[None]:
        seen.append("let go")
        yield
        seen.append("taken back")

    own = Spelling(BYTES.tokens, BYTES.marks)
    for _ in range(2):
        with table.share(aside=aside):
            grammar.grammar_of(Sampling(regex="abc"), own, size=257, end_tokens=[END])
    assert seen == ["let go", "taken back"], "what is prepared already keeps nobody"


def test_when_too_many_are_prepared_the_next_one_is_told_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "WAIT_SECONDS", 0.01)
    with trial.trial()._lock, pytest.raises(grammar.Crowded, match="Try again") as found:
        write(BYTES, regex="abcdef")
    assert (found.value.status, found.value.retry_after) == (429, 1.0)


def test_grammars_are_prepared_once_and_not_kept_without_end() -> None:
    own = Spelling(BYTES.tokens, BYTES.marks)
    options = Sampling(regex="ab*")
    first = grammar.grammar_of(options, own, size=257, end_tokens=[END])
    again = grammar.grammar_of(options, own, size=257, end_tokens=[END])
    assert first is not None
    assert again is not None
    assert first._matcher is again._matcher
    for number in range(grammar.KEPT + 5):
        grammar.grammar_of(Sampling(regex=f"a{{{number + 1}}}"), own, size=257, end_tokens=[END])
    (words,) = grammar._known[own].values()
    assert len(words.prepared) == grammar.KEPT
    assert grammar.grammar_of(Sampling(), own, size=257, end_tokens=[END]) is None


def test_what_the_vocabulary_cannot_spell_is_refused() -> None:
    with pytest.raises(UsageError, match="spell"):
        write(Spelling.of(["a", "b", *[""] * (END - 2), ""], marks=[END]), json_schema={"type": "object"})


def test_wrong_options_are_told() -> None:
    for values, words in (
        ({"json_schema": {}, "regex": "a"}, "not both"),
        ({"json_schema": "{"}, "not JSON"),
        ({"json_schema": "[1]"}, "dictionary"),
        ({"json_schema": {"enum": ["x" * 300_000]}}, "characters"),
        ({"logprobs": 21}, "20"),
        ({"logprobs": 2, "beams": 3}, "alternatives"),
    ):
        with pytest.raises(ValueError, match=words):
            Sampling.model_validate(values)
    assert Sampling(json_schema='{"type": "object"}').json_schema == {"type": "object"}
    with pytest.raises(UsageError, match="spelled"):
        list(stream(Wild(257), [[1]], Sampling(regex="a"), end_tokens=[END], seed=0, detokenize=str))


def test_the_command_line_takes_a_schema_as_json() -> None:
    from miaobi.cli.options import add_options, given_options
    from miaobi.cli.parser import Parser

    parser = Parser(prog="test")
    add_options(parser, Sampling, "options")
    typed = parser.parse_args(["--json-schema", '{"type": "object"}', "--logit-bias", "5=1", "--logit-bias", "6=2"])
    assert given_options(typed, Sampling, "here") == {"json_schema": {"type": "object"}, "logit_bias": {"5": 1.0, "6": 2.0}}
    with pytest.raises(UsageError, match="not JSON"):
        given_options(parser.parse_args(["--json-schema", "{"]), Sampling, "here")
