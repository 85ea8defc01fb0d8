"""A data set is random access, refuses damage, and goes to data workers."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.data.conftest import sentences

from miaobi.core.errors import DataError, UsageError
from miaobi.data import assemble
from miaobi.data.dataset import MANIFEST, Dataset

TEXTS = sentences(50)


def test_access_by_number_slice_and_iteration(make: Callable[..., Dataset]) -> None:
    split = make(TEXTS, split={"val": 0, "test": 0}).split("train")
    assert len(split) == 50
    assert [record.text for record in split] == TEXTS
    assert [split[number].text for number in (0, 17, -1)] == [TEXTS[0], TEXTS[17], TEXTS[-1]]
    assert [record.text for record in split[10:20:3]] == TEXTS[10:20:3]
    with pytest.raises(IndexError):
        split[50]


def test_many_shards_are_one_split(make: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "SHARD_BYTES", 1000)
    dataset = make(TEXTS)
    assert len(list(dataset.folder.glob("train-*.jsonl"))) > 5
    assert [record.text for record in dataset.split("train")] == TEXTS == [dataset.split("train")[number].text for number in range(50)]


def test_meta_has_source_licence_and_side(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "明月", "title": "题"}\n', encoding="utf-8")
    source = {"path": str(tmp_path / "a.jsonl"), "licence": "CC0-1.0", "meta": {"era": "唐"}}
    dataset = make(source=source)
    meta = {"source": source["path"], "licence": "CC0-1.0", "split": "train", "title": "题", "era": "唐"}
    assert dict(dataset.split("train")[0].meta) == meta
    assert dataset.licences == ("CC0-1.0",)


def test_split_goes_to_workers(make: Callable[..., Dataset]) -> None:
    split = make(TEXTS).split("train")
    assert split[3].text == TEXTS[3]  # the files are mapped now, and a map cannot be sent
    again = pickle.loads(pickle.dumps(split))
    assert [record.text for record in again] == TEXTS


def test_sha256_names_the_records(make: Callable[..., Dataset]) -> None:
    first = make(TEXTS)
    assert first.sha256 == Dataset.open(first.folder).sha256
    assert first.sha256 != make(TEXTS[:-1]).sha256


def test_unknown_split(make: Callable[..., Dataset]) -> None:
    with pytest.raises(UsageError, match=r"unknown split 'valid'\. Did you mean 'val'"):
        make(TEXTS).split("valid")  # type: ignore[arg-type]


def test_unfinished_damaged_and_newer_are_refused(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    with pytest.raises(DataError, match="no finished data set"):
        Dataset.open(tmp_path)
    folder = make(TEXTS).folder
    shard = folder / "train-00000.jsonl"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    with pytest.raises(DataError, match=r"train-00000\.jsonl is missing or damaged"):
        Dataset.open(folder)
    shard.write_bytes(whole.replace(TEXTS[3][0].encode(), "改".encode(), 1))
    Dataset.open(folder)  # sizes are right, so only verifying sees the changed byte
    with pytest.raises(DataError, match=r"train-00000\.jsonl is missing or damaged"):
        Dataset.open(folder, verify=True)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps({**manifest, "format": 99}), encoding="utf-8")
    with pytest.raises(DataError, match="has format 99; this miaobi reads up to 2"):
        Dataset.open(folder)
    (folder / MANIFEST).write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"dataset\.json is damaged"):
        Dataset.open(folder)


def test_ids_are_one_of_a_kind_over_all_sources(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    """Two packages that name their files alike: who remembers the one must not be given the other."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "icons.jsonl").write_text(f'{{"text": "a cat of {name}"}}\n{{"text": "a dog of {name}"}}\n', encoding="utf-8")
    dataset = make(source=[{"path": str(tmp_path / "one")}, {"path": str(tmp_path / "two")}], split={"val": 0, "test": 0})
    ids = [record.id for record in dataset.split("train")]
    assert len(ids) == len(set(ids)) == 4
    assert ids == [record.id for record in Dataset.open(dataset.folder).split("train")]
