"""Attacks on every route of the routing table: whatever is added to `app.AREAS` is attacked here without another line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.serve.conftest import Inside, Outside, Route, bearer, example, routing_table

from miaobi.serve.http.app import AREAS
from miaobi.serve.http.keys import SCOPES, Keys
from miaobi.serve.http.plan import OPEN

TABLE = routing_table()
TAKING = [route for route in TABLE if route.method in ("POST", "PUT", "PATCH")]
JSON = [route for route in TABLE if route.json]
NOWHERE = Route("/v1/nothing", "POST", "", json=True, form=False)  # the house refuses before it looks for a route
ELSEWHERE = [("GET", path) for path in ("/docs", "/openapi.json", "/nothing", "/v1/nothing", "/studio", "/studio/zh/", "/", "/v1")]
SECONDS = 2.0  # for an answer to what is nonsense

assert TABLE


def wrong(found: list[str]) -> None:
    """Fail with every line that is wrong."""
    assert not found, "\n".join(found)


def is_error(text: str) -> bool:
    """Whether an answer is an error in OpenAI's shape."""
    error = json.loads(text)["error"]
    return set(error) == {"message", "type", "param", "code"} and bool(error["message"]) and "Traceback" not in text


def test_every_area_has_a_scope_that_keys_know() -> None:
    assert {scope for _, scope in AREAS} <= set(SCOPES)
    assert len({(route.path, route.method) for route in TABLE}) == len(TABLE)


def test_without_a_key_nothing_is_there(inside: Inside, key: str) -> None:
    bad = []
    with inside() as client:
        for method, path in [*((route.method, route.filled()) for route in TABLE), *ELSEWHERE]:
            for headers in ({}, bearer("sk-miaobi-00000000-" + "A" * 43), bearer(key[:-1]), {"authorization": key}, {"x-api-key": key}):
                answer = client.request(method, path, headers=headers)
                if answer.status_code != (200 if path == OPEN else 401) or (path != OPEN and not is_error(answer.text)):
                    bad.append(f"{method} {path}: {answer.status_code}")
                if path != OPEN and "www-authenticate" not in answer.headers:
                    bad.append(f"{method} {path}: says not how to send a key")
            if client.request(method, path + f"?key={key}&api_key={key}").status_code == 200 and path != OPEN:
                bad.append(f"{method} {path}: a key in the address opens")
        assert client.get("/v1/models", headers=bearer(key)).status_code == 200
    wrong(bad)


def test_a_key_opens_only_its_scopes(inside: Inside) -> None:
    bad = []
    secrets = {scope: Keys().add(scope, scopes=[scope])[1] for scope in SCOPES}
    with inside() as client:
        for route in TABLE:
            if route.path == OPEN:
                continue
            for scope, secret in secrets.items():
                refused = client.request(route.method, route.filled(), headers=bearer(secret)).status_code == 403
                if refused is (scope == route.scope):
                    bad.append(f"{route} with a key for {scope}: refused is {refused}")
    wrong(bad)


def test_strange_hosts_and_pages_are_refused(inside: Inside) -> None:
    """A page of another site, or a name that was made to point here (DNS rebinding)."""
    attacks = [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "localhost.evil.example:8000"},
        {"host": "8.8.8.8"},
        {"host": "[::2]:8000"},
        {"host": ""},
        {"host": "127.0.0.1:80:80"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9"},
        {"origin": "http://localhost"},
        {"origin": "file://"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    ]
    bad = []
    with inside() as client:
        for method, path in [
            *((route.method, route.filled()) for route in TABLE),
            *ELSEWHERE,
            ("DELETE", "/v1/models/x"),
            ("PATCH", "/v1"),
        ]:
            for headers in attacks:
                answer = client.request(method, path, headers=headers)
                if answer.status_code != 403 or "access-control-allow-origin" in answer.headers:
                    bad.append(f"{method} {path} with {headers}: {answer.status_code}")
        for headers in ({"host": "localhost:8000"}, {"host": "[::1]:8000"}, {"origin": "http://127.0.0.1"}, {"host": "LOCALHOST"}):
            assert client.get("/health", headers=headers).status_code == 200, headers
    wrong(bad)


def test_bodies_of_another_kind_are_refused(inside: Inside) -> None:
    """What a form of another site can send without asking: urlencoded, text/plain; and kinds that nobody asked for."""
    kinds = ["text/plain", "application/x-www-form-urlencoded", "application/xml", "application/octet-stream", "", "application/jsonp"]
    kinds += ["application/json; charset=utf-16", "text/json", "multipart/mixed; boundary=x"]
    bad = []
    with inside() as client:
        for route in [*TAKING, NOWHERE]:
            for kind in kinds:
                answer = client.request(route.method, route.filled(), content=b'{"model": "poet"}', headers={"content-type": kind})
                if answer.status_code != 415 or not is_error(answer.text):
                    bad.append(f"{route} as {kind}: {answer.status_code}")
            packed = client.request(
                route.method, route.filled(), content=b"{}", headers={"content-type": "application/json", "content-encoding": "gzip"}
            )
            if packed.status_code != 415:
                bad.append(f"{route} compressed: {packed.status_code}")
            if route.json and not route.form and route is not NOWHERE:
                form = client.request(route.method, route.filled(), files={"model": b"poet"})
                if form.status_code != 415:
                    bad.append(f"{route} as a form: {form.status_code}")
    wrong(bad)


BROKEN: dict[str, bytes] = {
    "deep": b'{"model":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "deep and open": b"[" * 10_000,
    "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "a little too deep": b"[" * 66 + b"]" * 66,
    "half a character": rb'{"model": "poet", "prompt": "\ud800", "input": "\ud800", "messages": [{"role": "user", "content": "\ud800"}]}',
    "half a character in a key": rb'{"\udfff": 1}',
    "not a number": b'{"model": "poet", "n": NaN}',
    "endless": b'{"model": "poet", "n": Infinity}',
    "no JSON": b"model=poet",
    "two values": b"{} {}",
    "empty": b" ",
    "UTF-16": '{"model": "poet"}'.encode("utf-16"),
    "Latin-1": b'{"model": "\xe9"}',
    "many digits": b'{"model": "poet", "n": 1' + b"0" * 5000 + b"}",
    "many values": b"[" + b"0," * 2_100_000 + b"0]",
    "an array": b"[]",
    "a number": b"7",
    "null": b"null",
    "text": b'"poet"',
}

OTHER = ("an array", "a number", "null", "text")  # JSON, but not what a route wants


@pytest.mark.parametrize("name", BROKEN)
def test_broken_json_is_refused_at_every_route(inside: Inside, name: str) -> None:
    bad = []
    with inside() as client:
        for route in JSON if name in OTHER else [*JSON, NOWHERE]:
            began = time.monotonic()
            answer = client.request(route.method, route.filled(), content=BROKEN[name], headers={"content-type": "application/json"})
            if answer.status_code != 400 or not is_error(answer.text) or time.monotonic() - began > SECONDS:
                bad.append(f"{route}: {answer.status_code} {answer.text[:200]} after {time.monotonic() - began:.1f} s")
    wrong(bad)


def test_large_bodies_are_refused_before_they_are_read(outside: Outside) -> None:
    bad = []
    with outside() as server:
        for route in [*TAKING, NOWHERE]:
            kind = "multipart/form-data; boundary=x" if route.form and not route.json else "application/json"
            most = 300 << 20 if "multipart" in kind else 100 << 20
            began = time.monotonic()
            status, _, body = server.ask(route.method, route.filled(), b"", {"content-type": kind, "content-length": str(most)})
            if status != 413 or not is_error(body.decode()) or time.monotonic() - began > SECONDS:
                bad.append(f"{route}: {status}")
    wrong(bad)


TRICKY = [
    *(
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..%5c..%5cwindows",
        "%252e%252e%252f",
        "x%00.png",
        "%00",
        "C:%5Cwindows",
    ),
    *(
        "C:",
        "..",
        "%2e%2e",
        "../../etc/passwd",
        "/etc/passwd",
        "//etc/passwd",
        "%2fetc%2fpasswd",
        "....//",
        "x%0a",
        "x%0d%0aSet-Cookie:a=b",
    ),
    *("%ff%fe", "%ed%a0%80", "~root", "a" * 5000, "%E2%80%AE", "file%3A%2F%2F%2Fetc%2Fpasswd", "%c0%ae%c0%ae", "."),
]


def test_tricky_paths_lead_nowhere(outside: Outside) -> None:
    """By id only: no path, however it is dressed up, is one of the disk."""
    bad = []
    varying = [route for route in TABLE if "{" in route.path]
    with outside() as server:
        for route in varying:
            for value in TRICKY:
                status, _, body = server.ask(route.method, route.filled(value), b"" if route.method in ("GET", "HEAD", "DELETE") else {})
                if status not in (400, 404, 405) or b"root:" in body:
                    bad.append(f"{route} with {value[:60]}: {status}")
        for value in TRICKY:
            for path in (f"/{value}", f"/v1/{value}", f"/docs/{value}", f"/studio/{value}"):
                status, _, body = server.ask("GET", path)
                if status not in (400, 404) or b"root:" in body:
                    bad.append(f"GET {path[:60]}: {status}")
    assert varying
    wrong(bad)


MODELS = ["../x", "..", "/etc/passwd", "http://evil.example/m", "hf://org/name", "org/name", "C:\\x", "x\0y", " ", "~", "polly/../polly"]


def test_only_registered_names_are_models(inside: Inside, polly: Path, daub: Path) -> None:
    """An unknown name, a path or an address is 404, and nothing is fetched: no network is here to ask."""
    bad, tried = [], 0
    with inside() as client:
        schemas = client.get("/openapi.json").json()
        for route in JSON:
            body = example(route, schemas)
            if "model" not in body:
                continue
            tried += 1
            for name in [*MODELS, "artifacts/polly", "./polly", str(polly), "nobody"]:
                answer = client.request(route.method, route.filled(), json=body | {"model": name})
                if answer.status_code not in ((404,) if name == "nobody" else (400, 404)):
                    bad.append(f"{route} of {name!r}: {answer.status_code} {answer.text[:200]!r}")
    wrong(bad)


NONSENSE: list[Any] = [10**30, True, "seven", [], {}, 1e308, 10**9, 10**12, -(10**12)]
ANY_NUMBER = ("seed",)  # where the last three are as good as any


def test_numbers_beyond_reason_are_refused(inside: Inside, polly: Path, daub: Path) -> None:
    """n = 10⁹, max_tokens = 10¹², steps = 10⁹, a bool for a number … are 400 before anything is made."""
    bad = []
    with inside() as client:
        schemas = client.get("/openapi.json").json()
        for route in JSON:
            body = example(route, schemas)
            for name in numbers(route, schemas):
                for value in NONSENSE[:-3] if name in ANY_NUMBER else NONSENSE:
                    began = time.monotonic()
                    answer = client.request(route.method, route.filled(), json=body | {name: value})
                    seconds = time.monotonic() - began
                    if answer.status_code != 400 or not is_error(answer.text) or seconds > SECONDS:
                        bad.append(f"{route} with {name}={value!r}: {answer.status_code} {answer.text[:160]!r} after {seconds:.1f} s")
    wrong(bad)


def numbers(route: Route, schemas: dict[str, Any]) -> list[str]:
    """The fields of a route's body that are numbers."""
    from tests.serve.conftest import fields

    return [name for name, schema in fields(route, schemas).items() if {"integer", "number"} & set(kinds(schema))]


def kinds(schema: dict[str, Any]) -> list[str]:
    """The JSON types that a field may have."""
    return [str(branch.get("type")) for branch in schema.get("anyOf", [schema])]
