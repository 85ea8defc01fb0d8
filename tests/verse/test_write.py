"""The verse codec and the writing of poems, with a tiny model of random weights: every rule must hold without any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from miaobi.core.artifact import seal
from miaobi.core.errors import ArtifactError, UsageError
from miaobi.core.types import Content, Done, Piece, Record, Request
from miaobi.engine.generate import collect, run
from miaobi.models.verse.check import check
from miaobi.models.verse.codec import SPECIAL, Header, VerseCodec, form_of, header_of
from miaobi.models.verse.model import Verse
from miaobi.models.verse.runtime import VerseRuntime
from miaobi.models.verse.write import request_for, training_clauses

QUATRAIN = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。"
CHARACTERS = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 200))


def poem(text: str = QUATRAIN, **meta: str) -> Record:
    return Record(id="1", parts=(text,), meta={"kind": "shi", "era": "唐", "author": "王之涣", "title": "登鹳雀楼", **meta})


@pytest.fixture(scope="module")
def model() -> Verse:
    """Random weights over a vocabulary with enough rhymes, taken from the tables."""
    from miaobi.models.verse import prosody

    common = "春风花草香江水月明中秋山云雨天长空流年飞鸿城东西楼头舟归去来人间不见君家何处声情心深林音亭青生行名平成京城清晴惊"
    common += "日落白发落叶石壁玉笛客路夜色寂寞独立别离酒醒梦断雪后霜叶月上柳下竹影古寺百尺绿水绝壁欲语"
    assert prosody.book("pingshui").sound("东") is not None
    records = [poem(), poem(common)]
    return Verse.create({"width": 32, "layers": 2, "heads": 2, "context": 176, "min_count": 1}, records, seed=1)


@pytest.fixture(scope="module")
def folder(model: Verse, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model saved and exported."""
    path = tmp_path_factory.mktemp("verse")
    model.save(path)
    errors = model.export(path, formats=["fp32", "int8"])
    assert errors["fp32"]["logit_error"] < 1e-4
    assert errors["int8"]["logit_error"] < 0.1
    seal(path, family="verse", name="tiny")
    return path


def texts(contents: list[Content]) -> list[str]:
    return [content.text for content in contents]


# ---------------------------------------------------------------- codec


@pytest.mark.parametrize(
    ("text", "kind", "form"),
    [
        (QUATRAIN, "shi", "五绝"),
        ("月落乌啼霜满天，江枫渔火对愁眠。\n姑苏城外寒山寺，夜半钟声到客船。", "shi", "七绝"),
        ("十年一觉扬州梦，赢得青楼薄幸名。", "shi", "古体"),
        ("前不见古人，后不见来者。\n念天地之悠悠，独怆然而涕下。", "shi", "古体"),
        ("枯藤老树昏鸦，小桥流水人家。", "qu", "曲"),
    ],
)
def test_the_form_is_read_off_the_shape(text: str, kind: str, form: str) -> None:
    assert form_of(text, kind) == form


def test_a_poem_survives_the_codec(model: Verse) -> None:
    codec = model.codec
    ids, prompt = codec.encode(poem())
    assert codec.vocabulary[ids[1]] == "<五绝>"
    assert "".join(codec.vocabulary[number] for number in ids[:prompt]) == "<诗><五绝><唐><作者>王之涣<题>登鹳雀楼<文>".replace(
        "王之涣", "<缺>" * 3
    )
    assert codec.text(ids[prompt:]) == QUATRAIN
    assert ids[-1] == codec.end


def test_training_hides_parts_of_the_header_at_random_but_never_the_form(model: Verse) -> None:
    codec = model.codec
    seen = {"<唐>": 0, "<作者>": 0, "<题>": 0, "<意>": 0}
    for seed in range(400):
        ids, prompt = codec.encode(poem(), rng=np.random.default_rng(seed))
        header = [codec.vocabulary[number] for number in ids[:prompt]]
        assert header[:2] == ["<诗>", "<五绝>"]
        for part in seen:
            seen[part] += part in header
    shares = {part: count / 400 for part, count in seen.items()}
    assert shares == pytest.approx({"<唐>": 0.9, "<作者>": 0.5, "<题>": 0.85, "<意>": 0.3}, abs=0.07)


def test_only_the_body_is_learned(model: Verse) -> None:
    batch = model.codec.collate([poem(), poem("白日依山尽，黄河入海流。")])
    tokens, weights = batch["tokens"].numpy(), batch["weights"].numpy()
    for row, text in enumerate([QUATRAIN, "白日依山尽，黄河入海流。"]):
        learned = tokens[row, 1:][weights[row]]
        assert model.codec.text(learned) == text
        assert learned[-1] == model.codec.end


def test_other_software_reads_the_vocabulary(folder: Path, model: Verse) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer("<诗><五绝>白日依山")["input_ids"] == [*model.codec.header(Header(form="五绝"))[:2], *model.codec.ids("白日依山")]
    loaded = VerseCodec.load(folder, context=176)
    assert loaded.vocabulary == model.codec.vocabulary


def test_a_foreign_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}}')
    with pytest.raises(ArtifactError, match="not one of the family verse"):
        VerseCodec.load(tmp_path, context=64)
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
        VerseCodec.load(tmp_path, context=64)


def test_scores_count_han_characters_only(model: Verse) -> None:
    [score] = model.score([poem()])
    assert score.characters == score.tokens == 20
    assert score.bytes == 60
    assert 20 * 5 < score.bits < 20 * 12  # random weights: about log2 of the vocabulary
    [(ids, counted)] = model.baseline_sequences([poem()])
    assert len(ids) == len(counted)
    assert model.codec.text([number for number, flag in zip(ids, counted) if flag]) == "白日依山尽黄河入海流欲穷千里目更上一层楼"


def test_the_request_that_a_poem_answers() -> None:
    request = request_for(poem())
    assert request is not None
    assert (request.prompt, dict(request.options)) == ("登鹳雀楼", {"form": "五绝", "era": "唐"})
    assert request_for(poem("前不见古人，后不见来者。")) is None
    assert header_of(poem(title="很" * 40)).title == "很" * 16


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("form", ["五绝", "七绝", "五律", "七律", "忆江南", "浣溪沙"])
def test_even_random_weights_keep_form_rhyme_and_tones(model: Verse, form: str) -> None:
    for content in collect(model, Request.of("秋月", seed=4, form=form, n=2, candidates=2)):
        report = check(content.text, form)
        assert report.form_ok, content.text
        assert report.rhyme_ok, content.text
        assert report.tone_share_loose == 1, content.text


def test_the_graph_writes_what_torch_writes(folder: Path) -> None:
    request = Request.of("中秋月夜", seed=7, form="五绝", n=3, candidates=1)
    from miaobi.models.common.decoder_runtime import OnnxStepper

    light = VerseRuntime(OnnxStepper(folder, precision="fp32"), VerseCodec.load(folder, context=176), folder)
    assert texts(collect(light, request)) == texts(collect(Verse.load(folder), request))
    small = VerseRuntime.load(folder)
    assert texts(collect(small, request)) == texts(collect(small, request))


def test_what_is_fixed_stays_fixed(model: Verse) -> None:
    [content] = collect(model, Request.of("", seed=1, form="五绝", acrostic="春月江花"))
    lines = [line for couplet in content.text.splitlines() for line in couplet.rstrip("。").split("，")]
    assert [line[0] for line in lines] == list("春月江花")
    [content] = collect(model, Request.of("", seed=1, form="五绝", first_line="白日依山尽"))
    assert content.text.startswith("白日依山尽，")


def test_traditional_characters_are_understood(model: Verse) -> None:
    one, two = (texts(collect(model, Request.of(title, seed=3, form="五绝"))) for title in ("雲飛", "云飞"))
    assert one == two
    [content] = collect(model, Request.of("", seed=1, form="五绝", first_line="白日依山盡", acrostic="白黃欲更"))
    assert content.text.startswith("白日依山尽，黄")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"form": "七绝句"}, "Did you mean '七绝'"),
        ({"acrostic": "春夏秋冬春夏秋冬", "form": "五绝"}, "4"),
        ({"first_line": "白日", "form": "五绝"}, "5"),
        ({"acrostic": "春", "form": "古体"}, "no fixed lines"),
        ({"acrostic": "春", "free": True}, "contradict"),
        ({"forn": "五绝"}, "Did you mean 'form'"),
        ({"candidates": 1000}, "16"),
    ],
)
def test_impossible_wishes_are_told(model: Verse, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        collect(model, Request.of("月", seed=1, **options))


def test_beams_give_different_poems_the_likeliest_first(model: Verse) -> None:
    many, one = (texts(collect(model, Request.of("月", form="五绝", beams=4, n=n))) for n in (3, 1))
    assert len(set(many)) == 3
    assert many[:1] == one


def test_a_line_of_the_training_poems_is_written_anew(model: Verse) -> None:
    request = Request.of("", seed=5, form="五绝", candidates=2, n=2)
    first = collect(model, request)
    copied = [Record(id=str(number), parts=(content.text,)) for number, content in enumerate(first)]
    known = training_clauses(copied, rate=1e-6)
    strict = Verse(model.network, model.codec, known=known)
    second = collect(strict, request)
    assert not set(texts(first)) & set(texts(second))
    for content in second:
        assert content.label.notes["candidates_refused"] >= 1
        assert content.label.notes["training_clauses"] == 0
    allowed = collect(strict, Request.of("", seed=5, form="五绝", candidates=2, n=2, original=False))
    assert texts(allowed) == texts(first)


def test_one_candidate_streams_its_characters(model: Verse) -> None:
    chunks = list(run(model, Request.of("", seed=2, form="五绝", candidates=1, n=2)))
    pieces = [chunk for chunk in chunks if isinstance(chunk, Piece)]
    contents = {chunk.label.index: chunk.text for chunk in chunks if isinstance(chunk, Content)}
    assert len(pieces) > 20
    for index in (0, 1):
        assert "".join(str(piece.part) for piece in pieces if piece.index == index) == contents[index]
    assert sum(isinstance(chunk, Done) for chunk in chunks) == 2


@pytest.mark.parametrize("options", [{}, {"candidates": 1, "original": False}, {"beams": 2, "candidates": 1}])
def test_a_stop_string_ends_a_poem_before_it(model: Verse, options: dict[str, Any]) -> None:
    asked = Request.of("", seed=5, form="五绝", logprobs=0, stop=["，"], **options)
    chunks = list(run(model, asked))
    [text] = [chunk.text for chunk in chunks if isinstance(chunk, Content)]
    assert len(text) == 5
    assert "，" not in text
    told = [entry for chunk in chunks if isinstance(chunk, Piece) for entry in chunk.logprobs]
    assert len(told) in (0, 5)  # a beam search tells none
    assert "".join(entry.token for entry in told) in ("", text)


def test_special_tokens_come_first(model: Verse) -> None:
    assert tuple(model.codec.vocabulary[: len(SPECIAL)]) == SPECIAL
