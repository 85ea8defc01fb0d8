"""The captioner learns to name pictures in two languages, is measured fairly, and says the same in both runtimes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from miaobi.core.errors import ArtifactError, DataError, UsageError
from miaobi.core.types import Media, Modality, Record, Request
from miaobi.data.pictures import encode
from miaobi.engine.ask import in_each_language
from miaobi.engine.generate import collect
from miaobi.engine.metrics import Evidence, Sample, Unmeasurable, find_metric
from miaobi.models.caption.family import FAMILY
from miaobi.models.caption.metrics import consensus
from miaobi.models.caption.model import Captioner
from miaobi.models.caption.runtime import CaptionRuntime
from miaobi.models.caption.vocabulary import END, Vocabulary

COLOURS = {"red": ("红", (220, 20, 20)), "green": ("绿", (20, 200, 20)), "blue": ("蓝", (20, 20, 220))}
SHAPES = {"disc": "圆", "square": "方块"}


def draw(colour: tuple[int, int, int], shape: str) -> Media:
    pixels = np.zeros((32, 32, 4), np.uint8)
    ys, xs = abs(np.mgrid[:32, :32] - 15.5)
    pixels[np.hypot(ys, xs) < 14 if shape == "disc" else np.maximum(ys, xs) < 10] = (*colour, 255)
    return Media(modality=Modality.IMAGE, mime="image/png", data=encode(pixels))


RECORDS = [
    Record(
        id=f"{colour}-{shape}",
        parts=(draw(rgb, shape),),
        meta={"caption": {"zh": [f"{chinese}色{SHAPES[shape]}"], "en": [f"{colour} {shape}", "a shape"]}},
    )
    for colour, (chinese, rgb) in COLOURS.items()
    for shape in SHAPES
]


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    """A tiny one that has learned six pictures by heart."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Captioner.create(FAMILY.tiny, RECORDS, seed=0)
    optimizer = torch.optim.Adam(model.trainable("main"), lr=5e-3)
    batch = model.codec.collate(RECORDS)
    for _ in range(120):
        loss = model.loss(batch, "main")
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    return model


def caption(model: Any, record: Record, **options: Any) -> str:
    (content,) = collect(model, Request.of(record.parts, **options))
    return content.text


def test_it_names_what_it_has_seen_in_both_languages(captioner: Captioner) -> None:
    for record in RECORDS:
        assert caption(captioner, record) == record.meta["caption"]["zh"][0]
        assert caption(captioner, record, language="en") == record.meta["caption"]["en"][0]


def test_the_graphs_name_the_same(captioner: Captioner, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    captioner.save(tmp_path)
    errors = captioner.export(tmp_path, formats=["fp32", "int8"])
    assert errors["fp32"]["logit_error"] < 1e-3
    assert errors["int8"]["same_likeliest"] == 1
    light, loaded = CaptionRuntime.load(tmp_path), Captioner.load(tmp_path)
    for record in RECORDS:
        for options in ({"language": "en"}, {"temperature": 0.7}, {"beams": 3}):
            assert caption(light, record, **options) == caption(loaded, record, **options)
    several = Request.of(RECORDS[0].parts, n=3, temperature=1.5, seed=5)
    assert [content.text for content in collect(light, several)] == [content.text for content in collect(loaded, several)]


def test_a_prompt_is_how_the_caption_begins(captioner: Captioner) -> None:
    asked = Request.of(("green", *RECORDS[0].parts), language="en", n=2)
    assert all(content.text.startswith("green") for content in collect(captioner, asked))
    assert caption(captioner, RECORDS[2], language="en", max_tokens=2).startswith("green"[:2])


def test_the_right_picture_makes_a_caption_likelier(captioner: Captioner) -> None:
    own = {score.id: score.bits for score in captioner.score(RECORDS)}
    assert list(own) == [record.id for record in RECORDS]
    swapped = [replace(record, parts=other.parts) for record, other in zip(RECORDS, RECORDS[2:] + RECORDS[:2])]
    assert all(score.bits > 5 * own[score.id] for score in captioner.score(swapped))
    (score,) = captioner.score(RECORDS[:1])
    assert score.characters == len("红色圆red disc")
    assert score.bytes == len("红色圆red disc".encode())
    single = [replace(RECORDS[0], meta={"caption": {language: RECORDS[0].meta["caption"][language]}}) for language in ("zh", "en")]
    assert sum(part.bits for part in captioner.score(single)) == pytest.approx(score.bits, rel=1e-3), "the languages are scored apart"


def test_a_prefix_is_read_once_and_steps_agree_with_one_pass(captioner: Captioner) -> None:
    from miaobi.models.common.transformer import TorchStepper

    decoder = captioner.network.decoder.eval()
    prefix = torch.randn(2, 3, decoder.config.width, generator=torch.Generator().manual_seed(0))
    tokens = [[1, 4, 5, 6], [2, 7, 8, 9]]
    with torch.inference_mode():
        whole = decoder(torch.tensor(tokens), prefix=prefix)  # (B, P + T, V)
    stepper = TorchStepper(decoder, reserve=1, prefix=prefix)
    found = [stepper.start([row[:2] for row in tokens]), *(stepper.step([row[place] for row in tokens]) for place in (2, 3))]
    torch.testing.assert_close(torch.stack(found, dim=1), whole[:, 4:], atol=1e-5, rtol=1e-4)


def test_joined_tokens_are_the_text_and_rare_words_are_spelled() -> None:
    vocabulary = Vocabulary.fit(["red cat", "red dog", "红猫 2"], min_count=2)
    assert "red" in vocabulary.tokens
    assert " cat" not in vocabulary.tokens
    for text in ("red cat", "红猫 2", "dog", "cat red 猫"):
        assert vocabulary.decode([vocabulary.begin("zh"), *vocabulary.encode(text), END]) == text
    assert vocabulary.decode(vocabulary.encode("red 龙")) == "red ", "a character that was never seen is left out"


def measured(pairs: list[tuple[str, str, list[str]]]) -> dict[str, Any]:
    """The figures of captions (language, text, references)."""
    model = Captioner.create(FAMILY.tiny, RECORDS)
    (made,) = collect(model, Request.of(RECORDS[0].parts))
    samples = []
    for language, text, references in pairs:
        label = replace(made.label, options={"language": language})
        record = Record(id=text, parts=RECORDS[0].parts, meta={"caption": {language: references}})
        samples.append(Sample(content=replace(made, parts=(text,), label=label), reference=record))
    figures: dict[str, Any] = {}
    for name in FAMILY.metrics:
        figures |= find_metric(name, FAMILY).figures(Evidence(samples={"": samples}))
    return figures


def test_figures_are_those_of_the_words() -> None:
    pairs = [("zh", "红色圆", ["红色圆"]), ("zh", "红色块", ["蓝色块", "大人"]), ("en", "Red disc", ["a disc", "red disc"])]
    figures = measured([*pairs, ("en", "cat", ["dog"])])
    assert figures["exact"].value == 0.5
    assert figures["exact_zh"].value == figures["exact_en"].value == 0.5
    assert figures["overlap_zh"].value == pytest.approx((1 + 2 / 3) / 2)
    assert figures["overlap_en"].value == 0.5
    assert 0 < figures["cider"].value < 10
    with pytest.raises(Unmeasurable):
        measured([("zh", "红", [])])


def test_cider_is_ten_for_the_same_and_counts_rare_words_more() -> None:
    references = [["red cat"], ["red dog"], ["red bird with wings"], ["blue bird"]]
    assert consensus([own[0] for own in references], references) == pytest.approx([10] * 4)
    scores = consensus(["cat", "red", "sun", ""], [["red cat"], ["red dog"], ["red bird"], ["blue bird"]])
    assert scores[0] > scores[1] > scores[2] == scores[3] == 0
    assert all(math.isfinite(score) for score in scores)


def test_held_out_pictures_are_asked_for_in_each_language(captioner: Captioner) -> None:
    requests = [captioner.request_for(version) for version in in_each_language(RECORDS[0])]
    assert [request.options["language"] for request in requests if request] == ["zh", "en"]
    assert captioner.request_for(replace(RECORDS[0], meta={})) is None


def test_what_cannot_be_done_is_said(captioner: Captioner, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no picture 'image'"):
        collect(captioner, Request.of("红"))
    with pytest.raises(DataError):
        collect(captioner, Request.of(Media(modality=Modality.IMAGE, mime="image/png", data=b"no picture")))
    with pytest.raises(UsageError, match="language"):
        caption(captioner, RECORDS[0], language="fr")
    with pytest.raises(DataError, match="caption"):
        captioner.codec.collate([replace(RECORDS[0], meta={})])
    captioner.save(tmp_path)
    (tmp_path / "vocabulary.json").write_text("[]")
    with pytest.raises(ArtifactError, match=r"vocabulary\.json"):
        Captioner.load(tmp_path)
