"""What leaves a library comes into another whole, in either kind of database; what is wrong changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from miaobi.core.errors import DataError, UsageError
from miaobi.core.types import Media
from miaobi.library.exchange import as_dict, export, export_preferences, import_
from miaobi.library.preferences import preferences
from miaobi.library.store import Kept, Library, Query

from .conftest import Make, picture


@pytest.fixture
def filled(library: Library, make: Make, red: Media) -> Library:
    """Two poems for one prompt, judged in every way; a picture, and one made from it."""
    one, two = library.keep(make("明月"), tags=["moon"]), library.keep(make("清风"))
    library.rate(one, 5, by="li")
    library.rate(two, 2, by="li")
    library.choose(one, two, by="ann")
    library.edit(two, "清风徐来")
    library.comment(one, "good")
    library.keep(make(red, model="painter"))
    library.keep(make(picture((0, 0, 255)), model="painter"), parents=[library.find(limit=1)[0].id])
    return library


def test_out_and_in_again(filled: Library, tmp_path: Path) -> None:
    moved = export(filled, tmp_path / "out")
    assert (moved.contents, moved.files) == (4, 2)
    other = Library.open(tmp_path / "other")
    assert (import_(other, tmp_path / "out").contents, other.count()) == (4, 4)
    assert list(other.each()) == list(filled.each())
    assert other.part(other.find(limit=1)[0].media[0]) == filled.part(filled.find(limit=1)[0].media[0])
    assert [kept.text for kept in other.find(Query(text="清风"))] == ["清风"]
    assert [kept.text for kept in other.find(Query(text="徐来"))] == ["清风"]  # by what a person made of it
    again = import_(other, tmp_path / "out")
    assert (again.contents, again.known) == (0, 4)
    export(other, tmp_path / "back")
    assert (tmp_path / "back" / "library.jsonl").read_bytes() == (tmp_path / "out" / "library.jsonl").read_bytes()
    with pytest.raises(UsageError, match="is there already"):
        export(other, tmp_path / "back")


def test_preferences(filled: Library, tmp_path: Path) -> None:
    found = [(each.because, each.chosen, each.rejected) for each in preferences(filled)]
    assert found == [("choice", "明月", "清风"), ("edit", "清风徐来", "清风")]  # the ratings say what the choice said
    assert [each.because for each in preferences(filled, kinds=["rating"])] == ["rating"]
    with pytest.raises(UsageError, match=r"unknown kind of preference 'edits'\. Did you mean 'edit'"):
        list(preferences(filled, kinds=["edits"]))
    one, two = filled.find(Query(modality="image"))
    filled.choose(two.id, one.id)
    filled.choose(one.id, two.id)  # somebody thought again
    assert export_preferences(filled, tmp_path / "out", kinds=("choice",)) == 2
    rows = [json.loads(line) for line in (tmp_path / "out" / "preferences.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {"prompt", "chosen", "rejected"} <= rows[0].keys()
    assert (tmp_path / "out" / rows[1]["chosen"]).read_bytes() == filled.part(one.media[0]).data


def test_nothing_preferred(library: Library, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing was preferred yet"):
        export_preferences(library, tmp_path / "out", kinds=("choice",))
    assert not (tmp_path / "out").exists()


def _with(key: str, value: object) -> Callable[[dict[str, object]], str]:
    return lambda row: json.dumps(row | {key: value})


@pytest.mark.parametrize(
    "damage",
    [
        lambda row: json.dumps(row)[:-9],
        lambda row: "[]",
        _with("format", "miaobi.library/9"),
        _with("id", "0" * 16),
        _with("label", {"schema": "miaobi.label/1"}),
        _with("modality", "smell"),
        _with("ratings", [{"value": 9, "by": "", "at": ""}]),
        _with("ratings", [{"value": 5}]),
        _with("tags", [1]),
        _with("tags", ["\ud800"]),
        _with("edits", [{"value": 7, "by": "", "at": ""}]),
        _with("comments", [{"value": ["x"], "by": "", "at": ""}]),
        _with("parts", [{"sha256": "../../etc/passwd"}]),
        _with("parents", [{}]),
    ],
)
def test_a_damaged_line_changes_nothing(tmp_path: Path, make: Make, damage: Callable[[dict[str, object]], str]) -> None:
    library = Library.open(tmp_path / "from")
    library.keep(make("one"))
    library.keep(make("two"))
    export(library, tmp_path / "out")
    path = tmp_path / "out" / "library.jsonl"
    first, second = path.read_text(encoding="utf-8").splitlines()
    path.write_text(f"{first}\n{damage(json.loads(second))}\n", encoding="utf-8")
    other = Library.open(tmp_path / "other")
    with pytest.raises(DataError, match="line 2: this is no content of a library"):
        import_(other, tmp_path / "out")
    assert other.count() == 0


def test_a_damaged_file_changes_nothing(tmp_path: Path, make: Make, red: Media) -> None:
    library = Library.open(tmp_path / "from")
    library.keep(make(red))
    export(library, tmp_path / "out")
    next((tmp_path / "out" / "files").iterdir()).write_bytes(b"another")
    other = Library.open(tmp_path / "other")
    with pytest.raises(DataError, match="missing or damaged; nothing was taken in"):
        import_(other, tmp_path / "out")
    assert other.count() == 0
    with pytest.raises(UsageError, match="holds no exported library"):
        import_(other, tmp_path)


def test_a_content_as_plain_values(filled: Library) -> None:
    kept: Kept = filled.find(Query(text="明月"))[0]
    values = as_dict(kept)
    assert json.loads(json.dumps(values)) == values
    assert (values["parts"], values["ratings"][0]["value"], values["tags"]) == (["明月"], 5, ["moon"])
