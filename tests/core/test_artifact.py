"""A sealed model is whole or refused, and a write that fails leaves what was there."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from miaobi.core import artifact
from miaobi.core.artifact import FORMAT, MANIFEST, new_folder, open_artifact, seal, write_bytes, write_text
from miaobi.core.errors import ArtifactError, MiaobiError


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIAOBI_LANG", "en")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A sealed folder of two files and a card."""
    folder = tmp_path / "model"
    (folder / "onnx").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 10)
    (folder / "onnx" / "model.onnx").write_bytes(b"graph")
    (folder / "README.md").write_text("card", encoding="utf-8")
    seal(folder, family="gpt", name="tiny", licence="MIT", data=("poems",))
    return folder


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Root may write anywhere; so for a while we are not root."""
    if not hasattr(os, "seteuid"):
        pytest.skip("no user ids here")
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    yield
    os.seteuid(was)


def edit(folder: Path, **changes: object) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def test_what_was_sealed_is_opened(model: Path) -> None:
    opened = open_artifact(model, verify=True)
    assert (opened.family, opened.name, opened.licence, opened.data) == ("gpt", "tiny", "MIT", ("poems",))
    assert set(opened.files) == {"model.safetensors", "onnx/model.onnx", "README.md"}
    assert len(opened.sha256) == 64


def test_the_name_of_a_model_is_its_weights_not_its_card(model: Path) -> None:
    before = open_artifact(model).sha256
    (model / "README.md").write_text("a better card", encoding="utf-8")
    assert seal(model, family="gpt", name="tiny").sha256 == before
    (model / "onnx" / "model.onnx").write_bytes(b"another")
    assert seal(model, family="gpt", name="tiny").sha256 != before


@pytest.mark.parametrize("name", ["model.safetensors", "onnx/model.onnx", "README.md"])
def test_one_flipped_byte_is_refused(model: Path, name: str) -> None:
    data = bytearray((model / name).read_bytes())
    data[len(data) // 2] ^= 1
    (model / name).write_bytes(data)
    open_artifact(model)  # opening alone reads only the manifest
    with pytest.raises(ArtifactError, match=f"{name} is damaged"):
        open_artifact(model, verify=True)


def test_a_file_cut_short_or_gone_is_refused(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="damaged"):
        open_artifact(model, verify=True)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"model\.safetensors is missing"):
        open_artifact(model, verify=True)


def test_a_newer_format_says_what_to_do(model: Path) -> None:
    edit(model, format=FORMAT + 1)
    with pytest.raises(ArtifactError, match=r"format 2.*up to 1.*pip install --upgrade miaobi"):
        open_artifact(model)


def test_no_folder_and_no_manifest(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no model folder"):
        open_artifact(tmp_path / "none")
    with pytest.raises(ArtifactError, match="there is no model folder"):
        open_artifact(model / "README.md")
    (model / MANIFEST).unlink()
    with pytest.raises(ArtifactError, match="holds no finished miaobi model"):
        open_artifact(model)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "..", "\\\\server\\x", "a\\..\\..\\b", "C:\\x", "C:/x", ""])
def test_a_manifest_cannot_point_outside(model: Path, name: str) -> None:
    edit(model, files={name: {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(ArtifactError, match="outside the folder"):
        open_artifact(model)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": 1}',
        b'{"format": "x", "files": {}}',
        b'{"format": 0, "family": "gpt", "name": "x", "files": {}}',
        b'{"format": 1, "family": "gpt", "name": "x", "files": []}',
        b'{"format": 1, "family": "gpt", "name": "x", "files": {"a": {"sha256": "0"}}}',
    ],
)
def test_a_damaged_manifest_is_an_error_for_people(model: Path, content: bytes) -> None:
    (model / MANIFEST).write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        open_artifact(model)


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "model"

    def interrupted() -> None:
        with new_folder(target) as folder:
            write_text(folder / "a", "half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with new_folder(target) as folder:
        write_text(folder / "a", "whole")
        assert not target.exists()
    assert (target / "a").read_text(encoding="utf-8") == "whole"
    with pytest.raises(ArtifactError, match="exists already"), new_folder(target):
        pass
    with new_folder(target, replace=True) as folder:
        write_text(folder / "b", "next")
        (folder / "b").chmod(0o600)  # as safetensors leaves its files
    assert (target / "b").stat().st_mode & 0o444 == target.stat().st_mode & 0o444
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in target.iterdir()] == ["b"]


def test_a_folder_left_by_a_kill_does_not_stand_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "model.tmp").mkdir()
    (tmp_path / "model.tmp" / "stale").write_bytes(b"x")
    with new_folder(tmp_path / "model") as folder:
        write_text(folder / "a", "whole")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["a"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    """The old folder was moved away and the new one not yet in its place: the next write starts by putting the old one back."""
    (tmp_path / "model.old").mkdir()
    write_text(tmp_path / "model.old" / "a", "before")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "model", replace=True):
        raise RuntimeError
    assert (tmp_path / "model" / "a").read_text(encoding="utf-8") == "before"


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "poem.md"
    write_bytes(path, b"before")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(artifact.os, "fsync", full)
    with pytest.raises(MiaobiError, match=r"the disk is full: .*poem\.md was not written"):
        write_bytes(path, b"after")
    with pytest.raises(MiaobiError, match="the disk is full"), new_folder(tmp_path / "model") as folder:
        (folder / "a").write_bytes(b"x")
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["poem.md"]


@pytest.mark.usefixtures("as_nobody")
def test_without_permission_the_message_names_the_path(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(MiaobiError, match="no permission to write /miaobi-test"):
        write_bytes(Path("/miaobi-test/poem.md"), b"x")
    with pytest.raises(MiaobiError, match="no permission to write /miaobi-test"), new_folder(Path("/miaobi-test")):
        pass


def test_a_path_that_cannot_be_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "poem.md", tmp_path / "folder"):
        with pytest.raises(MiaobiError, match="cannot be written"):
            write_bytes(path, b"x")
    with pytest.raises(MiaobiError, match="too long"):
        write_bytes(tmp_path / ("长" * 200), b"x")
