"""The house on a real socket: slow and vanished clients, streams, TLS, stopping; and what it writes down."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from tests.serve.conftest import Inside, Outside, Server, bearer

from miaobi.cli.main import main
from miaobi.core.errors import Busy, MiaobiError, UsageError
from miaobi.serve.http import listen, logs, sse
from miaobi.serve.http.app import build
from miaobi.serve.http.attachments import disposition, respond
from miaobi.serve.http.keys import Keys
from miaobi.serve.http.settings import Settings
from miaobi.serve.http.state import Here
from miaobi.serve.pool import Ask, Overloaded, Pool


def guests(app: FastAPI, seen: dict[str, Any]) -> None:
    """Routes that do what the tests need, in the app as it is."""
    router = APIRouter()

    @router.get("/v1/test/stream")
    async def stream(state: Here, count: int = 3, pause: float = 0.0, fail: int = -1, first: float = 0.0) -> Response:
        async def events() -> AsyncGenerator[sse.Event]:
            seen["began"] = time.monotonic()
            try:
                await asyncio.sleep(first)
                for number in range(count):
                    if number == fail:
                        raise Overloaded(3)
                    yield sse.Event({"number": number}, last=number == count - 1)
                    await asyncio.sleep(pause)
            finally:
                seen["closed"] = time.monotonic()

        return await sse.stream(events(), state, id="test-1")

    @router.get("/v1/test/wait")
    async def wait() -> str:
        seen["began"] = time.monotonic()
        try:
            await asyncio.sleep(60)
        finally:
            seen["stopped"] = time.monotonic()
        return "waited"

    @router.get("/v1/test/soon")
    async def soon() -> str:
        seen["began"] = True
        await asyncio.sleep(0.5)
        return "done"

    @router.get("/v1/test/bug")
    async def bug() -> str:
        raise ZeroDivisionError("secret words")

    @router.get("/v1/test/page")
    async def page() -> Response:
        return HTMLResponse("<script>alert(1)</script>")

    @router.post("/v1/test/echo")
    async def echo(request: Request) -> Any:
        return await request.json()

    @router.post("/v1/test/poem")
    async def poem(state: Here) -> str:
        return (await state.collect(Ask.of("polly", "春", seed=1)))[0].text

    app.include_router(router)


@contextlib.contextmanager
def with_guests(outside: Outside, **settings: Any) -> Iterator[tuple[Server, dict[str, Any]]]:
    """A server with those routes, and what they note."""
    seen: dict[str, Any] = {}
    with outside(**settings) as server:
        guests(server.app, seen)
        yield server, seen


def until(found: Any, seconds: float = 3.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def events(body: bytes) -> list[str]:
    """The data of a stream's events."""
    return [line.removeprefix("data: ") for line in body.decode().splitlines() if line.startswith("data: ")]


def test_a_stream_is_labelled_at_both_ends_and_says_when_it_is_over(outside: Outside) -> None:
    with with_guests(outside) as (server, _):
        status, headers, body = server.ask("GET", "/v1/test/stream")
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    first, middle, last, done = events(body)
    assert done == "[DONE]"
    assert "aigc" not in json.loads(middle)
    for event in (first, last):
        label = json.loads(event)["aigc"]
        assert (label["Label"], label["ProduceID"]) == ("1", "test-1")
        assert len(label) == 7


def test_a_stream_that_has_nothing_to_say_shows_that_it_lives(outside: Outside) -> None:
    with with_guests(outside, heartbeat_seconds=0.1) as (server, _):
        _, _, body = server.ask("GET", "/v1/test/stream?count=2&pause=0.35&first=0.25")
    assert body.count(sse.HEARTBEAT) >= 4
    assert [json.loads(event)["number"] for event in events(body)[:-1]] == [0, 1]


def test_an_error_before_the_stream_has_its_status_and_one_within_is_an_event(outside: Outside) -> None:
    with with_guests(outside) as (server, seen):
        status, headers, body = server.ask("GET", "/v1/test/stream?fail=0")
        assert (status, headers["retry-after"]) == (429, "3")
        assert json.loads(body)["error"]["type"] == "rate_limit_error"
        assert "closed" in seen
        status, _, body = server.ask("GET", "/v1/test/stream?fail=2")
        assert status == 200
        *_, error, done = events(body)
        assert json.loads(error)["error"]["code"] == "rate_limit_exceeded"
        assert json.loads(error)["aigc"]["Label"] == "1"
        assert done == "[DONE]"


@pytest.mark.parametrize("path", ["/v1/test/stream?count=1000&pause=0.05", "/v1/test/wait", "/v1/test/stream?first=60"])
def test_work_for_a_client_that_left_stops(outside: Outside, path: str) -> None:
    with with_guests(outside) as (server, seen):
        client = socket.create_connection((server.host, server.port))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        until(lambda: "began" in seen, 20)
        left = time.monotonic()
        client.close()
        until(lambda: "closed" in seen or "stopped" in seen)
        assert max(seen.values()) - left < 2
        assert b"miaobi_clients_gone_total 1.0" in server.ask("GET", "/metrics")[2]


def test_small_answers_are_sent_at_once() -> None:
    """asyncio switches Nagle's algorithm off only for sockets that say they are TCP; else a body waits 40 ms for its head's receipt."""
    with listen.bind(Settings(port=0)) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_slow_senders_are_let_go_and_stop_nobody(outside: Outside) -> None:
    with outside(header_seconds=0.6, body_seconds=0.6) as server:
        slow = [socket.create_connection((server.host, server.port)) for _ in range(50)]
        for client in slow[:20]:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: 127.")
        for client in slow[20:40]:
            client.sendall(
                b"POST /v1/nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
            )
        taken = []
        for _ in range(20):
            began = time.monotonic()
            assert server.ask("GET", "/health")[0] == 200
            taken.append(time.monotonic() - began)
        assert max(taken) < 1
        for number, client in enumerate(slow):
            client.settimeout(5)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                answer = client.recv(4096)
            assert answer.startswith(b"HTTP/1.1 408") if 20 <= number < 40 else answer == b""
            client.close()


def test_a_kept_connection_has_no_more_time_than_a_new_one(outside: Outside) -> None:
    with outside(header_seconds=0.5) as server, socket.create_connection((server.host, server.port)) as client:
        client.settimeout(5)
        client.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        answer = b""
        while not answer.endswith(b'{"status":"ok"}'):
            answer += client.recv(4096)
        client.sendall(b"GET /hea")
        began = time.monotonic()
        assert client.recv(4096) == b""
        assert time.monotonic() - began < 3


def test_a_chunked_body_is_counted_as_it_comes(outside: Outside) -> None:
    with outside(body_bytes=1000) as server, socket.create_connection((server.host, server.port)) as client:
        client.settimeout(5)
        client.sendall(
            b"POST /v1/nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            for _ in range(40):
                client.sendall(b"64\r\n" + b"1" * 100 + b"\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 413")


def test_stopping_lets_requests_end(outside: Outside) -> None:
    with with_guests(outside) as (server, seen):
        answers: list[Any] = []
        asking = threading.Thread(target=lambda: answers.append(server.ask("GET", "/v1/test/soon")))
        asking.start()
        until(lambda: "began" in seen)
        server.stop()
        asking.join(10)
        assert answers[0][0] == 200
        server.thread.join(10)
        assert not server.thread.is_alive()
        with pytest.raises(OSError, match="refused"):
            server.ask("GET", "/health")


def test_stopping_does_not_wait_for_ever(outside: Outside) -> None:
    with with_guests(outside, grace_seconds=1.0) as (server, seen):
        client = socket.create_connection((server.host, server.port))
        client.sendall(b"GET /v1/test/wait HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        until(lambda: "began" in seen, 20)
        began = time.monotonic()
        server.stop()
        server.thread.join(15)
        assert not server.thread.is_alive()
        assert time.monotonic() - began < 6
        assert "stopped" in seen
        client.close()


def test_the_command_serves_and_stops_with_the_signal(workplace: Path) -> None:
    """As a person starts it: ready in three seconds, one line that says where, Ctrl-C ends it without a word of Python's."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "miaobi.cli.main", "serve", "--port", "0", "--json", "--log", "json"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    assert process.stdout
    url = json.loads(_until_object(process.stdout))["url"]
    ready = time.monotonic() - begun
    with urllib.request.urlopen(url.removesuffix("/v1") + "/ready") as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    lines = [json.loads(line) for line in errors.splitlines()]
    assert lines[0]["path"] == "/ready"
    assert ready < 15, ready  # three seconds on an idle machine; the bench measures it


def _until_object(stream: Any) -> str:
    """The lines of one JSON object that is printed over several."""
    text = ""
    for line in stream:
        text += line
        with contextlib.suppress(ValueError):
            json.loads(text)
            return text
    raise AssertionError(text)


def test_what_cannot_be_served_is_said_before_anything_starts(workplace: Path) -> None:
    with pytest.raises(UsageError, match="needs a key"):
        listen.check(Settings(host="0.0.0.0"))
    with pytest.raises(UsageError, match="needs a key"):
        listen.check(Settings(host="::"))
    with pytest.raises(UsageError, match="lets every web page"):
        listen.check(Settings(origins=("*",)))
    for origin in ("app.example", "https://app.example/path", "javascript:alert(1)", "https://a@b"):
        with pytest.raises(UsageError, match="takes an origin"):
            listen.check(Settings(origins=(origin,)))
    with pytest.raises(UsageError, match="TLS takes both"):
        listen.check(Settings(certificate=Path("x.pem")))
    Keys().add("one")
    listen.check(Settings(host="0.0.0.0", origins=("*", "https://app.example")))
    with pytest.raises(UsageError, match="no address of this machine"):
        listen.bind(Settings(host="192.0.2.1", port=0))
    with listen.bind(Settings(port=0)) as taken, pytest.raises(Busy, match="taken"):
        listen.bind(Settings(port=taken.getsockname()[1]))


def test_a_server_that_cannot_start_says_why_in_words(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "0", "--model", "nobody"]) == 2
    assert main(["serve", "--port", "0", "--keep", "poett"]) == 2
    told = capsys.readouterr().err
    assert "unknown model 'nobody'" in told
    assert "Did you mean 'poet'" in told
    settings = Settings(port=0, keep=("nobody",))
    with pytest.raises(UsageError, match="unknown model"):
        listen.run(build(settings, pool=Pool(settings)), settings)
    assert "Traceback" not in capsys.readouterr().err


def test_a_server_that_others_reach_wants_a_key_even_when_all_are_gone(outside: Outside) -> None:
    key, secret = Keys().add("one")
    with outside(host="0.0.0.0") as server:
        assert server.ask("GET", "/v1/models", headers={"host": "192.0.2.7", **bearer(secret)})[0] == 200
        assert server.ask("GET", "/v1/models", headers={"host": "evil.example", **bearer(secret)})[0] == 403
        Keys().remove(key.id)
        assert server.ask("GET", "/v1/models", headers={"host": "192.0.2.7", **bearer(secret)})[0] == 401
        assert server.ask("GET", "/v1/models", headers={"host": "192.0.2.7"})[0] == 401
        assert server.ask("GET", "/health", headers={"host": "192.0.2.7"})[0] == 200


def test_the_first_key_closes_a_server_that_was_open(inside: Inside) -> None:
    with inside() as client:
        assert client.get("/v1/models").status_code == 200
        _, secret = Keys().add("first")
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers=bearer(secret)).status_code == 200
        Keys().path.write_text("{", encoding="utf-8")
        closed = client.get("/v1/models", headers=bearer(secret))
        assert closed.status_code == 503
        assert "keys.json" not in closed.text


def test_tls(outside: Outside, tmp_path: Path) -> None:
    certificate, private = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    done = subprocess.run(
        [*command, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", private, "-out", certificate], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("openssl is not here")
    with outside(certificate=certificate, certificate_key=private) as server:
        assert server.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection(server.host, server.port, context=trusted, timeout=10)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        connection.close()
    with pytest.raises(UsageError, match="cannot be used"), outside(certificate=private, certificate_key=certificate):
        pass


def test_a_page_that_was_allowed_may_call_and_no_other(inside: Inside) -> None:
    ours, other = "https://app.example", "https://other.example"
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    Keys().add("x")
    with inside(origins=(ours,)) as client:
        answer = client.options("/v1/models", headers={"origin": ours, **asked})
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == ours
        assert "authorization" in answer.headers["access-control-allow-headers"]
        refused = client.options("/v1/models", headers={"origin": other, **asked})
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers
        without = client.get("/v1/models", headers={"origin": ours})  # the page may read why it was refused
        assert without.status_code == 401
        assert without.headers["access-control-allow-origin"] == ours
        assert "Origin" in without.headers["vary"]


def test_the_journal_has_ids_and_neither_prompts_nor_keys(outside: Outside, key: str, capfd: pytest.CaptureFixture[str]) -> None:
    with logs.writing("json"), with_guests(outside, log="json") as (server, _):
        sent = {"prompt": "a very private question"}
        headers = {**bearer(key), "x-request-id": "mine-7"}
        status, got, _ = server.ask("POST", f"/v1/test/echo?key={key}", sent, headers)
        assert (status, got["x-request-id"]) == (200, "mine-7")
        _, got, _ = server.ask("GET", "/v1/test/echo", headers={"x-request-id": "forged\tline"})
        assert re.fullmatch("[0-9a-f]{32}", got["x-request-id"])
        status, got, body = server.ask("GET", "/v1/test/bug", headers=bearer(key))
        assert status == 500
        assert b"secret words" not in body
        server.ask("GET", "/v1/nothing%0aforged", headers=bearer(key))
    written = capfd.readouterr().err
    assert "private question" not in written
    assert key not in written
    assert key[-20:] not in written
    lines = [json.loads(line) for line in written.splitlines()]
    requests = [line for line in lines if line["message"] == "request"]
    assert requests[0] | {"time": "", "seconds": 0} == {
        "time": "",
        "level": "info",
        "message": "request",
        "id": "mine-7",
        "method": "POST",
        "path": "/v1/test/echo",
        "status": 200,
        "seconds": 0,
        "bytes": requests[0]["bytes"],
        "client": "127.0.0.1",
        "caller": Keys().all()[0].id,
    }
    problem = next(line for line in lines if line["level"] == "error")
    assert "ZeroDivisionError" in problem["error"]
    assert problem["id"] == got["x-request-id"]


def test_prompts_are_written_down_when_asked(outside: Outside, capfd: pytest.CaptureFixture[str]) -> None:
    with logs.writing("json"), with_guests(outside, log="json", log_prompts=True) as (server, _):
        server.ask("POST", "/v1/test/echo", {"prompt": "中秋"})
    assert json.loads(json.loads(capfd.readouterr().err.splitlines()[0])["body"]) == {"prompt": "中秋"}


def test_a_log_that_nobody_reads_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = os.pipe()
    stuck = os.fdopen(target, "w", encoding="utf-8")
    with contextlib.suppress(BrokenPipeError), stuck, os.fdopen(source):
        monkeypatch.setattr(sys, "stderr", stuck)
        monkeypatch.setattr(logs, "LAST_SECONDS", 0.05)
        monkeypatch.setattr(logs, "MOST_LINES", 500)
        began = time.monotonic()
        with logs.writing("text"):
            for number in range(3000):  # a pipe holds 64 kB
                logs.log.info("request %d %s", number, "x" * 100)
        assert time.monotonic() - began < 2


def test_figures_count_by_template_and_not_by_path(outside: Outside, polly: Path) -> None:
    with with_guests(outside) as (server, _):
        for number in range(20):
            server.ask("GET", f"/v1/models/{number}")
            server.ask("GET", f"/nothing/{number}")
        assert server.ask("POST", "/v1/test/poem", {})[0] == 200
        text = server.ask("GET", "/metrics")[2].decode()
    assert 'miaobi_requests_total{method="GET",route="/v1/models/{model}",status="404"} 20.0' in text
    assert 'miaobi_requests_total{method="GET",route="(other)",status="404"} 20.0' in text
    assert 'miaobi_first_token_seconds_count{model="polly"} 1.0' in text
    assert float(_value(text, "miaobi_memory_bytes")) > 20e6
    assert float(_value(text, "miaobi_pool_queue")) == 64
    assert 'miaobi_tokens_total{direction="made",model="polly"}' in text
    assert float(_value(text, "miaobi_pool_done_total")) == 1
    assert float(_value(text, r'miaobi_model_memory_bytes\{model="polly"\}')) > 20e6


def test_figures_have_the_names_and_types_that_prometheus_wants(inside: Inside) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    with inside() as client:
        text = client.get("/metrics").text
        status = client.app.state.miaobi.pool.status()  # type: ignore[attr-defined]
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    for name, kind in kinds.items():
        assert (kind == "counter") == name.endswith("_total"), (name, kind)
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
    known = {name.removeprefix("miaobi_pool_").removesuffix("_total") for name in kinds if name.startswith("miaobi_pool_")}
    assert known == {name for name, value in status.items() if isinstance(value, int)}


def _value(text: str, name: str) -> str:
    found = re.search(rf"^{name} (\S+)$", text, re.M)
    assert found, name
    return found[1]


def test_tokens_are_charged_to_the_key(outside: Outside, polly: Path) -> None:
    _, secret = Keys().add("frugal", tokens_per_minute=1)
    with with_guests(outside) as (server, _):
        assert server.ask("POST", "/v1/test/poem", {}, bearer(secret))[0] == 200
        status, headers, _ = server.ask("POST", "/v1/test/poem", {}, bearer(secret))
        assert status == 429
        assert int(headers["retry-after"]) >= 1


def test_requests_a_minute_are_counted_by_address_without_keys(outside: Outside) -> None:
    with outside(requests_per_minute=3) as server:
        found = [server.ask("GET", "/v1/models")[0] for _ in range(5)]
        assert found == [200, 200, 200, 429, 429]
        assert server.ask("GET", "/health")[0] == 200


def test_what_a_browser_would_run_is_only_downloaded(outside: Outside) -> None:
    with with_guests(outside) as (server, _):
        _, headers, _ = server.ask("GET", "/v1/test/page")
        assert headers["content-disposition"] == "attachment"
        assert "sandbox" in headers["content-security-policy"]
        for path in ("/health", "/v1/models", "/v1/nothing", "/docs"):
            assert server.ask("GET", path)[1]["x-content-type-options"] == "nosniff"
    for mime in (
        "text/html",
        "image/svg+xml",
        "application/xhtml+xml",
        "application/x-anything",
        "text/html; charset=utf-8",
        "IMAGE/SVG+XML",
    ):
        assert respond(b"x", mime, name="a.png").headers["content-disposition"].startswith("attachment")
    assert disposition("image/png", "月.png") == "inline; filename=\"_.png\"; filename*=UTF-8''%E6%9C%88.png"
    assert "\n" not in disposition("image/png", 'a"\r\nSet-Cookie: x=1')
    assert disposition("image/png", "../../etc/passwd").endswith("UTF-8''passwd")


def test_errors_speak_the_client_s_language(inside: Inside) -> None:
    with inside() as client:
        assert "没有这个路径" in client.get("/v1/nothing", headers={"accept-language": "zh-CN,zh;q=0.9"}).text
        assert "no such path" in client.get("/v1/nothing", headers={"accept-language": "de"}).text


def test_the_description_page_needs_no_other_server(inside: Inside) -> None:
    with inside() as client:
        page = client.get("/docs")
        assert page.status_code == 200
        assert not re.search(r"https?://", page.text)
        assert "default-src 'self'" in page.headers["content-security-policy"]
        described = client.get("/openapi.json").json()
        assert "/v1/models" in described["paths"]
        assert "/docs" not in described["paths"]


def test_ready_only_while_the_pool_lives(inside: Inside) -> None:
    with inside() as client:
        assert client.get("/ready").status_code == 200
        client.app.state.miaobi.ready = False  # type: ignore[attr-defined]
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200


def test_a_websocket_is_refused(inside: Inside) -> None:
    from starlette.websockets import WebSocketDisconnect

    with inside() as client, pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/models"):
        pass


def test_errors_of_ours_have_the_status_that_retries_go_by() -> None:
    from miaobi.core.errors import ArtifactError, DataError, MissingExtra, unknown
    from miaobi.library.database import Away
    from miaobi.serve.http import errors
    from miaobi.trust.safety import Refused

    expected = [
        (UsageError("x"), 400),
        (unknown("model", "x", []), 404),
        (unknown("option", "x", []), 400),
        (DataError("x"), 400),
        (Refused("x", category="y"), 400),
        (MissingExtra("x", "y"), 501),
        (Busy("x"), 409),
        (ArtifactError("x"), 500),
        (MiaobiError("x"), 500),
        (Overloaded(2.0), 429),
        (ZeroDivisionError("x"), 500),
        (errors.not_found("file", "x"), 404),
    ]
    assert [(type(error), errors.status_of(error)) for error, _ in expected] == [(type(error), status) for error, status in expected]
    assert errors.body(Refused("x", category="y"))["error"]["code"] == "content_policy_violation"
    away = Away("the library at {url} cannot be used: {problem}", url="postgresql://inner.host/db", problem="no route to inner.host")
    assert errors.status_of(away) == 503
    assert "inner" not in errors.body(away)["error"]["message"]
    assert "x" not in errors.body(ZeroDivisionError("xyz"))["error"]["message"].split()
