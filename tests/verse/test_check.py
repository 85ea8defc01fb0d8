from __future__ import annotations

import json
from pathlib import Path

import pytest

from miaobi.core.errors import UsageError
from miaobi.core.language import set_language
from miaobi.models.verse.check import check, guess_form, split_lines

POEMS = json.loads(Path(__file__).with_name("poems.json").read_text(encoding="utf-8"))
SHI = {title: (poem["form"], poem["text"]) for title, poem in POEMS["shi"].items()}
CI = POEMS["ci"]
JINGYESI, CHUNXIAO = POEMS["old"]["静夜思"], POEMS["old"]["春晓"]


@pytest.mark.parametrize("title", list(SHI))
def test_famous_shi_are_regular(title: str) -> None:
    form, text = SHI[title]
    report = check(text, form)
    assert report.regular, report.violations
    assert report.tone_share > 0.9
    assert guess_form(text) == form


@pytest.mark.parametrize("tune", list(CI))
def test_famous_ci_are_regular(tune: str) -> None:
    report = check(CI[tune], tune)
    assert report.regular, report.violations
    assert guess_form(CI[tune]) == tune


def test_which_pattern_and_rhyme() -> None:
    report = check(SHI["登高"][1], "七律")
    assert (report.pattern, report.rhymes) == ("仄起首句入韵", ("上平十灰",))
    report = check(SHI["春望"][1], "五律")
    assert (report.pattern, report.rhymes) == ("仄起首句不入韵", ("下平十二侵",))
    assert check(CI["虞美人"], "虞美人").rhymes == ("第8部", "第1部", "第5部", "第12部")


def test_an_old_quatrain_rhymes_but_is_not_regular() -> None:
    report = check(JINGYESI, "五绝")
    assert report.form_ok
    assert report.rhyme_ok
    assert report.rhymes == ("下平七阳",)
    assert not report.regular
    assert report.tone_share_loose < 0.9


def test_a_quatrain_may_rhyme_in_oblique_tones() -> None:
    report = check(CHUNXIAO, "五绝")
    assert report.rhyme_ok
    assert report.rhymes == ("上声十七筱",)
    assert not report.regular


def test_the_first_line_may_borrow_its_rhyme() -> None:
    report = check(SHI["清明"][1], "七绝")  # 纷 is 文, 魂 and 村 are 元
    assert report.rhymes == ("上平十三元",)
    assert report.regular


def test_faults_are_named_in_both_languages() -> None:
    text = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层天。"
    report = check(text, "五绝")
    assert not report.rhyme_ok
    assert report.violations == ("line 4: 天 does not rhyme (下平十一尤)",)
    set_language("zh")
    try:
        assert check(text, "五绝").violations == ("第4句“天”不押韵（下平十一尤）",)
    finally:
        set_language(None)


def test_a_wrong_tone_is_named() -> None:
    report = check("白日依山尽，黄河入海流。\n欲穷千里目，更上高层楼。", "五绝")
    assert report.form_ok
    assert report.rhyme_ok
    assert report.tone_share_loose < 1.0
    assert "line 4, character 3: 高 should be 仄" in report.violations


def test_a_wrong_shape_has_no_shares() -> None:
    report = check("白日依山尽，黄河入海。", "五绝")
    assert not report.form_ok
    assert not report.rhyme_ok
    assert report.tone_share == report.tone_share_loose == 0.0
    assert "5+5+5+5" in report.violations[0]
    assert not check("", "五绝").form_ok
    assert guess_form("白日依山尽，黄河入海。") is None
    assert guess_form("") is None


def test_repeats() -> None:
    text = "白日依山尽，黄河入海流。\n白日依山尽，更上一层楼。"
    report = check(text, "五绝")
    assert report.repeated_lines == ("白日依山尽",)
    assert set(report.repeated_characters) == set("白日依山尽")
    assert check(CI["如梦令"], "如梦令").repeated_lines == ()  # 争渡，争渡 is the tune's
    assert check(SHI["登高"][1], "七律").repeated_characters == ()  # 萧萧 and 滚滚 are reduplications


def test_a_sentence_of_ci_may_be_parted_otherwise() -> None:
    text = (
        CI["水调歌头"]
        .replace("不应有恨，何事长向别时圆", "不应有恨何事，长向别时圆")
        .replace("不知天上宫阙，今夕是何年", "不知天上宫阙今夕是何年")
    )
    report = check(text, "水调歌头")
    assert report.form_ok
    assert report.rhyme_ok


def test_rhyme_by_the_new_book() -> None:
    text = "红日东升万里明，清风徐送百花红。\n山前流水潺潺响，一曲欢歌唱太平。"
    assert check(text, "七绝", rhyme="xinyun").rhyme_ok  # 明 红 平 are 庚 in the new book
    assert not check(text, "七绝").rhyme_ok
    assert check(text, "七绝", rhyme="none").rhyme_ok


def test_lines_that_several_forms_share_are_told_apart() -> None:
    shengchazi = "去年元夜时，花市灯如昼。\n月上柳梢头，人约黄昏后。\n今年元夜时，月与灯依旧。\n不见去年人，泪湿春衫袖。"
    assert guess_form(shengchazi) == "生查子"
    assert guess_form(SHI["春望"][1]) == "五律"


def test_an_unknown_form_is_an_error() -> None:
    with pytest.raises(UsageError, match="七绝"):
        check(JINGYESI, "七决")


def test_split_lines() -> None:
    assert split_lines("春花秋月何时了？往事知多少。\n") == ["春花秋月何时了", "往事知多少"]
    assert split_lines("“何处？”") == ["何处"]
