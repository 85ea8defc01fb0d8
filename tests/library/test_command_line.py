"""The library on the command line: kept, found, judged, saved with its label, exchanged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from miaobi.cli.main import main
from miaobi.core.types import Media, Modality
from miaobi.data.pictures import encode, render_svg
from miaobi.library.store import Library
from miaobi.trust.verify import verify

from .conftest import Make


@pytest.fixture
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Make) -> list[str]:
    """Two poems in a library of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIAOBI_HOME", str(tmp_path / "home"))
    library = Library.open()
    return [library.keep(make(text)) for text in ("海上生明月", "清风徐来")]


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["library", *words]) == code
    found = capsys.readouterr()
    return found.out if code == 0 else found.err


def test_found_and_judged(ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "海上生明月" in run(capsys, "search", "明月")
    assert "清风" not in run(capsys, "search", "明月")
    run(capsys, "rate", ids[0][:6], "5", "--by", "li")
    run(capsys, "choose", *ids)
    run(capsys, "comment", ids[0], "well", "done")
    run(capsys, "tag", ids[0], "moon", "sea")
    run(capsys, "tag", ids[0], "^sea")
    Path("better.txt").write_text("清风徐来，水波不兴\n", encoding="utf-8")
    run(capsys, "edit", ids[1], "better.txt")
    shown = json.loads(run(capsys, "show", ids[0], "--json"))
    assert (shown["tags"], shown["ratings"][0]["by"], shown["comments"][0]["value"]) == (["moon"], "li", "well done")
    listed = json.loads(run(capsys, "list", "--rated", "5", "--json"))
    assert [content["id"] for content in listed["contents"]] == [ids[0]]
    assert json.loads(run(capsys, "preferences", "out", "--json"))["preferences"] == 2
    rows = [json.loads(line) for line in Path("out/preferences.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[1]["chosen"] == "清风徐来，水波不兴"


def test_saved_with_its_label(ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "save", ids[0], "poem.md")
    assert verify(Path("poem.md")).good
    run(capsys, "export", "away")
    assert "2 contents" in run(capsys, "import", "away", "--library", "elsewhere")
    assert "海上生明月" in run(capsys, "list", "--library", "elsewhere")
    run(capsys, "remove", *ids)
    assert "nothing found" in run(capsys, "list")
    assert "0 contents" in run(capsys, "prune", "0")


def test_pictures_are_found_by_what_is_seen_in_them(
    tmp_path: Path, make: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIAOBI_HOME", str(tmp_path / "home"))
    library = Library.open()
    ids = {name: library.keep(make(drawn(name), prompt="画")) for name in ("heart", "sun", "leaf")}
    for question, wanted in (("红心", "heart"), ("a yellow circle", "sun"), ("绿色的叶子", "leaf")):
        found = json.loads(run(capsys, "search", question, "--seen", "--json"))["contents"]
        assert found[0]["id"] == ids[wanted], question
    like = tmp_path / "like.png"
    like.write_bytes(drawn("heart", size=48).data)
    assert json.loads(run(capsys, "search", "--like", str(like), "--json"))["contents"][0]["id"] == ids["heart"]
    assert "nothing found" in run(capsys, "search", "诗", "--like", str(like))


def drawn(name: str, size: int = 96) -> Media:
    """A picture that a child would know."""
    shapes = {
        "heart": '<path d="M50 90 L10 45 A22 22 0 0 1 50 25 A22 22 0 0 1 90 45 Z" fill="#dd2e44"/>',
        "sun": '<circle cx="50" cy="50" r="42" fill="#ffcc4d"/>',
        "leaf": '<path d="M50 95 C5 60 20 10 50 5 C80 10 95 60 50 95 M48 95 h4 v-60 h-4 z" fill="#3e721d"/>',
    }
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">{shapes[name]}</svg>'
    return Media(modality=Modality.IMAGE, mime="image/png", data=encode(render_svg(svg.encode(), size)), name="image")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dance"], "unknown action 'dance'"),
        (["rate", "abcd"], "write: miaobi library rate ID 1-5"),
        (["show", "zzzz"], "has no content 'zzzz'"),
        (["rate", "ID", "五"], "a whole number from 1 to 5, not 五"),
        (["edit", "ID", "nosuch.txt"], "nosuch.txt"),
        (["import", "nosuch"], "holds no exported library"),
        (["list", "--library", "mysql://x"], "not by 'mysql'"),
        (["prune", "soon"], "an age in days"),
        (["prune", "999999"], "from 0 to 36,500"),
        (["prune", "30", "--model", "poet"], "--model says nothing to `prune`"),
        (["list", "--seen"], "only to: search"),
        (["search", "x", "--meaning", "--seen"], "does not go with --seen"),
        (["search", "--like", "nosuch.png"], "nosuch.png"),
        (["search", "x", "--seen", "--scorer", "poet"], "--scorer names poet"),
    ],
)
def test_wrong_words(ids: list[str], capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert said in run(capsys, *(ids[0] if word == "ID" else word for word in words), code=2)
