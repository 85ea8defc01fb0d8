"""`--keep` and `keep=True`: contents go to the library by whatever door they come, once each, with their files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import miaobi
from miaobi.cli.main import main
from miaobi.core.types import Content
from miaobi.library.store import Kept, Library


def kept(where: Path | str = "") -> list[Kept]:
    """What is in the library, the oldest first."""
    library = Library.open(where)
    try:
        return list(library.each())
    finally:
        library.close()


def test_generate_keeps_texts(polly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "polly", "题目", "--seed", "1", "--n", "2", "--lines", "1", "--keep"]) == 0
    out = capsys.readouterr()
    found = kept()
    assert [one.text in out.out for one in found] == [True, True]
    assert {one.origin for one in found} == {"cli"}
    assert all(one.id in out.err for one in found)
    assert [one.label.index for one in found] == [0, 1]


def test_generate_keeps_pictures_that_can_be_written_again(daub: Path, tmp_path: Path) -> None:
    library = tmp_path / "elsewhere"
    assert main(["generate", "daub", "red", "--seed", "3", "--out", "red.png", "--keep", "--library", str(library)]) == 0
    [one] = kept(library)
    opened = Library.open(library)
    miaobi.api.write(opened.content(one.id), "again.png")
    opened.close()
    assert Path("again.png").read_bytes() == Path("red.png").read_bytes()
    assert kept() == []


def test_nothing_is_kept_unasked(polly: Path) -> None:
    assert main(["generate", "polly", "题目"]) == 0
    miaobi.generate("polly", "题目")
    assert kept() == []


def test_a_library_that_cannot_be_opened_is_named_before_anything_is_made(polly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("no folder")
    assert main(["generate", "polly", "题目", "--keep", "--library", "file"]) != 0
    out = capsys.readouterr()
    assert out.out == ""
    assert "file" in out.err


def test_the_api_keeps(polly: Path, tmp_path: Path) -> None:
    model = miaobi.load("polly", library=tmp_path / "library")
    first = model.generate("题目", n=2, seed=1, keep=True)
    second = [chunk for chunk in model.stream("题目", seed=5, keep=True) if isinstance(chunk, Content)]
    found = kept(tmp_path / "library")
    assert [one.text for one in found] == [content.text for content in (*first, *second)]
    assert {one.origin for one in found} == {"api"}


def test_a_content_is_kept_although_the_stream_is_left(polly: Path) -> None:
    chunks = miaobi.load("polly").stream("题目", n=3, seed=1, keep=True)
    first = next(chunk for chunk in chunks if isinstance(chunk, Content))
    chunks.close()  # type: ignore[attr-defined]
    assert [one.text for one in kept()] == [first.text]


@pytest.mark.parametrize("words", [["seed", "-1"], ["lines", "0"]])
def test_a_wrong_request_is_refused_at_once_with_keep_too(polly: Path, words: list[str]) -> None:
    name, value = words
    with pytest.raises(miaobi.MiaobiError, match=name):
        miaobi.load("polly").stream("题目", keep=True, **{name: int(value)})


def test_create_keeps_its_parts_under_its_title(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["create", "一只猫", "--out", "work", "--only", "poem", "--only", "picture", "--image-model", "none", "--seed", "1", "--draft"]
    assert main([*words, "--keep", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = kept()
    assert sorted(one.id for one in found) == sorted(told["kept"])
    assert {one.tags for one in found} == {("一只猫",)}
    assert {"text", "image"} <= {str(one.modality) for one in found}
    poem = next(one for one in found if one.label.model == "poet")
    assert poem.text.strip() == told["poem"]
