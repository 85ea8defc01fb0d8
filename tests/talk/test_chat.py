"""Chat by the official client: whole and streamed, schemas, functions, log-probabilities, and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel
from tests.talk.conftest import Serving

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"$ref": "#/$defs/place"}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["place", "days"],
            "additionalProperties": False,
            "$defs": {"place": {"enum": ["Paris", "北京"]}},
        },
    },
}
HELLO: Any = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello there"}]


@pytest.fixture(scope="module")
def client(serving: Serving) -> openai.OpenAI:
    return openai.OpenAI(base_url=serving.base, api_key=serving.key, max_retries=0)


class Person(BaseModel):
    """What an answer is parsed into."""

    name: str
    age: int
    friends: list[str]


def test_an_answer_is_the_same_for_the_same_seed(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "scribe", "messages": HELLO, "max_tokens": 12, "seed": 7, "temperature": 1.0}
    first, again = (client.chat.completions.create(**asked) for _ in range(2))
    other = client.chat.completions.create(**{**asked, "seed": 8})
    assert first.choices[0].message.content == again.choices[0].message.content != other.choices[0].message.content
    assert first.id.startswith("chatcmpl-")
    assert first.id != again.id
    assert first.choices[0].finish_reason in ("stop", "length")
    assert first.usage is not None
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens
    assert first.usage.prompt_tokens > 10
    assert first.usage.completion_tokens <= 12
    assert first.system_fingerprint
    label = first.model_extra["aigc"] if first.model_extra else {}
    assert (label["Label"], label["ProduceID"]) == ("1", first.id)


def test_a_stream_says_what_the_whole_says(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "scribe", "messages": HELLO, "max_tokens": 20, "seed": 3, "n": 3, "temperature": 1.0}
    whole = client.chat.completions.create(**asked)
    texts, reasons, usage, labels = ["", "", ""], ["", "", ""], None, []
    roles = []
    for event in client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        labels.append("aigc" in (event.model_extra or {}))
        usage = event.usage or usage
        for choice in event.choices:
            assert choice.delta is not None
            texts[choice.index] += choice.delta.content or ""
            reasons[choice.index] += choice.finish_reason or ""
            roles.append((choice.index, choice.delta.role)) if choice.delta.role else None
    assert texts == [choice.message.content for choice in whole.choices]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert len(set(texts)) == 3
    assert sorted(roles) == [(0, "assistant"), (1, "assistant"), (2, "assistant")]
    assert usage == whole.usage
    assert (labels[0], labels[-1], any(labels[1:-1])) == (True, True, False)


def test_stop_strings_and_biases(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "plain", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0}
    text = client.chat.completions.create(**asked, max_tokens=20).choices[0].message.content or ""
    cut = client.chat.completions.create(**asked, max_tokens=20, stop=[text[5:8], "never"]).choices[0]
    assert cut.message.content == text[: text.index(text[5:8])]
    assert cut.finish_reason == "stop"
    biased = client.chat.completions.create(**asked, max_tokens=4, logit_bias={"5": 100}).choices[0].message.content
    assert biased
    assert len(set(biased)) == 1


def test_logprobs(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "scribe", "messages": HELLO, "max_tokens": 6, "temperature": 0, "logprobs": True, "top_logprobs": 3}
    choice = client.chat.completions.create(**asked).choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert b"".join(bytes(entry.bytes or []) for entry in choice.logprobs.content).decode("utf-8", "replace") == choice.message.content
    for entry in choice.logprobs.content:
        assert entry.top_logprobs[0].token == entry.token, "greedy takes the likeliest"
        assert entry.logprob == entry.top_logprobs[0].logprob
        assert 0 < sum(math.exp(other.logprob) for other in entry.top_logprobs) <= 1
    streamed = [entry for event in client.chat.completions.create(**asked, stream=True) for entry in _told(event)]
    assert streamed == choice.logprobs.content


def _told(event: Any) -> list[Any]:
    return [entry for choice in event.choices if choice.logprobs for entry in choice.logprobs.content]


@pytest.mark.parametrize("model", ["scribe", "plain"])
def test_schemas_are_followed_by_models_that_know_nothing(client: openai.OpenAI, model: str) -> None:
    for seed in range(3):
        found = client.chat.completions.parse(model=model, messages=HELLO, response_format=Person, max_tokens=120, seed=seed)
        person = found.choices[0].message.parsed
        assert isinstance(person, Person)
        assert found.choices[0].finish_reason == "stop"
        found = client.chat.completions.create(
            model=model, messages=HELLO, response_format={"type": "json_object"}, max_tokens=60, seed=seed
        )
        assert isinstance(json.loads(found.choices[0].message.content or ""), dict)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
@pytest.mark.parametrize("model", ["scribe", "plain"])
def test_a_call_that_has_to_be_made_is_made(client: openai.OpenAI, choice: Any, model: str) -> None:
    asked: dict[str, Any] = {"model": model, "messages": HELLO, "tools": [WEATHER], "tool_choice": choice, "max_tokens": 120, "seed": 1}
    found = client.chat.completions.create(**asked).choices[0]
    assert found.finish_reason == "tool_calls"
    assert found.message.content is None
    (call,) = found.message.tool_calls or []
    assert call.type == "function"
    arguments = json.loads(call.function.arguments)
    assert call.function.name == "get_weather"
    assert arguments["place"] in ("Paris", "北京")
    assert 1 <= arguments["days"] <= 9
    deltas = [choice.delta for event in client.chat.completions.create(**asked, stream=True) for choice in event.choices]
    streamed = [delta.tool_calls[0] for delta in deltas if delta and delta.tool_calls]
    assert [(one.index, one.function.name, one.function.arguments) for one in streamed if one.function] == [
        (0, call.function.name, call.function.arguments)
    ]


def test_a_conversation_with_a_tool_goes_on(client: openai.OpenAI) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"place": "Paris", "days": 1}'}}
    messages: Any = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    with_tools = client.chat.completions.create(model="scribe", messages=messages, tools=[WEATHER], max_tokens=4)  # type: ignore[list-item]
    without = client.chat.completions.create(model="scribe", messages=messages, max_tokens=4)
    assert with_tools.usage is not None
    assert without.usage is not None
    assert with_tools.usage.prompt_tokens > without.usage.prompt_tokens + 50, "the template tells the model what functions there are"


def test_the_poet_writes_in_the_form_that_is_asked_for(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(
        model="poet", messages=[{"role": "user", "content": "中秋月夜"}], seed=1, extra_body={"options": {"form": "五绝", "candidates": 1}}
    )
    lines = [line for line in (found.choices[0].message.content or "").replace("。", "，").split("，") if line.strip()]
    assert [len(line.strip()) for line in lines] == [5, 5, 5, 5]


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"model": "nobody"}, 404, "model"),
        ({"model": "../scribe"}, 404, "model"),
        ({"model": "painter"}, 400, "model"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "user"}]}, 400, "messages.0.content"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, 400, "messages.0.role"),
        ({"temperature": -1}, 400, "temperature"),
        ({"temperature": True}, 400, "temperature"),
        ({"n": 10**9}, 400, "n"),
        ({"n": True}, 400, "n"),
        ({"max_tokens": 10**12}, 400, "max_tokens"),
        ({"top_logprobs": 3}, 400, None),
        ({"chat_template": "{{ 1 }}"}, 400, "chat_template"),
        ({"options": {"formm": 1}}, 400, None),
        ({"tools": [WEATHER], "model": "plain"}, 400, "tools"),
        ({"tools": [WEATHER, WEATHER]}, 400, "tools"),
        ({"tool_choice": "required"}, 400, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": "required", "response_format": {"type": "json_object"}}, 400, "tool_choice"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "nonsense"}}}}, 400, None),
        ({"response_format": {"type": "json_schema"}}, 400, "response_format"),
        ({"logit_bias": {"x": 1}}, 400, "logit_bias"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}]}]}, 400, None),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]},
            400,
            None,
        ),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else None,
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_told(serving: Serving, change: dict[str, Any], status: int, param: str | None, stream: bool) -> None:
    body = {"model": "scribe", "messages": HELLO, "max_tokens": 3, "stream": stream, **change}
    answer = httpx.post(f"{serving.base}/chat/completions", json=body, headers={"authorization": f"Bearer {serving.key}"}, timeout=60)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    if change.get("response_format") == {"type": "json_schema"}:
        assert error["message"].endswith("'json_schema' is missing")
    if param is not None:
        assert error["param"] == param


def test_a_text_is_parted_into_words_and_calls() -> None:
    from miaobi.serve.http.wire.fields import Function
    from miaobi.serve.http.wire.tools import Reader, Toolbox

    box = Toolbox.of([Function(name="look"), Function(name="run")], "auto")
    call = '{"name": "look", "arguments": {"at": "月"}}'
    for text, said, calls in (
        ("just words <tool", "just words <tool", []),
        (f"I look. <tool_call>\n{call}\n</tool_call>\n<tool_call>{call}</tool_call> Done.", "I look.  Done.", ["look", "look"]),
        (f"<tool_call>{call}", "", ["look"]),
        (call, "", ["look"]),
        (f" [{call}, {call}]", "", ["look", "look"]),
        ('{"name": "unknown", "arguments": {}}', '{"name": "unknown", "arguments": {}}', []),
        ("<tool_call>not JSON</tool_call>!", "<tool_call>not JSON</tool_call>!", []),
        ('{"a": 1}', '{"a": 1}', []),
    ):
        for size in (1, 3, 1000):
            reader, words, found = Reader(box), "", []
            for start in range(0, len(text), size):
                more, new = reader.push(text[start : start + size])
                words, found = words + more, found + new
            more, new = reader.finish()
            assert words + more == said, (text, size)
            assert [one.name for one in found + new] == calls
            assert all(json.loads(one.arguments) == {"at": "月"} for one in found + new)
