"""What is said of what is written: figures, signs, abbreviations, polyphones, both languages at once, and where every word stands."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from miaobi.data.speech_text import chinese, english, numerals
from miaobi.data.speech_text.reading import Sentence, read, sentences

PLACES = {"十": 10, "百": 100, "千": 1000}


def value(words: str) -> int:
    """The number that Chinese words mean: the inverse of `cardinal`, written without looking at it."""
    if "亿" in words:
        high, low = words.rsplit("亿", 1)
        return value(high) * 10**8 + (value(low) if low else 0)
    if "万" in words:
        high, low = words.split("万", 1)
        return value(high) * 10**4 + (value(low) if low else 0)
    total, digit = 0, 0
    for letter in words.replace("两", "二"):
        if letter in PLACES:
            total += (digit or 1) * PLACES[letter]
            digit = 0
        else:
            digit = numerals.DIGITS.index(letter)
    return total + digit


@settings(deadline=None)
@given(st.integers(0, 10**12 - 1))
def test_a_number_in_words_means_the_number(number: int) -> None:
    assert value(numerals.cardinal(number)) == number
    assert "零零" not in numerals.cardinal(number)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("2024年3月5日8:30", "二零二四年三月五日八点三十分"),
        ("第2个、第22条和第1-2页", "第二个、第二十二条和第一到二页"),
        ("2两白酒，2倍，2支笔，下午2点30分", "二两白酒，两倍，两支笔，下午两点三十分"),
        ("2-3次，5~10℃，-5~3℃，10-15km", "两到三次，五到十摄氏度，零下五到三摄氏度，十到十五千米"),
        ("80后和00后", "八零后和零零后"),
        ("比分21:19，以21:15获胜，21:15开始", "比分二十一比十九，以二十一比十五获胜，二十一点十五分开始"),
        ("303路公交，101房间，邮编100084", "三零三路公交，幺零幺房间，邮编幺零零零八四"),
        ("打119，打300米", "打幺幺九，打三百米"),
        ("4008-123-123", "四零零八，幺二三，幺二三"),
        ("2024-03-05 14:05", "二零二四年三月五日 十四点零五分"),
        ("1990年，90年代，98年", "一九九零年，九十年代，九八年"),
        ("气温-5℃，涨了12.5%", "气温零下五摄氏度，涨了百分之十二点五"),
        ("10-20%的人，3~5折", "百分之十到百分之二十的人，三到五折"),
        ("2个苹果、12只猫、2号楼、2月、2万人", "两个苹果、十二只猫、二号楼、二月、两万人"),
        ("¥1,299.50，$3.5亿，￥20", "一千两百九十九点五元，三点五亿美元，二十元"),
        ("13812345678", "幺三八，幺二三四，五六七八"),
        ("010-62345678", "零幺零，六二三四五六七八"),
        ("拨打110", "拨打幺幺零"),
        ("110个人", "一百一十个人"),
        ("120km/h，80㎡，5kg，2m", "一百二十千米每小时，八十平方米，五千克，两米"),
        ("3/4的人，第3名，3:2获胜", "四分之三的人，第三名，三比二获胜"),
        ("1+1=2，3×4=12", "一加一等于二，三乘四等于十二"),
        ("110101199003070012，007", "一一零一零一一九九零零三零七零零一二，零零七"),
    ],
)
def test_figures_and_signs_are_put_into_chinese_words(written: str, said: str) -> None:
    assert chinese.in_words(written) == said


@settings(deadline=None)
@given(st.text(st.sampled_from("0123456789-/:.,%年月日个￥$kmg℃ 第至~+=你"), max_size=40))
def test_no_text_of_figures_breaks_a_rule(text: str) -> None:
    places = list(chinese.said(text))
    assert places == sorted(places)
    assert all(end <= start for (_, end, _), (start, _, _) in itertools.pairwise(places))
    assert not any(letter.isdecimal() for letter in chinese.in_words(text))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("今天很好。明天呢？好！", 3),
        ("Dr. Smith came at 3 p.m. yesterday. He left.", 2),
        ("第一行\n第二行\n\n第三行", 3),
        ("他说：“走吧。”我们走了。", 2),
        ("version 2.5 is out", 1),
        ("。。。\n", 1),
    ],
)
def test_sentences_end_where_they_end(text: str, count: int) -> None:
    assert len(list(sentences(text))) == count


def words_of(text: str) -> list[Sentence]:
    pytest.importorskip("jieba")
    pytest.importorskip("pypinyin")
    pytest.importorskip("hibari")
    found = list(read(text))
    for sentence in found:
        for word in sentence.words:
            assert text[word.start : word.end] == word.text, "every word is where it says"
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("他还没还钱", "ta1 hai2 mei2 huan2 qian2"),
        ("千里江陵一日还", "qian1 li3 jiang1 ling2 yi1 ri4 huan2"),
        ("切菜削苹果", "qie1 cai4 xiao1 ping2 guo3"),
        ("他一步一步地走", "ta1 yi1 bu4 yi1 bu4 de5 zou3"),
        ("小心地滑", "xiao3 xin1 di4 hua2"),
        ("头发长了，孩子长大了", "tou2 fa4 chang2 le5 hai2 zi5 zhang3 da4 le5"),
        ("你得小心猜中", "ni3 dei3 xiao3 xin1 cai1 zhong4"),
        ("姓单的蒙古人", "xing4 shan4 de5 meng3 gu3 ren2"),
        ("他跑得很快，我得走了", "ta1 pao3 de5 hen3 kuai4 wo3 dei3 zou3 le5"),
        ("银行行长在行走", "yin2 hang2 hang2 zhang3 zai4 xing2 zou3"),
        ("這行字寫得好", "zhe4 hang2 zi4 xie3 de5 hao3"),
        ("重庆的音乐很快乐", "chong2 qing4 de5 yin1 yue4 hen3 kuai4 le4"),
        ("白日依山尽", "bai2 ri4 yi1 shan1 jin4"),
        ("朝辞白帝彩云间", "zhao1 ci2 bai2 di4 cai3 yun2 jian1"),
        ("一骑红尘妃子笑", "yi1 ji4 hong2 chen2 fei1 zi3 xiao4"),
    ],
)
def test_polyphones_are_read_by_what_stands_around_them(text: str, wanted: str) -> None:
    [sentence] = words_of(text)
    assert " ".join(word.sounds for word in sentence.words) == wanted


def test_both_languages_are_read_in_one_sentence() -> None:
    [sentence] = words_of("我们用PyTorch训练GPT-4，速度是3 times faster than before，涨了5%。")
    read_as = {word.text: (word.language, word.sounds) for word in sentence.words}
    assert read_as["我们"] == ("zh", "wo3 men5")
    assert read_as["PyTorch"][0] == "en"
    assert read_as["4"] == ("zh", "si4")
    assert read_as["faster"][0] == read_as["before"][0] == "en"
    assert read_as["5%"] == ("zh", "bai3 fen1 zhi1 wu3")


def test_addresses_in_chinese_are_one_word() -> None:
    [sentence] = words_of("请访问https://a.org/b，或写信给bob@example.org。")
    sounds = {word.text: word.sounds for word in sentence.words}
    assert sounds["https://a.org/b"].split()[1:3] == ["dˈɑt", "ˈɔɹɡ"]
    assert " æt " in sounds["bob@example.org"]


def test_english_figures_and_abbreviations_are_one_word_each() -> None:
    [sentence] = words_of("Dr. Smith paid $3.50 at 8:05 am, i.e. 12.5% more; call +1 (415) 555-2671 or see https://a.org/b now.")
    texts = [word.text for word in sentence.words]
    assert texts[:5] == ["Dr.", "Smith", "paid", "$3.50", "at"]
    assert {"8:05 am", "i.e.", "12.5%", "+1 (415) 555-2671", "https://a.org/b"} <= set(texts)
    sounds = {word.text: word.sounds for word in sentence.words}
    assert sounds["$3.50"].count(" ") == 4  # three dollars and fifty cents
    assert sounds["i.e."] == "ðæt ɪz"


def test_money_does_not_run_into_the_next_number() -> None:
    [sentence] = words_of("It costs £20, ¥100 and $1.2 million.")
    sounds = {word.text: word.sounds for word in sentence.words}
    assert "pˈWndz" in sounds["£20"]
    assert "pˈWndz" not in sounds["¥100"]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("US$5 or HK$2m", "5 US dollars or 2 million Hong Kong dollars"),
        ("25 m² and 3½ cups", "25 square meters and 3 and a half cups"),
        ("0.5, .75", "0.5, 0.75"),
        ("one vs. two", "one versus two"),
        ("he is 5'10\" tall", "he is 5 foot 10 tall"),
    ],
)
def test_english_signs_are_said_in_order(written: str, said: str) -> None:
    assert english.in_words(written) == said


def test_characters_that_nobody_reads_are_named_and_break_nothing() -> None:
    [sentence] = words_of("你好👋カタ𠮷世界")
    assert set(sentence.unread) == set("👋カタ𠮷")
    assert [word.text for word in sentence.words if word.sounds] == ["你好", "世界"]
    assert not words_of("。。。！")


def test_punctuation_clings_to_its_word() -> None:
    [sentence] = words_of("他说：“《静夜思》（很好）”！")
    assert [(word.text, word.before, word.after) for word in sentence.words][:2] == [("他", "", ""), ("说", "", ":")]
    assert sentence.words[2].before == "““"
    assert sentence.words[-1].after == ")”!"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
@example("¹A")
def test_no_text_at_all_is_a_crash(text: str) -> None:
    for sentence in words_of(text):
        assert sentence.words or sentence.unread
