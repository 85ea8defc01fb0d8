"""Packages come through the real clients, npm and pip, from a small registry on this machine; afterwards no network is needed."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from miaobi.core.errors import DataError, MissingExtra, UsageError
from miaobi.core.recipe import Source
from miaobi.data.dataset import Dataset
from miaobi.data.readers import locate, packages, read

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
FILES = {
    "package/package.json": json.dumps({"name": "poems", "version": "1.2.0", "license": "MIT", "scripts": {"prepack": "exit 1"}}),
    "package/LICENSE": "The MIT License",
    "package/dist/a.json": json.dumps(
        [{"title": "静夜思", "paragraphs": ["床前明月光，疑是地上霜。", "举头望明月，低头思故乡。"]}], ensure_ascii=False
    ),
    "package/README.md": "poems",
}


def tarball(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content.encode())
            packed.addfile(info, io.BytesIO(content.encode()))
    return gzip.compress(buffer.getvalue(), mtime=0)


class Registry(http.server.ThreadingHTTPServer):
    """An npm registry with one package; `answers` counts what it was asked, `broken` makes the archive another than was promised."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.answers = 0
        self.broken = False
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(http.server.BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.server.answers += 1
        archive = tarball(FILES)
        body = b"{}"
        if self.path == "/poems":
            integrity = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
            version = {"name": "poems", "version": "1.2.0", "dist": {"tarball": f"{self.server.url}/poems.tgz", "integrity": integrity}}
            body = json.dumps({"name": "poems", "dist-tags": {"latest": "1.2.0"}, "versions": {"1.2.0": version}}).encode()
        elif self.path == "/poems.tgz":
            body = tarball({**FILES, "package/LICENSE": "changed"}) if self.server.broken else archive
        self.send_response(404 if body == b"{}" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    server = Registry()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in (
        ("registry", server.url),
        ("cache", str(tmp_path / "npm")),
        ("fetch_retries", "0"),
        ("update_notifier", "false"),
        ("audit", "false"),
    ):
        monkeypatch.setenv(f"npm_config_{name}", value)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "npm_config_proxy", "npm_config_https_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.shutdown()
    server.server_close()


@needs_npm
def test_npm_package_is_fetched_once_then_read_offline(tmp_path: Path, registry: Registry) -> None:
    source = Source(path="npm:poems@1.2.0", files="dist/*.json", fields={"text": "paragraphs", "title": "title"})
    [record] = read(source, cache=tmp_path / "cache")
    assert record.text == "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。"
    assert record.meta == {"source": "npm:poems@1.2.0", "licence": "MIT", "title": "静夜思"}
    asked = registry.answers
    for path in ("npm:poems@1.2.0", "npm:poems"):
        located = locate(source.model_copy(update={"path": path}), cache=tmp_path / "cache", offline=True)
        assert [name for name, _ in located.files] == ["dist/a.json"]
        assert [file.name for file in located.licence_files] == ["LICENSE"]
    assert registry.answers == asked
    assert json.loads((tmp_path / "cache" / "npm" / "poems@1.2.0" / "source.json").read_text())["integrity"].startswith("sha512-")


@needs_npm
def test_npm_archive_other_than_promised_is_refused(tmp_path: Path, registry: Registry) -> None:
    registry.broken = True
    with pytest.raises(DataError, match="arrived damaged"):
        packages.fetch("npm:poems@1.2.0", tmp_path / "cache")
    assert not list((tmp_path / "cache" / "npm").iterdir())


@needs_npm
def test_npm_package_that_is_not_there(tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(DataError, match="the registry has no npm:peoms"):
        packages.fetch("npm:peoms", tmp_path / "cache")
    with pytest.raises(DataError, match=r"the registry has no npm:poems@9\.0\.0"):
        packages.fetch("npm:poems@9.0.0", tmp_path / "cache")


@needs_npm
def test_no_network(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"npm:poems@1\.2\.0 is not in the cache, and there is no network"):
        packages.fetch("npm:poems@1.2.0", tmp_path / "cache")


@pytest.mark.parametrize("path", ["npm:poems@1.2.0", "pypi:poems==1.2.0", "hf:org/poems"])
def test_offline_asks_nobody(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match="the network is not to be used"):
        packages.fetch(path, tmp_path / "cache", offline=True)


def test_no_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="needs the program 'npm'"):
        packages.fetch("npm:poems", tmp_path / "cache")


def test_no_datasets_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"hf:org/poems needs the package datasets.*miaobi\[hf\]"):
        packages.fetch("hf:org/poems", tmp_path / "cache")


@pytest.mark.slow
def test_no_network_for_hugging_face(tmp_path: Path) -> None:
    """The library tries for over a minute before it gives up."""
    script = (
        "import sys; from pathlib import Path; from miaobi.core.errors import DataError; from miaobi.data.readers.packages import fetch\n"
        "try: fetch('hf:org/poems', Path(sys.argv[1]))\n"
        "except DataError as error: print(error)"
    )
    surroundings = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env={**os.environ, **surroundings}, capture_output=True, text=True, check=True
    )
    assert "hf:org/poems is not in the cache, and there is no network" in done.stdout


@pytest.mark.parametrize(
    "path", ["npm:../evil", "npm:a b", "npm:--help", "pypi:x; rm", "npm:https://evil.example/x.tgz", "hf:a/b/c", "npm:"]
)
def test_names_that_are_none(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError, match="does not name a package"):
        packages.fetch(path, tmp_path / "cache")


def test_wheel_from_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels" / "poems-1.2.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("poems/a.txt", "床前明月光")
        wheel.writestr(
            "poems-1.2.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: poems\nVersion: 1.2.0\nLicense-Expression: CC0-1.0\n\nVersion: 9",
        )
        wheel.writestr("poems-1.2.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("poems-1.2.0.dist-info/licenses/LICENSE", "CC0")
        wheel.writestr("poems-1.2.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    located = locate(Source(path="pypi:poems", files="poems/*"), cache=tmp_path / "cache")
    assert (located.name, located.licence, [path.name for path in located.licence_files]) == ("pypi:poems==1.2.0", "CC0-1.0", ["LICENSE"])
    with pytest.raises(DataError, match="the registry has no pypi:poems==2"):
        packages.fetch("pypi:poems==2", tmp_path / "cache")


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt"])
def test_tar_that_leaves_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "evil.tgz").write_bytes(tarball({name: "x"}))
    if name.startswith("/"):
        packages.unpack(tmp_path / "evil.tgz", tmp_path / "out")  # tar's data filter takes the leading slash away
        assert not Path("/tmp/evil.txt").exists()
        assert (tmp_path / "out" / "tmp" / "evil.txt").is_file()
    else:
        with pytest.raises(DataError, match="refused"):
            packages.unpack(tmp_path / "evil.tgz", tmp_path / "out")
    assert not (tmp_path / "evil.txt").exists()


def test_bomb_and_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "MOST_BYTES", 1000)
    (tmp_path / "bomb.tgz").write_bytes(tarball({"a": "0" * 5000}))
    with pytest.raises(DataError, match="which is refused"):
        packages.unpack(tmp_path / "bomb.tgz", tmp_path / "out")
    (tmp_path / "cut.tgz").write_bytes(tarball({"a": "0123456789" * 90})[:60])
    with pytest.raises(DataError, match="truncated or damaged"):
        packages.unpack(tmp_path / "cut.tgz", tmp_path / "out2")


@needs_npm
def test_licence_texts_reach_the_data_set(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    from miaobi.core.recipe import Data
    from miaobi.data.prepare import prepare

    source = {"path": "npm:poems", "files": "dist/*.json", "fields": {"text": "paragraphs"}}
    dataset = prepare(Data.model_validate({"source": source, "split": {"val": 0, "test": 0}}), tmp_path / "out", cache=tmp_path / "cache")
    assert isinstance(dataset, Dataset)
    assert dataset.licences == ("MIT",)
    assert (dataset.folder / "licences" / "00-LICENSE").read_text() == "The MIT License"
    assert dataset.card["sources"][0]["name"] == "npm:poems@1.2.0"
