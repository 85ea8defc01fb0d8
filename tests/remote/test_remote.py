"""A model behind an endpoint, a real HTTP server: its answer streams, its troubles are said, and the key goes nowhere else."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from miaobi import api
from miaobi.cli.main import main
from miaobi.core.errors import DataError, MiaobiError, UsageError
from miaobi.core.schema import validate
from miaobi.core.types import Done, Media, Modality, Piece, Request, Turn
from miaobi.engine.generate import collect, run
from miaobi.engine.pull import pull
from miaobi.models.remote import wire
from miaobi.models.remote.model import Remote
from miaobi.models.remote.schema import Config, Options

KEY = "sk-a-secret-that-nobody-may-see"
Answer = Callable[[BaseHTTPRequestHandler], None]


class Endpoint:
    """A server that answers as the test says and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.gone = threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                endpoint.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                endpoint.keys.append(self.headers.get("Authorization"))
                try:
                    endpoint.answers.pop(0)(self)
                except (BrokenPipeError, ConnectionResetError):
                    endpoint.gone.set()

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True, kwargs={"poll_interval": 0.01}).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint()
    yield found
    found.close()


@pytest.fixture
def model(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Remote:
    monkeypatch.setattr(wire, "LONGEST_WAIT", 0.01)
    monkeypatch.delenv("MIAOBI_REMOTE_KEY", raising=False)
    return Remote(Config(url=endpoint.url, model="there"), name="here")


def begin(handler: BaseHTTPRequestHandler, kind: str = "text/event-stream", status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def event(delta: dict[str, Any], **more: Any) -> bytes:
    value = {"model": "there-2026", "choices": [{"index": 0, "delta": delta, **more}]}
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def stream(*texts: str, reason: str = "stop", delay: float = 0.0) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        handler.wfile.write(b": a heartbeat\n\n")
        for text in texts:
            handler.wfile.write(event({"content": text}))
            handler.wfile.flush()
            time.sleep(delay)
        handler.wfile.write(event({}, finish_reason=reason))
        usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": len(texts)}}
        handler.wfile.write(b"data: " + json.dumps(usage).encode() + b"\n\ndata: [DONE]\n\n")

    return answer


def refuse(status: int, message: str = "no", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        begin(handler, "application/json", status, **headers)
        handler.wfile.write(json.dumps({"error": {"message": message}}).encode())

    return answer


def write(data: bytes, kind: str = "text/event-stream") -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        begin(handler, kind)
        handler.wfile.write(data)

    return answer


def test_an_answer_streams_and_is_labelled(endpoint: Endpoint, model: Remote) -> None:
    endpoint.answers = [stream("Bon", "jour")]
    chunks = list(run(model, Request.of("Hello", seed=3, temperature=0.5, stop=["x"])))
    assert [chunk.part for chunk in chunks if isinstance(chunk, Piece)] == ["Bon", "jour"]
    [done] = [chunk for chunk in chunks if isinstance(chunk, Done)]
    assert (done.reason, done.usage.prompt, done.usage.generated) == ("stop", 5, 2)
    [asked] = endpoint.asked
    assert asked["messages"] == [{"role": "user", "content": "Hello"}]
    assert (asked["model"], asked["seed"], asked["temperature"], asked["stop"], asked["stream"]) == ("there", 3, 0.5, ["x"], True)
    assert "top_p" not in asked, "what nobody set is not sent"
    label = chunks[-1].label  # type: ignore[union-attr]
    assert (label.family, label.model, label.notes["answered_by"]) == ("remote", "here", "there-2026")


def test_a_conversation_with_a_picture(endpoint: Endpoint, model: Remote) -> None:
    endpoint.answers = [stream("ok")]
    picture = Media(modality=Modality.IMAGE, mime="image/png", data=b"png", name="image")
    turns = (Turn(role="system", parts=("Be kind.",)), Turn(role="user", parts=("What is it?", picture)))
    collect(model, Request(turns=turns))
    system, user = endpoint.asked[0]["messages"]
    assert system == {"role": "system", "content": "Be kind."}
    assert [part["type"] for part in user["content"]] == ["text", "image_url"]
    assert user["content"][1]["image_url"]["url"] == "data:image/png;base64,cG5n"


def test_several_contents_are_several_requests_with_seeds_of_their_own(endpoint: Endpoint, model: Remote) -> None:
    endpoint.answers = [stream("a"), stream("b")]
    assert [content.text for content in collect(model, Request.of("Hello", seed=7, n=2))] == ["a", "b"]
    assert [asked["seed"] for asked in endpoint.asked] == [7, 8]


def test_functions_that_are_asked_for_are_in_the_notes(endpoint: Endpoint, model: Remote) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        handler.wfile.write(event({"tool_calls": [{"index": 0, "function": {"name": "weather", "arguments": '{"pla'}}]}))
        handler.wfile.write(event({"tool_calls": [{"index": 0, "function": {"arguments": 'ce": "Bern"}'}}]}))
        handler.wfile.write(event({}, finish_reason="tool_calls"))

    endpoint.answers = [answer]
    [content] = collect(model, Request.of("Rain?", tools=[{"type": "function", "function": {"name": "weather"}}]))
    assert content.label.notes["tool_calls"] == [{"name": "weather", "arguments": '{"place": "Bern"}'}]
    assert endpoint.asked[0]["tools"][0]["function"]["name"] == "weather"


def test_an_endpoint_that_does_not_stream_is_read_whole(endpoint: Endpoint, model: Remote) -> None:
    whole = {"choices": [{"message": {"content": "all\nat once"}, "finish_reason": "length"}], "usage": {"completion_tokens": 3}}
    endpoint.answers = [write(json.dumps(whole, indent=1).encode(), "application/json")]
    chunks = list(model.generate(Request.of("Hello")))
    assert [chunk.part for chunk in chunks if isinstance(chunk, Piece)] == ["all\nat once"]
    assert isinstance(chunks[-1], Done)
    assert chunks[-1].reason == "length"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_endpoint_is_asked_again(endpoint: Endpoint, model: Remote, status: int) -> None:
    endpoint.answers = [refuse(status), refuse(status, Retry_After="0"), stream("here")]
    assert collect(model, Request.of("Hello"))[0].text == "here"
    assert len(endpoint.asked) == 3


def test_waits_grow_and_the_endpoint_may_name_its_own() -> None:
    waits: list[float] = []
    headers = Message()

    def transport(*arguments: Any) -> Any:
        raise urllib.error.HTTPError("u", 503, "busy", headers, None) if len(waits) < 2 else OSError("gone")

    with pytest.raises(wire.Unanswered, match="gone"):
        list(wire.events(wire.Call(url="u", body={}, tries=5), transport, wait=waits.append))
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_giving_up_says_what_the_endpoint_said(endpoint: Endpoint, model: Remote) -> None:
    endpoint.answers = [refuse(503, "too many people")] * 2
    with pytest.raises(wire.Unanswered, match=r"503 .*too many people"):
        collect(model, Request.of("Hello", tries=2))


def test_a_wrong_request_is_not_repeated(endpoint: Endpoint, model: Remote) -> None:
    endpoint.answers = [refuse(400, "max_tokens is too large")]
    with pytest.raises(UsageError, match="max_tokens is too large"):
        collect(model, Request.of("Hello"))
    assert len(endpoint.asked) == 1


def test_the_key_is_sent_and_never_told(endpoint: Endpoint, model: Remote, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIAOBI_REMOTE_KEY", KEY)
    endpoint.answers = [refuse(401, f"the key {KEY} is wrong")]
    with pytest.raises(UsageError, match="valid key") as caught:
        collect(model, Request.of("Hello"))
    assert endpoint.keys == [f"Bearer {KEY}"]
    assert KEY not in str(caught.value)
    assert KEY not in repr(wire.Call(url="u", body={}, key=KEY))
    model.save(tmp_path)
    assert KEY not in (tmp_path / "remote.json").read_text()


@pytest.mark.parametrize("key", [f"{KEY}\nX", f"{KEY}钥", f"{KEY}\x00"])
def test_a_key_that_cannot_be_sent_is_told_to_nobody(
    endpoint: Endpoint, model: Remote, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    monkeypatch.setattr("os.environ", os.environ | {"MIAOBI_REMOTE_KEY": key, "MIAOBI_HOME": str(tmp_path)})
    pull(f"{endpoint.url}#there")
    assert main(["generate", "there", "Hello", "--lang", "en"]) == 2
    told = capsys.readouterr()
    assert "key has a line break" in told.err
    assert KEY not in told.err + told.out
    assert not endpoint.asked
    assert not [path for path in (tmp_path / "log").rglob("*") if KEY in path.read_text()]


def test_the_line_break_of_a_file_is_no_part_of_a_key(endpoint: Endpoint, model: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIAOBI_REMOTE_KEY", f"{KEY}\r\n")
    endpoint.answers = [stream("ok")]
    collect(model, Request.of("Hello"))
    assert endpoint.keys == [f"Bearer {KEY}"]


def test_a_redirect_is_not_followed(endpoint: Endpoint, model: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIAOBI_REMOTE_KEY", KEY)
    other = Endpoint()
    endpoint.answers = [refuse(307, Location=f"{other.url}/chat/completions")]
    with pytest.raises(UsageError, match="307"):
        collect(model, Request.of("Hello"))
    assert not other.asked
    other.close()


RUBBISH = {
    "html": write(b"<html>gateway</html>", "text/html"),
    "no JSON": write(b"data: {]\n\n"),
    "a list": write(b"data: [1]\n\n"),
    "deep": write(b"data: " + b"[" * 100_000 + b"\n\n"),
    "choices of numbers": write(b'data: {"choices": [1]}\n\n'),
    "choices a text": write(b'data: {"choices": [{"delta": "x"}]}\n\n'),
    "usage": write(b'data: {"choices": [], "usage": {"prompt_tokens": "many"}}\n\n'),
    "bytes": write(b"data: \xff\xfe\n\n"),
    "an endless line": write(b"data: " + b"x" * (5 << 20)),
}


@pytest.mark.parametrize("answer", RUBBISH.values(), ids=RUBBISH.keys())
def test_rubbish_is_an_error_that_says_so(endpoint: Endpoint, model: Remote, answer: Answer) -> None:
    endpoint.answers = [answer] * 4
    with pytest.raises(DataError, match="endpoint"):
        collect(model, Request.of("Hello"))


def test_an_error_in_the_stream_is_said(endpoint: Endpoint, model: Remote) -> None:
    endpoint.answers = [write(b'data: {"error": {"message": "out of memory"}}\n\n')]
    with pytest.raises(UsageError, match="out of memory"):
        collect(model, Request.of("Hello"))


def test_an_answer_that_breaks_off_is_an_error_and_not_asked_again(endpoint: Endpoint, model: Remote) -> None:
    endpoint.answers = [write(event({"content": "half"})), stream("whole")]
    with pytest.raises(wire.Unanswered, match="broke off"):
        collect(model, Request.of("Hello"))
    assert len(endpoint.asked) == 1


def test_a_silent_endpoint_is_given_up(endpoint: Endpoint, model: Remote) -> None:
    endpoint.answers = [lambda handler: time.sleep(1)] * 2
    begun = time.monotonic()
    with pytest.raises(wire.Unanswered, match="timed out"):
        collect(model, Request.of("Hello", silence_seconds=0.1, tries=2))
    assert time.monotonic() - begun < 0.9


def test_an_answer_without_end_is_given_up(endpoint: Endpoint, model: Remote) -> None:
    endpoint.answers = [stream(*["x"] * 500, delay=0.01)]
    with pytest.raises(wire.Unanswered, match="too long"):
        collect(model, Request.of("Hello", seconds=0.2))


def test_letters_that_never_become_a_line_are_given_up(endpoint: Endpoint, model: Remote) -> None:
    def drips(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        for _ in range(300):
            handler.wfile.write(b"d")
            handler.wfile.flush()
            time.sleep(0.01)

    endpoint.answers = [drips]
    begun = time.monotonic()
    with pytest.raises(wire.Unanswered, match="too long"):
        collect(model, Request.of("Hello", seconds=0.2, tries=1))
    assert time.monotonic() - begun < 2


def test_events_may_come_in_any_pieces(endpoint: Endpoint, model: Remote) -> None:
    whole = event({"content": "床前"}) + event({"content": "明月"}, finish_reason="stop").replace(b"\n", b"\r\n")

    def answer(handler: BaseHTTPRequestHandler) -> None:
        begin(handler)
        for place in range(0, len(whole), 7):
            handler.wfile.write(whole[place : place + 7])
            handler.wfile.flush()

    endpoint.answers = [answer]
    assert collect(model, Request.of("Hello"))[0].text == "床前明月"


def test_nobody_there(model: Remote) -> None:
    nobody = Remote(Config(url="http://127.0.0.1:9/v1", model="x"))
    with pytest.raises(wire.Unanswered, match=r"127\.0\.0\.1:9"):
        collect(nobody, Request.of("Hello", tries=2))


def test_closing_the_iterator_hangs_up(endpoint: Endpoint, model: Remote) -> None:
    endpoint.answers = [stream(*["x" * 100_000] * 200, delay=0.005)]
    request = Request.of("Hello", **validate(Options, {}, "options").model_dump())
    chunks = model.generate(request)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert endpoint.gone.wait(2), "the endpoint writes to nobody"


def test_an_endpoint_is_pulled_and_used_by_name(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIAOBI_HOME", str(tmp_path))
    pulled = pull(f"{endpoint.url}#org/there:7b")
    assert (pulled.name, pulled.family) == ("org-there-7b", "remote")
    endpoint.answers = [stream("hi")]
    [content] = api.load("org-there-7b").generate("Hello", seed=1)
    assert content.text == "hi"
    assert endpoint.asked[0]["model"] == "org/there:7b"
    assert content.label.source == pulled.sha256
    monkeypatch.setenv("MIAOBI_OFFLINE", "1")
    with pytest.raises(UsageError, match="MIAOBI_OFFLINE"):
        api.generate("org-there-7b", "Hello")


@pytest.mark.parametrize(
    "source",
    [
        "http://127.0.0.1/v1",
        "http://user:word@host/v1#m",
        "http:///v1#m",
        "http://[abc/v1#m",
        "http://host:port/v1#m",
        "http://host:99999/v1#m",
        "http://host/模型#m",
        "http://host/a b#m",
    ],
)
def test_an_address_that_is_none_is_refused(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIAOBI_HOME", str(tmp_path))
    with pytest.raises(MiaobiError):
        pull(source)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"url": "file:///etc/passwd", "model": "x"}', '{"url": "http://h", "model": "x", "key": "a b"}']
)
def test_a_damaged_address_file_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "remote.json").write_text(content)
    with pytest.raises(MiaobiError, match=r"remote\.json"):
        Remote.load(tmp_path)
