"""Rows of the collection, as they really stand there, become verse or are dropped for what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from miaobi.core.types import Record
from miaobi.data.records import Dropped
from miaobi.data.steps import chain, choose
from miaobi.data.steps.qu_tunes import qu_tune


def poem(text: str, **meta: Any) -> Record | Dropped:
    return chain(choose(["poem"]))(Record(id="1", parts=(text,), meta=meta))[0]


def verse(text: str, **meta: Any) -> str:
    result = poem(text, **meta)
    assert isinstance(result, Record), result
    return result.text


def test_shi_keeps_its_meta_in_a_fixed_order() -> None:
    result = poem(
        "秦川雄帝宅，函谷壯皇居。\n綺殿千尋起，離宮百雉餘。", title="帝京篇十首 一", author="太宗皇帝", era="唐", kind="shi", tags="x"
    )
    assert isinstance(result, Record)
    assert result.text == "秦川雄帝宅，函谷壯皇居。\n綺殿千尋起，離宮百雉餘。"
    assert list(result.meta.items()) == [("title", "帝京篇十首 一"), ("author", "太宗皇帝"), ("era", "唐"), ("kind", "shi")]


def test_ci_is_a_sentence_a_line_and_is_entitled_by_its_tune() -> None:
    result = poem("绿云高髻，点翠匀红时世。月如眉。\n浅笑含双靥，低声唱小词。", author="牛峤", era="五代", kind="ci", tune="女冠子")
    assert isinstance(result, Record)
    assert result.text == "绿云高髻，点翠匀红时世。\n月如眉。\n浅笑含双靥，低声唱小词。"
    assert (result.meta["title"], result.meta["tune"]) == ("女冠子", "女冠子")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("是處春山，遠去更宜長（辛本作「良」）。\n明月照高樓。", "是處春山，遠去更宜長。\n明月照高樓。"),  # an editor's note
        ("停杯試北望，還欲淚沾[襟]。", "停杯試北望，還欲淚沾襟。"),  # a reading from another edition
        ("〔圜鍾爲宮〕上直房心，時惟明堂，克禋克祀。", "上直房心，時惟明堂，克禋克祀。"),  # the mode
        ("江南好，千锺美酒，一曲《满庭芳》。", "江南好，千锺美酒，一曲满庭芳。"),
        ("风里落花谁是主？思悠悠！", "风里落花谁是主。\n思悠悠。"),
        ("使的人无淹润、百般支分！。", "使的人无淹润、百般支分。"),
        ("昨夜夜半，枕上分明梦见：语多时", "昨夜夜半，枕上分明梦见，语多时。"),
        ("夜长人奈何，\n秋风多，雨相和。", "夜长人奈何，秋风多，雨相和。"),
        ("顏色青青今在否？縱使長條似舊垂，\n也應攀折他人手。", "顏色青青今在否。\n縱使長條似舊垂，也應攀折他人手。"),
    ],
)
def test_what_can_be_mended(text: str, expected: str) -> None:
    assert verse(text, kind="shi") == expected


@pytest.mark.parametrize(
    ("text", "meta", "reason"),
    [
        ("江上重雲起，何曾裛□塵。", {}, "gap"),
        ("（上缺）玉带悬鱼，黄金铸印，侯封万户。", {}, "gap"),
        ("……且置请缨封万户，径须卖剑酬黄犊。", {}, "gap"),
        ("沙岸上初泊，到？茶商期，社鼓相迎晚，泊村春草盛。", {}, "gap"),
        ("头没一句说著朝廷，尽把师\u3000归美。", {}, "gap"),
        ("苦哉●眼士，認得止啼錢。", {}, "gap"),
        ("身外更何物，{汸番}在長空裏。", {}, "described_character"),
        ("雨丝丝开到荼コ，一春常是盼佳期。", {}, "foreign_character"),
        ("典中国诗人中国诗坛首页Connection", {}, "foreign_character"),
        ("羞人答答的，看甚么？(下)。一二三四", {"kind": "qu"}, "stage_direction"),
        ("詩題：流寓雜詩五首首句：甲第紛紛", {"title": "存目 其一"}, "listed_only"),
        ("苑牆當北斗，宮樹近朝陽。", {"title": "句  其一"}, "fragment"),
        ("白日依山盡。", {}, "too_short"),
        ("春眠不觉晓，" * 50, {}, "too_long"),
        ("。", {}, "empty"),
        ("記得蘭亭祓禊辰，（《蘭亭考》十二（陸心源", {}, "unbalanced_brackets"),
    ],
)
def test_what_cannot(text: str, meta: dict[str, str], reason: str) -> None:
    result = poem(text, **{"kind": "shi", **meta})
    assert isinstance(result, Dropped), result
    assert result.reason == reason


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("双调・沉醉东风隐居", ("隐居", "沉醉东风")),
        ("诈妮子调风月・仙吕/点绛唇", ("诈妮子调风月", "点绛唇")),
        ("四块玉・自送别，心难舍", ("四块玉", "四块玉")),
        ("中吕・古水仙子春", ("春", "古水仙子")),
        ("幺・铜壶玉漏催凄切", ("", "")),
        ("前腔", ("前腔", "")),
        ("天净沙", ("天净沙", "天净沙")),
    ],
)
def test_qu_titles(title: str, expected: tuple[str, str]) -> None:
    assert qu_tune(title) == expected
