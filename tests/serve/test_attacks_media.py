"""Pictures and sounds from strangers: URLs that lead into the server's own network, and files that are not what they say."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import http.server
import io
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from miaobi.core.errors import MiaobiError
from miaobi.serve.http import errors, media_url
from miaobi.serve.http.media_url import fetch
from miaobi.serve.http.settings import Settings
from miaobi.serve.pool import Ask, Pool

ALLOWED = Settings(media_hosts=("pictures.example",))
PRIVATE = ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255"]
PRIVATE += ["::1", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::", "ff02::1"]


def get(url: str, settings: Settings = ALLOWED) -> bytes:
    return asyncio.run(fetch(url, settings))


def test_data_urls_are_read() -> None:
    assert get("data:image/png;base64," + base64.b64encode(b"abc").decode(), Settings()) == b"abc"
    assert get("DATA:;base64,YWJj") == b"abc"
    assert get("data:text/plain,a%20b") == b"a b"
    for wrong in ("data:", "data:image/png;base64", "data:;base64,a", "data:;base64,!!!!"):
        with pytest.raises(MiaobiError):
            get(wrong)


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/", "http://localhost:8000/v1", "https://evil.example/x.png", "file:///etc/passwd", "ftp://pictures.example/x"),
        *("http://pictures.example@127.0.0.1/", "http://pictures.example.evil.example/", "//pictures.example/x", "gopher://127.0.0.1"),
        *("http://[::1]/", "http://2130706433/", "http://0x7f.1/", "http://pictures.example:99999/", "", "x", "http://", "https:///x"),
        *("http://u:p@pictures.example/", "http://pictures.example/a b", "http://pictures.example/\r\nHost: x", "javascript:alert(1)"),
        *("http://pictures.example%00.evil.example/", "http://pictures。example/", "http://[pictures.example]/"),
    ],
)
def test_nothing_is_fetched_from_a_server_that_was_not_allowed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("connected")

    monkeypatch.setattr(socket, "create_connection", never)
    for settings in (Settings(), ALLOWED):
        monkeypatch.setattr(socket, "getaddrinfo", never if url != "http://pictures。example/" else socket.getaddrinfo)
        with pytest.raises(MiaobiError) as refused:
            get(url, settings)
        assert errors.status_of(refused.value) == 400


@pytest.mark.parametrize("address", PRIVATE)
def test_an_allowed_name_that_leads_to_a_private_address_is_refused_before_connecting(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where only one of several addresses is private."""
    for found in ([address], ["93.184.215.14", address]):
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, found=found, **__: [(2, 1, 6, "", (text, 80)) for text in found])
        monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("connected"))
        with pytest.raises(MiaobiError, match="private address"):
            get("http://pictures.example/x.png")


class Answers(http.server.BaseHTTPRequestHandler):
    """A server of pictures; what it was asked is kept."""

    asked: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Host"]))
        if self.path.startswith("/redirect"):
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"picture" if self.path == "/x.png" else b"0" * 5000)

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server whose private address passes for a public one, since no other is here."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(media_url, "public_address", lambda host, port: "127.0.0.1")
    Answers.asked.clear()
    yield server.server_port
    server.shutdown()


def test_an_allowed_server_is_asked_at_the_address_that_was_checked(pictures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get(f"http://pictures.example:{pictures}/x.png") == b"picture"
    assert Answers.asked == [("/x.png", f"pictures.example:{pictures}")]
    with pytest.raises(MiaobiError, match="redirects are not followed"):
        get(f"http://pictures.example:{pictures}/redirect")
    assert len(Answers.asked) == 2
    monkeypatch.setattr(media_url, "LARGEST", 4000)
    with pytest.raises(MiaobiError, match="too much"):
        get(f"http://pictures.example:{pictures}/large")


def png(width: int, height: int, *, data: bytes = b"") -> bytes:
    """A PNG that says that it is so large."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data or zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def whole() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "PNG")
    return buffer.getvalue()


FILES = {
    "nothing": b"",
    "text": b"I am a picture",
    "cut off": whole()[:60],
    "cut off later": whole()[:-1000],
    "0 x 0": png(0, 0),
    "50k x 50k": png(50_000, 50_000),
    "a bomb": png(30_000, 30_000, data=zlib.compress(b"\0" * (90_000 * 300))),
    "EPS as PNG": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n(ls) system\n",
    "PSD as PNG": b"8BPS\x00\x01" + b"\0" * 6 + b"\x00\x03" + struct.pack(">IIHH", 100, 100, 8, 3) + b"\0" * 20,
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><image href='file:///etc/passwd'/></svg>",
    "PDF": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\n",
    "zip": b"PK\x03\x04" + b"\0" * 100,
    "noise": bytes(range(256)) * 40,
}


def test_files_that_are_no_sound_pictures_are_refused_at_once(workplace: Path, daub: Path) -> None:
    """Within a second each, without the memory that the file asks for; the worker lives on."""
    import resource

    async def ask() -> dict[str, tuple[int, float]]:
        pool, found = Pool(Settings()), {}
        await pool.start()
        try:
            await pool.collect(Ask.of("daub", "x", size=8, steps=1))  # the worker has started
            for name, data in FILES.items():
                began = time.monotonic()
                try:
                    await pool.collect(dataclasses.replace(Ask.of("daub", "x", steps=1), given={"image": data}))
                    found[name] = (200, 0.0)
                except MiaobiError as error:
                    found[name] = (errors.status_of(error), time.monotonic() - began)
            await pool.collect(dataclasses.replace(Ask.of("daub", "x", steps=1), given={"image": whole()}))
            assert pool.status()["restarts"] == 0
        finally:
            await pool.close()
        return found

    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    found = asyncio.run(ask())
    assert {name: status for name, (status, _) in found.items()} == dict.fromkeys(FILES, 400)
    assert max(seconds for _, seconds in found.values()) < 1, found
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - before < 400_000
