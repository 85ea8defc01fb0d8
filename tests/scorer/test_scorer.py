"""The image–text scorer learns what belongs together, says so in both runtimes, and refuses what it cannot answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from miaobi.core.artifact import new_folder, seal
from miaobi.core.errors import ArtifactError, DataError, UsageError
from miaobi.core.types import Card, Chunk, Done, Media, Modality, Piece, Record, Request, Verb
from miaobi.data.pictures import Pixels, decode, encode
from miaobi.engine.generate import collect, run
from miaobi.engine.metrics.retrieval import ImageText, top1
from miaobi.models.common.hashed_text import bags, hashed
from miaobi.models.scorer.family import FAMILY
from miaobi.models.scorer.model import Scorer
from miaobi.models.scorer.network import contrast
from miaobi.trust.safety import Refused

COLOURS = {"red": ("红色", (220, 20, 20)), "green": ("绿色", (20, 200, 20)), "blue": ("蓝色", (20, 20, 220)), "black": ("黑色", (0, 0, 0))}


def picture(colour: tuple[int, int, int], *, round_: bool = False) -> Pixels:
    """A square or a disc of a colour on a clear ground."""
    pixels = np.zeros((32, 32, 4), np.uint8)
    ys, xs = np.mgrid[:32, :32] - 15.5
    inside = (ys**2 + xs**2 < 180) if round_ else (np.maximum(abs(ys), abs(xs)) < 12)
    pixels[inside] = (*colour, 255)
    return pixels


def record(english: str, style: str, **meta: Any) -> Record:
    chinese, colour = COLOURS[english]
    data = encode(picture(colour, round_=style == "round"))
    caption = {"zh": [chinese], "en": [english, f"a {english} thing"]}
    media = Media(modality=Modality.IMAGE, mime="image/png", data=data)
    return Record(id=f"{english}-{style}", parts=(media,), meta={"caption": caption, "concept": english, "style": style} | meta)


RECORDS = [record(english, style) for english in COLOURS for style in ("square", "round")]
PICTURES = [decode(record.parts[0].data) for record in RECORDS if isinstance(record.parts[0], Media)]


def learn(records: Sequence[Record], steps: int = 60) -> Scorer:
    torch.set_num_threads(1)
    model = Scorer.create(FAMILY.tiny, records, seed=0)
    optimizer = torch.optim.Adam(model.trainable("main"), lr=3e-3)
    batch = model.codec.collate(records)
    for _ in range(steps):
        loss = model.loss(batch, "main")
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return learn(RECORDS)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_it_finds_the_picture_of_a_caption(scorer: Scorer, language: str) -> None:
    assert isinstance(scorer, ImageText)
    texts = scorer.embed_texts([record.meta["caption"][language][0] for record in RECORDS])
    pictures = scorer.embed_pictures(PICTURES)
    np.testing.assert_allclose(np.linalg.norm(pictures, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, rtol=1e-5)
    assert top1(texts, pictures, [record.meta["concept"] for record in RECORDS]).mean() == 1


def test_an_unlearned_one_does_not() -> None:
    ignorant = Scorer.create(FAMILY.tiny, RECORDS, seed=0)
    texts = ignorant.embed_texts([record.meta["caption"]["zh"][0] for record in RECORDS])
    assert top1(texts, ignorant.embed_pictures(PICTURES), [record.meta["concept"] for record in RECORDS]).mean() < 0.8


def test_the_best_captions_come_first_with_their_probability(scorer: Scorer) -> None:
    contents = collect(scorer, Request.of((RECORDS[0].parts[0], "蓝色\nred"), captions=["black", "red"], n=2))
    assert contents[0].text == "red"
    notes = [content.label.notes for content in contents]
    assert 1 >= notes[0]["probability"] > notes[1]["probability"] >= 0
    assert notes[0]["cosine"] > notes[1]["cosine"]


def test_the_graphs_say_what_the_model_says(scorer: Scorer, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from miaobi.models.scorer.runtime import ScorerRuntime

    scorer.save(tmp_path)
    errors = scorer.export(tmp_path, formats=["fp32", "int8"])
    assert errors["fp32"]["picture_error"] < 1e-3
    assert errors["int8"]["picture_error"] < 0.2
    assert (tmp_path / "onnx/picture_int8.onnx").stat().st_size < 0.3 * (tmp_path / "onnx/picture.onnx").stat().st_size
    texts = ["红色", "a red thing", "", "从未见过的字 unheard"]
    light, loaded = ScorerRuntime.load(tmp_path), Scorer.load(tmp_path)
    np.testing.assert_allclose(light.embed_texts(texts), loaded.embed_texts(texts), atol=1e-5)
    np.testing.assert_allclose(light.embed_pictures(PICTURES), loaded.embed_pictures(PICTURES), atol=1e-3)
    assert light.temperature == pytest.approx(loaded.temperature, rel=1e-5)
    assert light.embed_pictures([]).shape == light.embed_texts([]).shape == (0, 16)


def test_a_text_may_have_several_right_pictures() -> None:
    texts, pictures = torch.eye(2, 3) * 50, torch.eye(3)[[0, 0, 1]]
    right = torch.tensor([[True, True, False], [False, False, True]])
    total, hits = contrast(texts, pictures, right)
    assert hits == 2
    assert total.item() == pytest.approx(3 * np.log(2) / 4, abs=1e-4)  # the first text's probability is shared by two, to_texts is certain
    assert contrast(texts, pictures, ~right)[0] > 50


def test_views_are_the_same_in_every_run_and_only_for_training() -> None:
    config = {**FAMILY.tiny, "views": 3}
    codecs = [Scorer.create(config, RECORDS).codec for _ in range(2)]
    first, again = (codec.collate(RECORDS, rng=np.random.default_rng(5))["places"] for codec in codecs)
    assert torch.equal(first, again)
    plain = codecs[0].collate(RECORDS)["places"]
    assert torch.equal(plain, codecs[1].collate(RECORDS)["places"])
    changed = (first != plain).flatten(1).any(dim=1)
    assert 0 < changed.sum() < len(RECORDS), "some pictures are shown as they are"


def test_a_record_without_a_caption_in_one_language_counts_in_the_other() -> None:
    partial = record("red", "square", caption={"en": ["red"]})
    batch = Scorer.create(FAMILY.tiny, RECORDS).codec.collate([partial, *RECORDS[2:4]])
    assert batch["zh_owners"].tolist() == [1, 2]
    assert batch["en_owners"].tolist() == [0, 1, 2]
    assert torch.isfinite(Scorer.create(FAMILY.tiny, RECORDS).loss(batch, "main").total)


def test_what_cannot_be_answered_is_said(scorer: Scorer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no picture 'image'"):
        collect(scorer, Request.of("red"))
    with pytest.raises(UsageError, match="2 captions are wanted and 1"):
        collect(scorer, Request.of((RECORDS[0].parts[0], "red"), n=2))
    with pytest.raises(DataError, match="caption"):
        scorer.codec.collate([record("red", "square", caption={})])
    with pytest.raises(UsageError, match="should divide the grid"):
        Scorer.create({"size": 96, "grid": 4}, RECORDS)
    with pytest.raises(ArtifactError, match=r"config\.json"):
        Scorer.load(tmp_path)


def test_rows_of_a_text_never_change() -> None:
    """The tables of scorers that were trained are read by them."""
    assert hashed("a red cat", 24576) == (23547, 23547, 10908, 21128, 12411, 2309, 6962, 22010, 23985, 22656)
    assert hashed("红帽", 24576) == hashed("紅帽", 24576) == (6709, 2421, 16771)
    assert hashed("！", 24576) == (0,)
    rows, starts = bags(["红帽", "！", "红帽"], 24576)
    assert rows.tolist() == [6709, 2421, 16771, 0, 6709, 2421, 16771]
    assert starts.tolist() == [0, 3, 4]


class Copier:
    """Gives back the pictures of the request, one a content."""

    def __init__(self) -> None:
        self.card = Card(family="diffusion", name="copier", outputs=frozenset({Modality.IMAGE}), verbs=frozenset({Verb.GENERATE}))

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        for index, part in enumerate(part for part in request.turns[-1].parts if isinstance(part, Media)):
            yield Piece(part=part, index=index)
            yield Done(index=index)


def test_pictures_are_held_back_by_what_is_seen_in_them(scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with new_folder(tmp_path / "eye") as new:
        scorer.save(new)
        seal(new, family="scorer", name="eye", licence="")
    words = tmp_path / "captions.tsv"
    words.write_text("# seen\nblood\tblock\tred\nsea\tflag\t蓝色\nallow\t绿色\nallow\tblack\n", encoding="utf-8")
    of = {english: record(english, "square").parts[0] for english in COLOURS}
    asked = Request.of(("", *of.values()), n=4)
    monkeypatch.setenv("MIAOBI_PICTURE_JUDGE", str(tmp_path / "eye"))
    with pytest.raises(UsageError, match="names no captions"):
        collect(Copier(), asked)
    monkeypatch.setenv("MIAOBI_PICTURE_LIST", str(words))
    chunks = list(run(Copier(), asked))
    assert [chunk.index for chunk in chunks if isinstance(chunk, Piece)] == [1, 2, 3]  # nothing of the red one leaves
    assert next((chunk.reason, chunk.notes) for chunk in chunks if isinstance(chunk, Done)) == ("rejected", {"category": "blood"})
    verdicts = [content.label.safety.partition(" ")[0] for content in collect(Copier(), asked)]
    assert verdicts == ["passed", "flagged:sea", "passed"]
    with pytest.raises(Refused, match="of the category 'blood'"):
        collect(Copier(), Request.of(("", of["red"])))
    words.write_text("blood\tblock\tred, all over\n", encoding="utf-8")
    with pytest.raises(UsageError, match="harmless"):
        collect(Copier(), asked)
