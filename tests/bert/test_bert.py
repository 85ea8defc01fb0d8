"""Masked language models: Hugging Face's numbers, gaps in every order, a bound that bounds, classes and tags."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from miaobi.core.errors import ArtifactError, DataError, UsageError  # noqa: E402
from miaobi.core.recipe import Evaluate  # noqa: E402
from miaobi.core.types import Progress, Record, Request  # noqa: E402
from miaobi.engine.evaluate import evaluate  # noqa: E402
from miaobi.engine.generate import collect  # noqa: E402
from miaobi.models.bert import likelihood  # noqa: E402
from miaobi.models.bert.codec import UNCOUNTED, MaskCodec  # noqa: E402
from miaobi.models.bert.model import Bert  # noqa: E402
from miaobi.models.bert.runtime import BertRuntime  # noqa: E402
from miaobi.models.bert.schema import Config, Options  # noqa: E402

TEXTS = ("床前明月光，疑是地上霜。", "举头望明月，低头思故乡。", "春眠不觉晓，处处闻啼鸟。", "夜来风雨声，花落知多少。")
RECORDS = [Record(id=f"{number}", parts=(text,), meta={"label": "月" if "月" in text else "春"}) for number, text in enumerate(TEXTS)]
SHAPE = {"width": 16, "layers": 2, "heads": 2, "context": 24, "dropout": 0.0}


def make(records: list[Record] = RECORDS, **config: Any) -> Bert:
    return Bert.create({**SHAPE, **config}, records, seed=1)


def learn(model: Bert, records: list[Record] = RECORDS, *, steps: int, rate: float = 5e-3) -> Bert:
    """Adam over all records at once, with new gaps at every step."""
    torch.set_num_threads(1)
    optimizer, rng = torch.optim.Adam(model.network.parameters(), lr=rate), np.random.default_rng(0)
    model.network.train()
    for _ in range(steps):
        loss = model.loss(model.codec.collate(records, rng=rng), "main")
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    model.network.eval()
    return model


@pytest.fixture(scope="module")
def filler() -> Bert:
    """A model that knows its four couplets by heart."""
    return learn(make(width=32), steps=250)


def test_transformers_computes_the_same(tmp_path: Path, filler: Bert) -> None:
    transformers = pytest.importorskip("transformers")
    filler.save(tmp_path)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    tokens = torch.tensor([filler.codec.row(filler.codec.ids("床前□月光")), [*filler.codec.row(filler.codec.ids("□□")), 0, 0, 0]])
    real = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    with torch.no_grad():
        expected = theirs(input_ids=tokens, attention_mask=real.long()).logits
        found = filler.network(tokens, real)
    torch.testing.assert_close(found[real], expected[real], atol=2e-5, rtol=1e-4)
    theirs.save_pretrained(tmp_path / "again")
    (tmp_path / "again" / "tokenizer.json").write_bytes((tmp_path / "tokenizer.json").read_bytes())
    with torch.no_grad():
        torch.testing.assert_close(Bert.load(tmp_path / "again").network(tokens, real)[real], found[real])


@pytest.mark.parametrize("order", ["confident", "random", "left"])
def test_gaps_are_filled_in_every_order(filler: Bert, order: str) -> None:
    text = collect(filler, Request.of("床前□□光，疑是[MASK]上霜。", temperature=0.0, order=order))[0].text
    assert text == TEXTS[0]


def test_two_gaps_that_depend_on_each_other(filler: Bert) -> None:
    """Filled one after the other they agree, whichever couplet they begin."""
    texts = {content.text for content in collect(filler, Request.of("□□□□□，□□□□□。", n=8, seed=2, temperature=0.3))}
    assert len(texts) > 1
    assert texts & set(TEXTS)


def test_a_prompt_without_gaps_is_continued(filler: Bert) -> None:
    request = Request.of("春眠不", temperature=0.0)
    assert "春眠不" + collect(filler, request)[0].text == TEXTS[2]
    assert len(collect(filler, Request.of("春", length=4, seed=1))[0].text) == 4
    assert len(collect(filler, Request.of("春", length=9, max_tokens=3, seed=1))[0].text) == 3


def test_rounds_are_told_and_revised(filler: Bert) -> None:
    options = Options(steps=3, revise=2, temperature=0.0).model_dump()
    chunks = list(filler.generate(Request.of("床前□□□，疑是□□□。", **options)))
    assert [(chunk.step, chunk.total) for chunk in chunks if isinstance(chunk, Progress)] == [(step, 5) for step in range(1, 6)]
    assert chunks[-2].part == TEXTS[0]  # type: ignore[union-attr]


def test_beams_and_other_things_that_go_from_the_left(filler: Bert) -> None:
    with pytest.raises(UsageError, match="order=left"):
        collect(filler, Request.of("春□", beams=2))
    with pytest.raises(UsageError, match="steps and revise"):
        collect(filler, Request.of("春□", order="left", steps=2))
    text = collect(filler, Request.of("举头望□月，低头□□乡。", order="left", beams=3))[0].text
    assert text == TEXTS[1]


def test_an_expression_is_followed(filler: Bert) -> None:
    pytest.importorskip("llguidance")
    for expression, prompt in (("[月光前]{2,4}", "床"), ("床前明.光，疑是地上霜。", "床前□□光，疑是地□霜。")):
        for content in collect(filler, Request.of(prompt, order="left", regex=expression, n=3, seed=1)):
            assert re.fullmatch(expression, content.text)
    for follows in ({"regex": "月"}, {"json_schema": {}}):
        with pytest.raises(UsageError, match="order=left"):
            collect(filler, Request.of("床", **follows))


def test_the_runtime_fills_as_the_model_does(filler: Bert, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    filler.save(tmp_path)
    errors = filler.export(tmp_path, formats=["fp32", "int8"])
    assert errors["fp32"]["bert_error"] < 1e-4
    runtime = BertRuntime.load(tmp_path)
    for prompt in ("床前□□光，疑□地上霜。", "春眠", ""):
        request = Request.of(prompt, seed=5, n=2)
        assert [content.text for content in collect(runtime, request)] == [content.text for content in collect(filler, request)]


def test_the_bound_is_above_the_likelihood_of_the_mixture_and_sums_to_one() -> None:
    """Over all texts of three tokens of a tiny vocabulary: -log2 of the bound's mean over orders never sums to more than 1."""
    model = make([Record(id="", parts=("甲乙甲乙甲乙",))], context=8)
    codec, mask = model.codec, model.codec.mask
    letters = codec.ids("甲乙")
    rest = [token for token in range(codec.tokens.vocab_size) if token not in letters]
    model.network.head.bias.data[rest] = -1e9  # only the two letters are ever expected

    def chain(ids: tuple[int, ...], order: tuple[int, ...]) -> float:
        row, bits = [mask] * 3, 0.0
        for place in order:
            tokens = np.array([codec.row(row)])
            wanted = np.zeros(tokens.shape, dtype=bool)
            wanted[0, place + 1] = True
            logits = model._predict(tokens, np.ones_like(wanted), wanted)[0].astype(np.float64)
            bits += (np.logaddexp.reduce(logits) - logits[ids[place]]) / math.log(2)
            row[place] = ids[place]
        return bits

    orders = list(itertools.permutations(range(3)))
    total = 0.0
    for ids in itertools.product(letters, repeat=3):
        exact = [chain(ids, order) for order in orders]
        mixture = -math.log2(sum(2.0**-bits for bits in exact) / len(orders))
        rng = np.random.default_rng(0)
        found = np.mean([likelihood._bound(model._predict, codec, ids, rng) for _ in range(20)])
        assert found == pytest.approx(np.mean(exact), rel=0.02)  # the estimate is of the mean over orders
        assert found >= mixture - 0.02
        total += 2.0**-mixture
    assert total == pytest.approx(1.0, abs=1e-6)


def test_pseudo_likelihood_is_far_below_the_bound(filler: Bert) -> None:
    for bound, pseudo in zip(filler.score(RECORDS), filler.pseudo_score(RECORDS)):
        assert (bound.id, bound.characters, bound.tokens) == (pseudo.id, pseudo.characters, pseudo.tokens)
        assert 0 < pseudo.bits < bound.bits


def test_a_long_document_is_whole_in_its_windows() -> None:
    codec = make(context=8).codec
    for length in (0, 5, 6, 7, 12):
        windows = codec.windows(list(range(length)))
        assert [token for window in windows for token in window] == list(range(length))
        assert all(len(window) == 6 for window in windows[:-1])
        assert len(windows[-1]) < 6, "a shorter one tells that it is the last"


def test_masking_as_bert_has_it() -> None:
    long = Record(id="", parts=(TEXTS[0] * 200,))
    codec = make(masking="fixed", context=4096).codec
    batch = codec.collate([long], rng=np.random.default_rng(0))
    told = batch["targets"][0] != UNCOUNTED
    seen, true = batch["tokens"][0][told], batch["targets"][0][told]
    assert told.float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert (seen == codec.mask).float().mean().item() == pytest.approx(0.8, abs=0.05)
    assert (seen == true).float().mean().item() == pytest.approx(0.1, abs=0.05)
    assert not told[0]
    again = codec.collate([long])
    assert torch.equal(again["tokens"], codec.collate([long])["tokens"]), "evaluation draws nothing"


def test_classes_are_learned_named_and_measured(filler: Bert, tmp_path: Path) -> None:
    filler.save(tmp_path)
    model = Bert.begin_from(tmp_path, {"task": "classify"}, RECORDS, seed=2)
    assert torch.equal(model.network.blocks[0].up.weight, filler.network.blocks[0].up.weight)
    learn(model, steps=40)
    found = evaluate(model, RECORDS, Evaluate(samples=4, records=4, metrics=["classification"]))
    figures = {name: figure["value"] for name, figure in found["figures"].items()}
    assert figures["classification_accuracy"] == figures["classification_f1_macro"] == figures["classification_recall_月"] == 1.0
    contents = collect(model, Request.of(TEXTS[0], n=2))
    assert [content.text for content in contents] == ["月", "春"]
    shares = [content.label.notes["probability"] for content in contents]
    assert sum(shares) == pytest.approx(1.0, abs=1e-3)
    assert collect(model, Request.of(TEXTS[0] * 3))[0].label.notes["unread"] == 3 * 12 - model.codec.room
    with pytest.raises(UsageError, match="2 classes"):
        collect(model, Request.of("月", n=3))
    with pytest.raises(UsageError, match="no likelihoods"):
        list(model.score(RECORDS))
    with pytest.raises(UsageError, match="width"):
        Bert.begin_from(tmp_path, {"task": "classify", "width": 64}, RECORDS)
    with pytest.raises(DataError, match="no training record"):
        model.codec.collate([Record(id="x", parts=("月",), meta={"label": "秋"})])


def test_tags_are_learned_and_written_by_token(tmp_path: Path) -> None:
    texts = [text.replace("，", "").replace("。", "") for text in TEXTS]
    tags = [["，" if place == 4 else "。" if place == 9 else "O" for place in range(10)] for _ in texts]
    records = [Record(id=text, parts=(text,), meta={"marks": given}) for text, given in zip(texts, tags)]
    model = learn(make(records, task="tag", field="marks", width=32), records, steps=60)
    answer = collect(model, Request.of(texts[0]))[0].text.splitlines()
    assert answer[4] == "光\t，"
    assert answer[9] == "霜\t。"
    assert sum(line.endswith("\tO") for line in answer) == 8
    found = evaluate(model, records, Evaluate(samples=4, records=4, metrics=["classification"]))["figures"]
    assert found["classification_f1_，"]["value"] == 1.0
    model.save(tmp_path)
    assert collect(Bert.load(tmp_path), Request.of(texts[1]))[0].text == collect(model, Request.of(texts[1]))[0].text
    long = Record(id="long", parts=(texts[0] * 5,), meta={"marks": tags[0] * 5})
    assert len(collect(model, Request.of(long.text))[0].text.splitlines()) == 50, "also what lies beyond the context"
    assert int((model.codec.collate([long])["targets"] != UNCOUNTED).sum()) == 50
    with pytest.raises(DataError, match="10 tags"):
        make([Record(id="x", parts=(texts[0],), meta={"marks": ["O"]})], task="tag", field="marks")


def test_impossible_requests(filler: Bert) -> None:
    with pytest.raises(UsageError, match="Shorten"):
        collect(filler, Request.of("月" * 30))
    with pytest.raises(UsageError, match="5 gaps"):
        collect(filler, Request.of("□" * 5, max_tokens=4))


def test_damaged_files_are_told(tmp_path: Path) -> None:
    make().save(tmp_path)
    config = (tmp_path / "config.json").read_text(encoding="utf-8")
    for old, new, message in (('"gelu"', '"relu"', "gelu"), ('"hidden_size": 16', '"hidden_size": 32', "cannot be read")):
        (tmp_path / "config.json").write_text(config.replace(old, new), encoding="utf-8")
        with pytest.raises(ArtifactError, match=message):
            Bert.load(tmp_path)
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ArtifactError):
        Bert.load(tmp_path)


def test_a_codec_travels_to_data_workers() -> None:
    import pickle

    codec = MaskCodec(make().codec.tokens.source, Config.model_validate(SHAPE))
    assert torch.equal(pickle.loads(pickle.dumps(codec)).collate(RECORDS)["tokens"], codec.collate(RECORDS)["tokens"])
