"""Responses by the official client: typed events, conversations that go on, functions, schemas, the background."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest
from pydantic import BaseModel
from tests.talk.conftest import Serving

CITY = {
    "type": "function",
    "name": "look_up",
    "parameters": {
        "type": "object",
        "properties": {"place": {"enum": ["Paris", "Rome"]}},
        "required": ["place"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module")
def client(serving: Serving) -> openai.OpenAI:
    return openai.OpenAI(base_url=serving.base, api_key=serving.key, max_retries=0)


class Place(BaseModel):
    """What an answer is parsed into."""

    name: str
    size: int


def ask(client: openai.OpenAI, **values: Any) -> Any:
    asked: dict[str, Any] = {"model": "scribe", "input": "Hello there", "max_output_tokens": 8, "extra_body": {"seed": 5}, **values}
    return client.responses.create(**asked)


def test_a_response_is_whole_and_can_be_asked_for_again(client: openai.OpenAI) -> None:
    found = ask(client, instructions="Be kind.", metadata={"a": "b"})
    assert found.id.startswith("resp_")
    assert found.output_text == found.output[0].content[0].text != ""
    assert found.status in ("completed", "incomplete")
    assert (found.status == "incomplete") == (found.incomplete_details is not None)
    assert found.usage.total_tokens == found.usage.input_tokens + found.usage.output_tokens
    assert found.model_extra["aigc"]["Label"] == "1"
    again = client.responses.retrieve(found.id)
    assert again.to_dict() == found.to_dict()
    items = client.responses.input_items.list(found.id)
    assert [item.to_dict()["content"] for item in items.data] == [[{"type": "input_text", "text": "Hello there"}]]
    client.responses.delete(found.id)
    for call in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            call(found.id)


def test_events_are_typed_numbered_and_add_up(client: openai.OpenAI) -> None:
    whole = ask(client, temperature=1.0, top_logprobs=2)
    events = list(ask(client, temperature=1.0, top_logprobs=2, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
    assert kinds[-4:-1] == ["response.output_text.done", "response.content_part.done", "response.output_item.done"]
    assert kinds[-1] == f"response.{whole.status}"
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert "".join(event.delta for event in events[4:-4]) == whole.output_text == events[-4].text
    last = events[-1].response
    assert last.output_text == whole.output_text
    assert last.usage == whole.usage
    told = [entry for event in events[4:-4] for entry in event.logprobs]
    assert [entry.token for entry in told] == [entry.token for entry in whole.output[0].content[0].logprobs]
    assert all(len(entry.top_logprobs) == 2 for entry in told)
    assert "aigc" in events[0].model_extra
    assert "aigc" in events[-1].model_extra
    assert client.responses.retrieve(last.id).output_text == whole.output_text


def test_a_conversation_goes_on_from_a_response(client: openai.OpenAI) -> None:
    first = ask(client)
    second = ask(client, input="And you?", previous_response_id=first.id)
    assert second.usage.input_tokens > first.usage.total_tokens
    by_hand = ask(
        client,
        input=[
            {"role": "user", "content": "Hello there"},
            *[item.to_dict() for item in first.output],
            {"role": "user", "content": "And you?"},
        ],
    )
    assert by_hand.output_text == second.output_text
    with pytest.raises(openai.NotFoundError):
        ask(client, previous_response_id="resp_nobody")
    forgotten = ask(client, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(forgotten.id)


def test_schemas_and_functions(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(model="scribe", input="A place", text_format=Place, max_output_tokens=80).output_parsed
    assert isinstance(parsed, Place)
    found = ask(client, tools=[CITY], tool_choice={"type": "function", "name": "look_up"}, max_output_tokens=60)
    (call,) = found.output
    assert (call.type, call.name, found.status) == ("function_call", "look_up", "completed")
    assert json.loads(call.arguments)["place"] in ("Paris", "Rome")
    given = {"type": "function_call_output", "call_id": call.call_id, "output": "two million people"}
    after = ask(client, input=[given], previous_response_id=found.id, tools=[CITY])
    assert after.usage.input_tokens > found.usage.input_tokens
    events = list(ask(client, tools=[CITY], tool_choice="required", max_output_tokens=60, stream=True))
    kinds = [event.type for event in events]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert events[3].delta == events[4].arguments == call.arguments


def test_the_background_goes_on_and_can_be_cancelled(client: openai.OpenAI) -> None:
    queued = ask(client, background=True, max_output_tokens=6)
    assert queued.status == "queued"
    until = time.monotonic() + 60
    while (found := client.responses.retrieve(queued.id)).status in ("queued", "in_progress"):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert found.output_text == ask(client, max_output_tokens=6).output_text
    slow = ask(client, background=True, max_output_tokens=3900, extra_body={"options": {"min_tokens": 3900}})
    time.sleep(0.5)
    began = time.monotonic()
    assert client.responses.cancel(slow.id).status == "cancelled"
    assert time.monotonic() - began < 2
    assert client.responses.retrieve(slow.id).status == "cancelled"
    failed = ask(client, background=True, extra_body={"options": {"nonsense": 1}})
    while (found := client.responses.retrieve(failed.id)).status in ("queued", "in_progress"):
        time.sleep(0.05)
    assert found.status == "failed"
    assert found.error is not None
    assert "nonsense" in found.error.message


def test_what_is_wrong_is_told(client: openai.OpenAI) -> None:
    wrong: list[dict[str, Any]] = [
        {"input": []},
        {"model": "painter"},
        {"background": True, "stream": True},
        {"background": True, "store": False},
        {"input": [{"type": "function_call", "name": "x"}]},
        {"input": [{"role": "user"}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "file:///etc/passwd"}]}]},
        {"text": {"format": {"type": "json_schema", "name": "a"}}},
        {"tools": [{"type": "web_search"}]},
        {"max_output_tokens": 10**12},
    ]
    for change in wrong:
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, **change)
        assert caught.value.body, change
    done = ask(client)
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.cancel(done.id)
