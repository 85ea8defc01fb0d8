"""What a training step reads of the records."""

from __future__ import annotations

import collections
import pickle

import numpy as np
import pytest

from miaobi.core.errors import UsageError
from miaobi.core.schema import validate
from miaobi.core.types import Record
from miaobi.models.common.augmentation import Augmentation
from miaobi.models.common.text_units import Vocabulary
from miaobi.models.diffusion.codec import DiffusionCodec
from miaobi.models.diffusion.phrases import TEMPLATES, choose, texts_of
from miaobi.models.diffusion.schema import Config

torch = pytest.importorskip("torch")


def make(records: list[Record], **more: object) -> DiffusionCodec:
    vocabulary = Vocabulary.fit(texts_of(records), size=200, min_count=1)
    return DiffusionCodec(8, 4, vocabulary=vocabulary, styles=("full", "pale"), classes=("bar", "square"), **more)  # type: ignore[arg-type]


def test_both_languages_names_and_sentences_come_up(records: list[Record]) -> None:
    rng = np.random.default_rng(0)
    pairs = [choose(records[0], rng=rng) for _ in range(400)]
    assert choose(records[0], rng=None) == ("红色方块", "red square")
    assert choose(records[0], rng=None, number=1) == ("red square", "红色方块")
    counts = collections.Counter(one for one, _ in pairs)
    assert 60 < counts["红色方块"] < 140
    assert 60 < counts["red square"] < 140
    assert {template.format("red square") for template in TEMPLATES["en"]} <= counts.keys()
    assert "一个红色方块" in counts
    assert all(("red" in one) != ("red" in other) for one, other in pairs), "the other caption is in the other language"
    assert choose(Record(id="x", parts=(), meta={}), rng=rng) == ("", "")


def test_conditions_are_hidden_as_often_as_asked(records: list[Record]) -> None:
    codec = make(records, dropout=0.2)
    batch = codec.collate(records * 250, rng=np.random.default_rng(0))
    hidden = {"text": ~batch["told"], "style": batch["style"] == 0, "class": batch["class"] == 0}
    together = hidden["text"] & hidden["style"] & hidden["class"]
    assert float(together.float().mean()) == pytest.approx(0.2, abs=0.03)
    for gone in hidden.values():
        assert float(gone.float().mean()) == pytest.approx(0.2 + 0.8 * 0.1, abs=0.03)
    whole = codec.collate(records)
    assert whole["told"].all()
    assert (whole["style"] > 0).all()


def test_without_rng_nothing_is_drawn(records: list[Record]) -> None:
    codec = make(records, augmentation=Augmentation(crop=1))
    first, second = codec.collate(records), pickle.loads(pickle.dumps(codec)).collate(records)
    assert first.keys() == second.keys() >= {"pixels", "rows", "other", "concepts", "style", "class", "seeds"}
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["pixels"].shape == (8, 4, 8, 8)
    assert len(set(first["concepts"].tolist())) == 4


def test_pictures_are_moved_by_whole_pixels(records: list[Record]) -> None:
    still, moving = make(records), make(records, augmentation=Augmentation(crop=1))
    whole = still.collate(records[:1])["pixels"][0]
    seen = set()
    for seed in range(60):
        moved = moving.collate(records[:1], rng=np.random.default_rng(seed))["pixels"][0]
        shifts = {(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if torch.equal(whole.roll((dy, dx), (1, 2)), moved)}
        assert shifts, "the margins are empty, so a move is a roll"
        seen |= shifts
    assert seen == {(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)}


def test_latents_are_remembered(records: list[Record]) -> None:
    codec = make(records, views=4)
    batch = codec.collate(records)
    codec.remember(batch["keys"], torch.arange(8.0).view(8, 1, 1, 1).expand(8, 2, 2, 2))
    again = codec.collate(records[3:5])
    assert "pixels" not in again
    assert again["latents"][:, 0, 0, 0].tolist() == [3.0, 4.0]
    assert "pixels" in pickle.loads(pickle.dumps(codec)).collate(records[:1])


def test_latents_of_changed_views_are_remembered_and_the_same_in_every_run(records: list[Record]) -> None:
    changes = Augmentation(flip=True, crop=1, scale=0.1, colour=0.3)
    codec, seen = make(records, views=2, augmentation=changes), {}
    for seed in range(30):
        batch = codec.collate(records, rng=np.random.default_rng(seed))
        for key, pixels in zip(batch["keys"], batch["pixels"]):
            assert torch.equal(seen.setdefault(key, pixels), pixels), "a view of a picture is one picture"
    assert len(seen) == 3 * len(records), "two views, and the plain one"
    plain = make(records).collate(records)["pixels"]
    numbers = codec.collate(records)["keys"]
    assert all(torch.equal(seen[key], pixels) for key, pixels in zip(numbers, plain)), "evaluation sees the plain one"
    assert not torch.equal(seen[numbers[0]], seen[(numbers[0][0], 1)])
    resumed = pickle.loads(pickle.dumps(codec)).collate(records, rng=np.random.default_rng(29))
    assert torch.equal(resumed["pixels"], batch["pixels"])
    codec.remember(list(seen), torch.arange(24.0).view(24, 1, 1, 1))
    again = codec.collate(records, rng=np.random.default_rng(29))
    assert [list(seen)[int(number)] for number in again["latents"].flatten()] == batch["keys"]


def test_views_are_for_latents_that_change(records: list[Record]) -> None:
    assert {view for _, view in make(records, views=3).collate(records, rng=np.random.default_rng(0))["keys"]} == {0}
    assert validate(Config, {"shift": 2}, "config.json").crop == 2, "what the key was called"


def test_wrong_names_list_the_known(records: list[Record]) -> None:
    codec = make(records)
    assert (codec.style(""), codec.style("pale"), codec.label("bar")) == (0, 2, 1)
    with pytest.raises(UsageError, match=r"unknown style 'ful'\. Did you mean 'full'\? Known: full, pale"):
        codec.style("ful")
    with pytest.raises(UsageError, match="knows no styles"):
        DiffusionCodec(8, 4).style("flat")
