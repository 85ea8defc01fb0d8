"""What is held out by a field: whole concepts and pairs, by content and seed alone, and nothing that looks like them stays in training."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.test_picture_data import STYLES, drawing

from miaobi.core.errors import DataError, UsageError
from miaobi.core.recipe import Split
from miaobi.core.schema import validate
from miaobi.core.types import Record
from miaobi.data.dataset import Dataset
from miaobi.data.holdout import GROUP, PAIR, hold_out
from miaobi.data.pictures import encode

SPLIT = {"val": 0.1, "by": "concept", "across": "style", "hold": 6, "pairs": 10, "seed": 3}


def corpus(root: Path, *, concepts: int = 40, order: int = 0) -> Path:
    """Pictures of every concept in every style; concept 1 looks in one style as concept 0 does, and 2 in two styles the same."""
    rows = []
    for concept in range(concepts):
        for number, style in enumerate(STYLES):
            seed = {(1, 0): 0, (2, 1): 8}.get((concept, number), concept * len(STYLES) + number)
            rows.append((f"{concept}-{style}", drawing(seed), concept, style))
    random.Random(order).shuffle(rows)
    root.mkdir(parents=True)
    import json

    with (root / "metadata.jsonl").open("w", encoding="utf-8") as file:
        for name, pixels, concept, style in rows:
            (root / f"{name}.png").write_bytes(encode(pixels))
            file.write(json.dumps({"file_name": f"{name}.png", "id": name, "concept": f"c{concept}", "style": style}) + "\n")
    return root


def sides(dataset: Dataset) -> dict[str, Record]:
    return {record.id: record for name in ("train", "val", "test") for record in dataset.split(name)}  # type: ignore[arg-type]


def test_concepts_and_pairs(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    records = sides(make(source=str(corpus(tmp_path / "pictures")), split=SPLIT))
    assert len(records) == 160
    where: dict[str, Counter[str]] = {}
    for record in records.values():
        where.setdefault(record.meta["concept"], Counter())[record.meta["split"] + record.meta.get("held", "")] += 1
    assert sum(counts == {"testgroup": 4} for counts in where.values()) == 6
    assert sum(counts == {"train": 3, "testpair": 1} for counts in where.values()) == 10
    assert all(len(set(counts) - {"testpair"}) == 1 for counts in where.values())  # a concept is on one side
    assert where["c0"].keys() - {"testpair"} == where["c1"].keys() - {"testpair"}  # they look alike
    held = {record.id for record in records.values() if record.meta.get("held") == "pair"}
    assert not held & {"0-red", "1-red", "2-red", "2-green"}
    assert sum(counts["val"] for counts in where.values()) > 0


def test_decided_by_contents_and_seed_alone(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    def held(dataset: Dataset) -> dict[str, Any]:
        return {key: (record.meta["split"], record.meta.get("held")) for key, record in sides(dataset).items()}

    first = held(make(source=str(corpus(tmp_path / "a")), split=SPLIT))
    assert held(make(source=str(corpus(tmp_path / "b", order=7)), split=SPLIT)) == first
    assert held(make(source=str(tmp_path / "a"), split={**SPLIT, "seed": 4})) != first


def test_texts_may_be_held_out_too(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    from tests.data.conftest import sentences

    path = tmp_path / "texts.jsonl"
    path.write_text(
        "".join(f'{{"text": "{text}", "author": "{number % 10}"}}\n' for number, text in enumerate(sentences(60))), encoding="utf-8"
    )
    dataset = make(source=str(path), split={"val": 0, "by": "author", "hold": 3})
    assert len({record.meta["author"] for record in dataset.split("test")}) == 3
    assert len(dataset.split("test")) == 18
    assert not {record.meta["author"] for record in dataset.split("test")} & {record.meta["author"] for record in dataset.split("train")}


@pytest.mark.parametrize(
    ("change", "words"), [({"hold": 60}, "60 values of 'concept', but only 40"), ({"pairs": 50}, "50 pairs of 'concept' and 'style'")]
)
def test_more_than_there_is(tmp_path: Path, make: Callable[..., Dataset], change: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        make(source=str(corpus(tmp_path / "pictures")), split={**SPLIT, "val": 0, **change})


def test_keys_that_need_others() -> None:
    for values, words in (({"hold": 3}, "need `by`"), ({"by": "concept", "pairs": 3}, "needs `across`")):
        with pytest.raises(UsageError, match=words):
            validate(Split, values, "data.split")


def test_the_arithmetic() -> None:
    """Ten values of three pairs; values 1 and 2 look alike and are one side; a record without the field is never chosen itself."""
    groups = np.repeat(np.arange(1, 11, dtype=np.uint64), 3)
    pairs = np.arange(100, 130, dtype=np.uint64)
    side = groups.copy()
    side[groups == 2] = 1
    groups, pairs, side = (np.append(values, [0]).astype(np.uint64) for values in (groups, pairs, side))
    everything = np.ones(31, bool)
    for seed in range(20):
        split = Split(by="a", across="b", hold=3, pairs=4, seed=seed)
        held = hold_out(split, groups=groups, pairs=pairs, side=side, alone=everything, free=everything)
        whole = set(groups[held == GROUP].tolist())
        assert len(whole) == 3
        assert (1 in whole) == (2 in whole)
        assert (held == PAIR).sum() == 4
        assert not set(groups[held == PAIR].tolist()) & whole
        assert held[30] == 0
    none = hold_out(Split(by="a"), groups=groups, pairs=pairs, side=side, alone=everything, free=everything)
    assert not none.any()
