"""Duplicates are dropped, alike records stay together, and neither depends on the order."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.data.conftest import HAN, dropped, sentences, write_jsonl

from miaobi.data import duplicates
from miaobi.data.dataset import SPLITS, Dataset
from miaobi.data.duplicates import Forest, banding, content_key, letters, shingles, side_of, signer
from miaobi.data.steps.dedup import Dedup

NEAR = {"dedup": {"method": "minhash", "ngram": 2, "threshold": 0.7, "group": 0.4}}


def changed(text: str, places: int, *, seed: int = 0) -> str:
    """`text` with so many characters replaced by others."""
    rng = random.Random(seed)
    for place in rng.sample(range(len(text)), places):
        text = text[:place] + rng.choice(HAN) + text[place + 1 :]
    return text


def texts_of(dataset: Dataset) -> dict[str, str]:
    """Every kept text and its side."""
    return {record.text: split for split in SPLITS for record in dataset.split(split)}


def test_exact_ignores_punctuation_case_and_width(make: Callable[..., Dataset]) -> None:
    dataset = make(["明月，几时有？", "明月几时有", "Ａｂｃ", "a b c!", "别的"], steps=[{"dedup": "exact"}])
    assert list(texts_of(dataset)) == ["明月，几时有？", "Ａｂｃ", "别的"]
    assert [(line["reason"], line["detail"], line["text"]) for line in dropped(dataset)] == [
        ("duplicate", "texts-1.jsonl#1", "明月几时有"),
        ("duplicate", "texts-1.jsonl#3", "a b c!"),
    ]


def test_without_dedup_equal_records_stay_and_stay_together(make: Callable[..., Dataset]) -> None:
    text = sentences(1)[0]
    dataset = make([text, text], split={"val": 0.5, "test": 0.0})
    assert sorted(len(dataset.split(split)) for split in SPLITS) == [0, 0, 2]


def test_near_duplicates_by_their_real_similarity(make: Callable[..., Dataset]) -> None:
    base = sentences(40, length=60)
    near = [changed(text, 2, seed=number) for number, text in enumerate(base)]
    far = [changed(text, 20, seed=number) for number, text in enumerate(base)]
    dataset = make([*base, *near, *far], steps=[NEAR])
    kept = texts_of(dataset)
    for original, close, distant in zip(base, near, far, strict=True):
        assert original in kept
        assert distant in kept
        assert (close in kept) == (jaccard(original, close) < 0.7)
    assert {line["reason"] for line in dropped(dataset)} == {"near_duplicate"}


def jaccard(a: str, b: str) -> float:
    first, second = shingles(letters(a), 2), shingles(letters(b), 2)
    return len(first & second) / len(first | second)


def test_alike_records_are_on_one_side(make: Callable[..., Dataset]) -> None:
    base = sentences(300, length=60)
    alike = [changed(text, 6, seed=number) for number, text in enumerate(base)]  # about 0.67: kept, but grouped
    sides = texts_of(make([*base, *alike], steps=[NEAR], split={"val": 0.3, "test": 0.2}))
    pairs = [(sides[a], sides[b]) for a, b in zip(base, alike, strict=True) if a in sides and b in sides and jaccard(a, b) >= 0.45]
    assert len(pairs) > 200
    assert sum(a != b for a, b in pairs) <= len(pairs) // 100  # MinHash may miss a few
    assert {side for pair in pairs for side in pair} == {"train", "val", "test"}


def test_sides_depend_on_content_and_seed_alone(make: Callable[..., Dataset]) -> None:
    texts = [*sentences(200, length=60), *(changed(text, 12, seed=1) for text in sentences(100, length=60))]
    split = {"val": 0.2, "test": 0.2, "seed": 7}
    mixed = random.Random(3).sample(texts, len(texts))
    first, second = texts_of(make(texts, split=split, steps=[NEAR])), texts_of(make(mixed, split=split, steps=[NEAR]))
    both = first.keys() & second.keys()
    assert len(both) > 200
    assert all(first[text] == second[text] for text in both)
    assert texts_of(make(texts, split={**split, "seed": 8}, steps=[NEAR])) != first


def test_shares_are_what_was_asked_for() -> None:
    keys = np.arange(100_000, dtype=np.uint64)
    sides = side_of(keys, val=0.01, test=0.05, seed=0)
    assert np.allclose(np.bincount(sides) / len(keys), [0.94, 0.01, 0.05], atol=0.002)
    assert (sides == side_of(keys, val=0.01, test=0.05, seed=0)).all()
    assert (sides != side_of(keys, val=0.01, test=0.05, seed=1)).any()


def test_shares_of_the_key_space_find_the_same(tmp_path: Path, make: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    base = sentences(150, length=50)
    texts = [*base, *base[:50], *(changed(text, 2, seed=5) for text in base[50:])]
    source = str(write_jsonl(tmp_path / "texts.jsonl", texts))
    whole = make(source=source, steps=[{"dedup": "exact"}, NEAR])
    monkeypatch.setattr(duplicates, "SHARE_ROWS", 40)
    monkeypatch.setattr("miaobi.data.worker.PART_RECORDS", 37)
    parted = make(source=source, steps=[{"dedup": "exact"}, NEAR])
    assert dropped(whole) == dropped(parted)
    assert whole.sha256 == parted.sha256


def test_banding_finds_most_pairs_above_and_few_below() -> None:
    bands, rows = banding(0.7, 128)
    assert bands * rows <= 128
    assert 1 - (1 - 0.75**rows) ** bands > 0.9
    assert 1 - (1 - 0.2**rows) ** bands < 0.1


def test_signatures_of_alike_texts_meet() -> None:
    sign = signer(Dedup(method="minhash", ngram=2, group=0.5))
    text = sentences(1, length=200)[0]
    keys = sign([text, changed(text, 3), sentences(1, seed=9, length=200)[0], "", "一"])
    assert keys.shape == (5, banding(0.5, 128)[0])
    assert (keys[0] == keys[1]).any()
    assert not (keys[0] == keys[2]).any()


def test_forest_roots_are_the_smallest() -> None:
    forest = Forest(np.zeros(10, dtype=np.int64))
    for a, b in ((7, 3), (9, 7), (5, 4), (3, 5)):
        forest.join(a, b)
    assert [forest.root(index) for index in (3, 4, 5, 7, 9)] == [3] * 5
    assert forest.members().tolist() == [4, 5, 7, 9]


def test_content_key_is_of_the_letters() -> None:
    assert content_key(letters("明月，光。")) == content_key(letters("明 月光"))
    assert content_key(letters("明月")) != content_key(letters("月明"))
