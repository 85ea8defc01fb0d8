"""Servers for the tests: the real app over the real pool, asked in this process or over a socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from miaobi.serve.http import listen
from miaobi.serve.http.app import AREAS, build, router_of
from miaobi.serve.http.keys import Keys
from miaobi.serve.http.settings import Settings
from miaobi.serve.pool import Pool

LOCAL = "http://127.0.0.1"
Inside = Callable[..., contextlib.AbstractContextManager[TestClient]]
Outside = Callable[..., contextlib.AbstractContextManager["Server"]]


@dataclass(frozen=True)
class Route:
    """One line of the routing table."""

    path: str
    method: str
    scope: str
    json: bool
    form: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def filled(self, value: str = "x") -> str:
        """The path with something where it varies."""
        return "/".join(value if step.startswith("{") else step for step in self.path.split("/"))


def routing_table() -> list[Route]:
    """Every route of every area, as the server itself describes it."""
    app = build(Settings(), pool=Pool(Settings()))
    described = app.openapi()["paths"]
    found = []
    for area, scope in AREAS:
        for route in router_of(area).routes:
            for method in sorted(route.methods):  # type: ignore[attr-defined]
                path = route.path  # type: ignore[attr-defined]
                content = described.get(path, {}).get(method.lower(), {}).get("requestBody", {}).get("content", {})
                found.append(Route(path, method, scope, "application/json" in content, "multipart/form-data" in content))
    return found


@dataclass
class Server:
    """A server on a real socket."""

    url: str
    host: str
    port: int
    app: Any
    thread: threading.Thread
    stop: Callable[[], None]

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        """One request whose path is sent as it is written."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        given = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            given.setdefault("content-type", "application/json")
        try:
            connection.request(method, path, body=body, headers=given)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()


@pytest.fixture
def inside(workplace: Path) -> Inside:
    """A client of an app in this process: `with inside(json_depth=8) as client`."""

    @contextlib.contextmanager
    def make(**settings: Any) -> Iterator[TestClient]:
        chosen = Settings(**settings)
        with TestClient(build(chosen, pool=Pool(chosen)), base_url=LOCAL, raise_server_exceptions=False) as client:
            yield client

    return make


@contextlib.contextmanager
def running(**settings: Any) -> Iterator[Server]:
    """A server on a free port, in a thread of this process."""
    chosen = Settings(**{"port": 0, "log": "off"} | settings)
    with listen.bind(chosen) as listener:
        app, told, ready = build(chosen, pool=Pool(chosen)), [], threading.Event()
        server = listen.prepare(app, chosen, listener, on_ready=lambda url: (told.append(url), ready.set()))  # type: ignore[func-returns-value]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(60)
            host, port = listener.getsockname()[:2]
            yield Server(told[0], host, port, app, thread, lambda: setattr(server, "should_exit", True))
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture
def outside(workplace: Path) -> Outside:
    """A server on a free port: `with outside(header_seconds=1) as server`."""
    return running


@pytest.fixture
def key(workplace: Path) -> str:
    """A key for everything."""
    return Keys().add("all")[1]


def bearer(secret: str) -> dict[str, str]:
    """The header that carries a key."""
    return {"authorization": f"Bearer {secret}"}


MODEL_OF = {"/v1/images": "daub", "/v1/audio/speech": "narrator", "/v1/music": "composer", "/v1/videos": "animator"}


def resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """A schema behind its reference."""
    while "$ref" in schema:
        found = schemas
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        schema = found
    return schema


def fields(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    """The fields of a route's JSON body."""
    content = schemas["paths"][route.path][route.method.lower()]["requestBody"]["content"]["application/json"]
    found: dict[str, Any] = resolved(content["schema"], schemas).get("properties", {})
    return {name: resolved(schema, schemas) for name, schema in found.items()}


def example(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    """A small body that a route takes: what it requires, by the description's own examples, of a model that is here."""
    content = schemas["paths"][route.path][route.method.lower()]["requestBody"]["content"]["application/json"]
    body: dict[str, Any] = _example(content["schema"], schemas)
    if "model" in fields(route, schemas):
        body["model"] = next((model for prefix, model in MODEL_OF.items() if route.path.startswith(prefix)), "polly")
    return body


def _example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    schema = resolved(schema, schemas)
    if schema.get("examples"):
        return schema["examples"][0]
    for branch in schema.get("anyOf", schema.get("oneOf", [])):
        return _example(branch, schemas)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if schema.get("type") == "object":
        return {name: _example(schema["properties"][name], schemas) for name in schema.get("required", [])}
    if schema.get("type") == "array":
        return [_example(schema.get("items", {}), schemas)]
    return {"string": "a", "integer": 1, "number": 1.0, "boolean": False}.get(schema.get("type", ""))
