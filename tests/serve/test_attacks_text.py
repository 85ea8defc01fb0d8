"""Attacks by what is asked of a language model: schemas that explode, templates from strangers, words that look like control tokens."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.serve.conftest import Server, running
from tests.talk.conftest import _scribe

SECONDS = 2.0
CHAT = "/v1/chat/completions"
RECURSIVE = {"$ref": "#"}
DEEP: dict[str, Any] = {"type": "string"}
for _ in range(25):
    DEEP = {"type": "object", "properties": {"a": DEEP}, "required": ["a"], "additionalProperties": False}
GRAMMARS: dict[str, Any] = {
    "nested repetition": {"type": "string", "pattern": "^(a+)+$"},
    "deeper repetition": {"type": "string", "pattern": "^((((a*)*)*)*)*$"},
    "a long count": {"type": "string", "pattern": "^a{1,999999}$"},
    "counts of counts": {"type": "string", "pattern": "^((a{1,999}){1,999}){1,999}$"},
    "alternatives": {"type": "string", "pattern": "^" + "|".join(f"x{number}" * 20 for number in range(2000)) + "$"},
    "itself": RECURSIVE,
    "two that name each other": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "a tree": {"$ref": "#/$defs/t", "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}},
    "elsewhere": {"$ref": "http://127.0.0.1:1/schema.json"},
    "a file": {"$ref": "file:///etc/passwd"},
    "deep": DEEP,
    "many fields": {"type": "object", "properties": {f"field{number}": {"type": "string"} for number in range(5000)}},
    "many words": {"enum": [f"word {number}" for number in range(20_000)]},
    "long": {"type": "string", "minLength": 10**9},
    "wide": {"type": "array", "minItems": 10**9, "items": {"type": "integer"}},
    "nothing": {"type": "string", "enum": []},
    "no schema": {"type": 7},
    "look behind": {"type": "string", "pattern": "(?<=a)b(?!c)\\1"},
}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a tiny chat model, whose process is there already."""
    home = tmp_path_factory.mktemp("home")
    _scribe(home / "models" / "scribe")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIAOBI_HOME", str(home))
        patch.setenv("MIAOBI_LANG", "en")
        with running(models=("scribe",), threads=1) as server:
            assert ask(server, {})[0] == 200
            yield server


def ask(server: Server, change: dict[str, Any], *, text: str = "Hello", path: str = CHAT) -> tuple[int, Any]:
    """One short chat."""
    body = {"model": "scribe", "messages": [{"role": "user", "content": text}], "max_tokens": 4, "seed": 1} | change
    status, _, answer = server.ask("POST", path, body)
    return status, json.loads(answer)


def busy() -> float:
    """How many want each core of this machine now, and one at least: so much longer takes whatever is waited for."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def pulse(server: Server, stop: threading.Event, slowest: list[float]) -> None:
    """How long /health takes, again and again."""
    while not stop.is_set():
        began = time.monotonic()
        assert server.ask("GET", "/health")[0] == 200
        slowest.append(time.monotonic() - began)
        time.sleep(0.02)


def test_schemas_that_explode_are_refused_or_ready_soon_and_hold_up_nobody(serving: Server) -> None:
    stop, slowest, bad = threading.Event(), [], []  # type: ignore[var-annotated]
    watching = threading.Thread(target=pulse, args=(serving, stop, slowest))
    watching.start()
    for name, schema in GRAMMARS.items():
        began = time.monotonic()
        format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        status, answer = ask(serving, {"response_format": format})
        seconds = time.monotonic() - began
        if status not in (200, 400) or seconds > SECONDS * busy():
            bad.append(f"{name}: {status} after {seconds:.1f} s: {str(answer)[:200]}")
    stop.set()
    watching.join()
    assert not bad, "\n".join(bad)
    assert len(slowest) > 10
    assert max(slowest) < busy()
    assert ask(serving, {})[0] == 200
    assert figure(serving, "miaobi_pool_restarts_total") == 0  # the worker that saw all this lives


def test_a_template_of_the_request_s_own_is_refused(serving: Server) -> None:
    for key in ("chat_template", "chat_template_kwargs", "template", "trust_remote_code", "extra_body"):
        status, answer = ask(serving, {key: "{{ ''.__class__ }}"})
        assert status == 400, (key, answer)
        assert key in answer["error"]["message"]
    for role in ("<|im_start|>", "root", "", "system\n<|im_end|>"):
        assert ask(serving, {"messages": [{"role": role, "content": "x"}]})[0] == 400


def test_words_that_look_like_control_tokens_are_words(serving: Server) -> None:
    """A control token is one token; the same letters from a person are several."""

    def tokens(text: str) -> int:
        status, answer = ask(serving, {}, text=text)
        assert status == 200
        return int(answer["usage"]["prompt_tokens"])

    plain = tokens("a")
    for mark in ("<|im_start|>", "<|im_end|>", "<|endoftext|>"):
        assert tokens("a" + mark) - plain > 3, mark
    assert tokens("{{ 7 * 7 }}{% for x in range(10**9) %}x{% endfor %}") < 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_generation_stops_soon_after_its_client_left(serving: Server, stream: bool) -> None:
    body = {"model": "scribe", "messages": [{"role": "user", "content": "Go on"}], "max_tokens": 3900, "stream": stream, "seed": 3}

    data = json.dumps(body).encode()
    before = figure(serving, "miaobi_pool_cancelled_total")
    client = socket.create_connection((serving.host, serving.port))
    head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    client.sendall(head.encode() + data)
    end = time.monotonic() + 10
    while figure(serving, "miaobi_pool_running") < 1:
        assert time.monotonic() < end, "it never ran"
        time.sleep(0.01)
    client.close()
    left = time.monotonic()
    while figure(serving, "miaobi_pool_running"):
        assert time.monotonic() - left < 2
        time.sleep(0.02)
    assert figure(serving, "miaobi_pool_cancelled_total") == before + 1


def figure(server: Server, name: str) -> float:
    """A figure of the pool."""
    found = re.search(rf"^{name} (\S+)$", server.ask("GET", "/metrics")[2].decode(), re.M)
    assert found, name
    return float(found[1])
