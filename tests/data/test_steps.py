"""Steps keep, change or drop, with the reason that they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from miaobi.core.errors import UsageError
from miaobi.core.types import Record
from miaobi.data.records import Dropped
from miaobi.data.steps import chain, choose, kinds


def apply(spec: Any, text: str, **meta: Any) -> Record | Dropped:
    return chain(choose([spec]))(Record(id="1", parts=(text,), meta=meta))[0]


def text_after(spec: Any, text: str) -> str:
    result = apply(spec, text)
    assert isinstance(result, Record), result
    return result.text


def reason(spec: Any, text: str) -> str:
    result = apply(spec, text)
    return result.reason if isinstance(result, Dropped) else ""


def test_every_step_has_a_schema_that_documents_its_options() -> None:
    assert {"normalise", "clean", "simplify", "poem", "pii", "dedup", "length", "script", "symbols", "repetition", "words"} <= set(kinds())
    assert all(kind.options.__doc__ for kind in kinds().values())
    assert all(kind.shorthand in ("", *kind.options.model_fields) for kind in kinds().values())


def test_unknown_step_and_option_name_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown data step 'simplfy'\. Did you mean 'simplify'"):
        choose(["simplfy"])
    with pytest.raises(UsageError, match=r"unknown key 'treshold'\. Did you mean 'threshold'"):
        choose([{"dedup": {"method": "minhash", "treshold": 0.7}}])
    with pytest.raises(UsageError, match=r"data\.steps\.1\.length"):
        choose(["clean", {"length": {"least": "many"}}])


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"dedup": "exact"}, "clean"], "step clean comes after dedup"),
        ([{"clean": True}], "takes options by name: links, tags, replacement"),
        ([{"clean": {}, "pii": {}}], "should hold one step"),
        ([{"dedup": {"method": "minhash", "threshold": 0.3, "group": 0.9}}], "`group` is at most `threshold`"),
    ],
)
def test_contradictions(steps: list[Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose(steps)


def test_contradictory_lengths_are_found_before_reading() -> None:
    with pytest.raises(UsageError, match="keeps nothing: most is 3, least 5"):
        chain(choose([{"length": {"least": 5, "most": 3}}]))


def test_normalise() -> None:
    assert text_after("normalise", "a\u0301  b \r\n\r\n\r\n\r\n c\t") == "á b\n\nc"
    assert text_after({"normalise": "NFKC"}, "Ａ１，") == "A1,"
    assert text_after({"normalise": {"form": "none", "spaces": False}}, " Ａ ") == " Ａ "


def test_clean() -> None:
    assert text_after("clean", "\ufeff明\u200b月\x07光\u00ad") == "明月光"
    assert reason("clean", "明\ufffd月") == "replacement_character"
    assert text_after({"clean": {"replacement": "keep"}}, "明\ufffd月") == "明\ufffd月"
    assert text_after({"clean": {"links": True, "tags": True}}, '<b class="x">见</b>https://a.cn/b?c=1，1 < 2') == "见  ，1 < 2"


def test_simplify_text_and_fields() -> None:
    result = apply({"simplify": {"fields": ["title"]}}, "頭髮與發展", title="乾坤", author="蘇軾")
    assert isinstance(result, Record)
    assert (result.text, result.meta["title"], result.meta["author"]) == ("头发与发展", "乾坤", "蘇軾")
    assert text_after({"simplify": "s2t"}, "头发") == "頭髮"


def test_length() -> None:
    assert reason({"length": 3}, "明月") == "too_short"
    assert reason({"length": {"most": 3}}, "明月几时") == "too_long"
    assert reason({"length": {"least": 4, "most": 4, "unit": "words"}}, "the moon 明月") == ""
    assert reason({"length": {"least": 3, "unit": "lines"}}, "一\n二") == "too_short"


def test_script_and_symbols() -> None:
    assert reason("script", "明月 and stars") == "script"
    assert reason("script", "明月几时有 hi") == ""
    assert reason({"script": {"script": "latin", "least": 0.9}}, "The moon.") == ""
    assert reason("script", "12345") == "script"
    assert reason("symbols", "价格$$$###@@@") == "symbols"
    assert reason("symbols", "“明月”，几时有？——问天（一）。") == ""


def test_repetition() -> None:
    assert reason("repetition", "同一行\n同一行\n另一行") == "repeated_lines"
    assert reason("repetition", "买它买它" * 20) == "repeated_ngrams"
    assert reason("repetition", "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。") == ""


def test_words(tmp_path: Path) -> None:
    (tmp_path / "list.tsv").write_text("ads\tblock\t加微信\nspam\tflag\t优惠\nallow\t不加微信\n", encoding="utf-8")
    by_file = {"words": {"files": [str(tmp_path / "list.tsv")]}}
    assert reason(by_file, "请加 微.信 领取") == "listed_word"
    assert reason(by_file, "我们不加微信") == ""
    assert reason(by_file, "今日优惠") == ""
    assert reason({"words": {"files": [str(tmp_path / "list.tsv")], "severity": "flag"}}, "今日优惠") == "listed_word"
    assert reason({"words": ["廣告"]}, "这是广告") == "listed_word"
    with pytest.raises(UsageError, match="no word list at"):
        chain(choose([{"words": {"files": [str(tmp_path / "none.tsv")]}}]))
    with pytest.raises(UsageError, match="has no words"):
        chain(choose(["words"]))


def test_dropping_names_the_step() -> None:
    run = chain(choose(["clean", {"length": 5}]))
    assert run(Record(id="1", parts=("短",))) == (Dropped("too_short", "1 characters"), "length")


def test_marks_become_tags() -> None:
    [step] = [chain(choose([{"marks": "tags"}]))]
    record, _ = step(Record(id="", parts=("“春眠不觉晓，\n处处闻啼鸟。”",), meta={"title": "春晓"}))
    assert isinstance(record, Record)
    assert record.text == "春眠不觉晓处处闻啼鸟"
    assert record.meta["tags"] == ["O"] * 4 + ["，"] + ["O"] * 4 + ["。"]
    assert record.meta["title"] == "春晓"
    kept, _ = chain(choose([{"marks": {"spaces": True}}]))(Record(id="", parts=("Yes, it is.",)))
    assert isinstance(kept, Record)
    assert kept.text == "Yes it is"
    assert len(kept.meta["marks"]) == len(kept.text)
    dropped, name = step(Record(id="", parts=("……",)))
    assert (isinstance(dropped, Dropped), name) == (True, "marks")
