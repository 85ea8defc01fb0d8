"""Encoder and decoder: Hugging Face's numbers, steps that equal the whole, templates, scores, and where it looks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from miaobi.core.errors import ArtifactError, DataError, UsageError  # noqa: E402
from miaobi.core.types import Record, Request  # noqa: E402
from miaobi.engine.attention import Attentive, looks  # noqa: E402
from miaobi.engine.generate import collect  # noqa: E402
from miaobi.engine.metrics import Sample  # noqa: E402
from miaobi.models.seq2seq.model import Seq2Seq  # noqa: E402
from miaobi.models.seq2seq.runtime import Seq2SeqRuntime  # noqa: E402

WORDS = ("one 一", "two 二", "three 三", "four 四", "five 五", "six 六")
RECORDS = [Record(id=word, parts=(word.split()[1],), meta={"title": word.split()[0]}) for word in WORDS]
SHAPE = {"width": 32, "layers": 2, "heads": 4, "context": 16, "dropout": 0.0}


def make(records: list[Record] = RECORDS, **config: Any) -> Seq2Seq:
    return Seq2Seq.create({**SHAPE, **config}, records, seed=1)


@pytest.fixture(scope="module")
def counter() -> Seq2Seq:
    """A model that has learned to read six numbers."""
    torch.set_num_threads(1)
    model = make()
    optimizer = torch.optim.Adam(model.network.parameters(), lr=5e-3)
    batch = model.codec.collate(RECORDS)
    model.network.train()
    for _ in range(60):
        loss = model.loss(batch, "main")
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    model.network.eval()
    return model


def test_transformers_computes_the_same(counter: Seq2Seq, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    counter.save(tmp_path)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    batch = counter.codec.collate(RECORDS)
    with torch.no_grad():
        expected = theirs(input_ids=batch["source"], attention_mask=batch["real"].long(), decoder_input_ids=batch["target"][:, :-1]).logits
        found = counter.network(batch["source"], batch["real"], batch["target"][:, :-1])
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
    ids = torch.tensor([counter.codec.read("three")])
    written = theirs.generate(input_ids=ids, max_new_tokens=3, do_sample=False, num_beams=1)
    assert counter.codec.tokens.text(written[0].tolist()) == "三"


def test_it_reads_what_it_learned(counter: Seq2Seq) -> None:
    for word in WORDS:
        title, text = word.split()
        assert collect(counter, Request.of(title, temperature=0.0))[0].text == text
    assert next(content.text for content in collect(counter, Request.of("six", beams=4, n=2))) == "六"


def test_a_step_at_a_time_is_the_whole_at_once(counter: Seq2Seq) -> None:
    source, target = counter.codec.read("four"), torch.tensor([[2, 5, 6, 7]])
    with torch.no_grad():
        whole = counter.network(torch.tensor([source]), torch.ones((1, len(source)), dtype=torch.bool), target)
    past, cross = counter._look(source)
    for place in range(4):
        logits, past = counter._advance(target[:, place : place + 1].numpy(), past, cross)
        torch.testing.assert_close(logits, whole[:, place], atol=1e-5, rtol=1e-4)


def test_the_runtime_writes_the_same(counter: Seq2Seq, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    counter.save(tmp_path)
    errors = counter.export(tmp_path, formats=["fp32", "int8"])
    assert max(errors["fp32"].values()) < 1e-4
    runtime = Seq2SeqRuntime.load(tmp_path)
    for prompt in ("one", "five", "", "eighteen"):  # lengths that the export did not see
        request = Request.of(prompt, seed=3, n=3)
        assert [content.text for content in collect(runtime, request)] == [content.text for content in collect(counter, request)]


def test_scores_are_of_what_is_written(counter: Seq2Seq) -> None:
    scores = list(counter.score(RECORDS))
    ids = counter.codec.written("三")
    read = torch.tensor([counter.codec.read("three")])
    with torch.no_grad():
        logits = counter.network(read, torch.ones_like(read, dtype=torch.bool), torch.tensor([ids[:-1]]))
    nats = torch.nn.functional.cross_entropy(logits[0], torch.tensor(ids[1:]), reduction="sum").item()
    assert scores[2].bits == pytest.approx(nats / math.log(2), rel=1e-4)
    assert (scores[2].characters, scores[2].tokens, scores[2].bytes) == (1, 2, 3)
    cut = next(counter.score([Record(id="", parts=("一二三四五六" * 5,), meta={"title": "one"})]))
    assert (cut.tokens, cut.characters) == (16, 16), "what does not fit is not counted"


def test_templates_name_what_is_read_and_written() -> None:
    poem = Record(id="", parts=("春眠不觉晓，\n处处闻啼鸟。",), meta={"title": "春晓", "author": "孟浩然"})
    model = make([poem], source="{author}《{title}》", target="{first_line}")
    assert model.text_of(poem) == "春眠不觉晓，"
    request = model.request_for(poem)
    assert request is not None
    assert request.prompt == "孟浩然《春晓》"
    assert make([poem], source="{first_line}", target="{rest}").text_of(poem) == "处处闻啼鸟。"
    for wrong in ("title", "{title:d}", "{title!r}"):
        with pytest.raises(UsageError, match="in braces"):
            make(source=wrong)
    with pytest.raises(UsageError, match="template"):
        make(source="{title")
    with pytest.raises(DataError, match="nothing to write"):
        make(target="{summary}")


def test_an_expression_is_followed(counter: Seq2Seq) -> None:
    pytest.importorskip("llguidance")
    assert collect(counter, Request.of("three", regex="[四五]", temperature=0.0))[0].text in "四五"


def test_where_it_looks(counter: Seq2Seq) -> None:
    assert isinstance(counter, Attentive)
    attention = counter.attention("three", "三")
    assert attention.source == ("t", "h", "r", "e", "e", "⏎")
    assert attention.target == ("三", "⏎")
    assert len(attention.layers) == 2
    for weights in attention.layers:
        assert weights.shape == (2, 6)
        np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-5)
    contents = collect(counter, Request.of("three", n=4, temperature=0.0))
    shown = looks(counter, [Sample(content=content) for content in contents])
    assert len(shown) == 2
    assert shown[0]["source"] == [*list("three"), "⏎"]


def test_impossible_requests(counter: Seq2Seq) -> None:
    with pytest.raises(UsageError, match="Shorten"):
        collect(counter, Request.of("three" * 4))


def test_damaged_files_are_told(tmp_path: Path) -> None:
    make().save(tmp_path)
    config = (tmp_path / "config.json").read_text(encoding="utf-8")
    for old, new, message in (
        ('"gelu"', '"relu"', "gelu"),
        ('"d_model": 32', '"d_model": 64', "cannot be read"),
        ('"decoder_layers": 2', '"decoder_layers": 1', "different layers"),
    ):
        (tmp_path / "config.json").write_text(config.replace(old, new), encoding="utf-8")
        with pytest.raises(ArtifactError, match=message):
            Seq2Seq.load(tmp_path)
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="cannot be read"):
        Seq2Seq.load(tmp_path)
