"""Chinese words and how they are read: jieba cuts the words, pypinyin's dictionary of phrases reads them, `PLACES` mends what both miss.

Tones are those of the dictionary, without sandhi (你好 is ni3 hao3): voices learn from recordings, in which the sandhi is heard.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from miaobi.core.errors import MissingExtra
from miaobi.core.home import home
from miaobi.core.language import tr

if TYPE_CHECKING:
    import jieba

HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_ADVERBS = (  # of two characters; what they tell stands behind a 地 that is no ground
    "高兴|认真|仔细|努力|突然|不断|快速|迅速|大声|小声|热情|愉快|安静|勇敢|自然|亲切|清楚|简单|直接|完全|温柔|耐心|不停|不住|飞快|拼命|使劲|"
    "用力|尽力|一步|一点|一口|随意|随便|匆忙|匆匆|缓缓|慢慢|轻轻|静静|深深|紧紧|偷偷|好好|微微|细细|远远|牢牢|狠狠|淡淡|好奇|激动|兴奋|伤心|"
    "难过|生气|严肃|坚定|坚决|灵活|熟练|顺利|成功|有力|痛快|疯狂|温和|客气|礼貌|大胆|小心|细心|专心|用心|虚心|放心|安心|开心|欢快|幸福|骄傲|"
    "惊讶|惊奇|吃惊|害怕|紧张|着急|焦急|慌张|平静|冷静|沉重|沉默|孤独|寂寞|广泛|深入|具体|逐步|逐渐"
)
PLACES: tuple[tuple[str, str], ...] = (  # a place in a text, the character in the group, and its reading there
    (r"(?<=[跑走说做写唱长过来吃看听想睡玩笑飞打学画变显觉快慢好坏高低早晚多少美远近累忙急])(得)(?![到出以到分奖失了])", "de5"),
    (r"(?<=[我你他她它们就可总也都必还])(得)(?=[来去做走看说吃买学想写读听跑睡起找问办打交回练考准备赶努多小先再把让跟])", "dei3"),
    (rf"(?<={_ADVERBS})(地)(?![滑上面板方])", "de5"),
    (r"(?<=[渐悄默])(地)", "de5"),
    (r"(?<=[很好不太多最更特挺够])(长)(?![大高])", "chang2"),
    (r"(?<=[这那两几每三四五])(行)(?=[字诗泪人树]|白鹭)|(?<=一)(行)(?=字|诗|泪|白鹭)", "hang2"),
    (r"(数)(?=一数|了数|着|钱)", "shu3"),
    (r"(量)(?=一量|了量|体温|血压|身高)", "liang2"),
    (r"(?<=一)(骑)(?=红尘|绝尘)", "ji4"),
    (r"(朝)(?=辞|夕|露|晖|如青丝)", "zhao1"),
    (r"(落)(?=下)", "luo4"),
    (r"(?<=霓)(裳)", "chang2"),
    (r"(似)(?!的)", "si4"),
    (r"(弹)(?=琴|钢琴|吉他|琵琶|奏|一曲)", "tan2"),
    (r"(教)(?=你|我|他|她|会|给)", "jiao1"),
    (r"(尽)(?=[，。！？、；\s]|$|头)|(?<=[山水不流])(尽)", "jin4"),
    (r"(卷)(?=子|面)", "juan4"),
    (r"(?<=[名改称定译命视])(为)", "wei2"),
    (r"(为)(?=首|例|止|准|荣|主|期)", "wei2"),
    (r"(?<=[一二三四五六七八九十百千万两几多\d])(只)(?![有是要能会好见])", "zhi1"),
    (r"(还)(?=钱|债|清|贷款|给[你我他她])", "huan2"),
    (r"(?<=[一不日夜归往未])(还)$", "huan2"),
    (r"(?<=[这那本])(行)(?=[干做里当的])|(?<=第[一二三四五六七八九十])(行)(?![动人])", "hang2"),
    (r"(?<=头发|胡子|指甲|时间|日子|尾巴|耳朵|路途|寿命)(长)(?![出满成大])", "chang2"),
    (r"(?<=[找够摸买抓捉逮睡]不)(着)", "zhao2"),
    (r"(?<=[猜击射押])(中)|(中)(?=肯)", "zhong4"),
    (r"(?<=的)(为)(?=人$|人[^民类们])", "wei2"),
    (r"(?<!咀)(嚼)(?![蜡舌])", "jiao2"),
    (r"(蒙)(?=古|族)|(?<=内)(蒙)", "meng3"),
    (r"(圈)(?=养|肥)", "juan4"),
    (r"(饮)(?=马|牛)", "yin4"),
    (r"(炸)(?=鸡|鱼|薯|酱|糕|油条|串|丸|虾|春卷|豆腐)|(?<=油)(炸)", "zha2"),
    (r"(待)(?=一会|会儿|着|在家)", "dai1"),
    (r"(?<=[果杏桃梨])(脯)", "fu3"),
    (r"(切)(?=菜|肉|片|丝|块|成|开|断|丁|西瓜|蛋糕|面包|水果)", "qie1"),
    (r"(削)(?=苹果|梨|皮|铅笔|尖|果皮|了皮)", "xiao1"),
    (r"(旋)(?=风)", "xuan4"),
    (r"(?<=[看请找老张王李赵刘陈])(大)(?=夫)|(大)(?=夫[说，来开给])", "dai4"),
    (r"(?<=姓)(曾)|(曾)(?=先生|女士|小姐|老师|国藩|巩|参)", "zeng1"),
    (r"(?<=姓)(单)", "shan4"),
    (r"(?<=姓)(仇)|(仇)(?=先生|女士|小姐|老师)", "qiu2"),
    (r"(?<=姓)(解)", "xie4"),
    (r"(?<=姓)(任)", "ren2"),
    (r"(?<=姓)(华)", "hua4"),
    (r"(?<=姓)(区)", "ou1"),
    (r"(?<=姓)(查)", "zha1"),
    (r"(?<=姓)(朴)", "piao2"),
    (r"(?<=姓)(盖)", "ge3"),
)
_PLACES = tuple((re.compile(pattern), reading) for pattern, reading in PLACES)


@dataclass(frozen=True, slots=True)
class ChineseWord:
    """A word, where it stands, and one syllable a character: `ni3`; empty where no dictionary knows the character."""

    text: str
    start: int
    syllables: tuple[str, ...]


def words(text: str) -> Iterator[ChineseWord]:
    """The words of a stretch of Chinese characters, traditional or simplified.

    Raises:
        MissingExtra: jieba or pypinyin is not installed.
    """
    simple = _simplified(text)
    mended = dict(_mended(simple))
    start = 0
    for word in _cutter().cut(simple):
        read = _read(word)
        syllables = tuple(mended.get(start + place, syllable) for place, syllable in enumerate(read))
        yield ChineseWord(text[start : start + len(word)], start, syllables)
        start += len(word)


def _mended(text: str) -> Iterator[tuple[int, str]]:
    """Places of characters whose reading the text around them decides."""
    for pattern, reading in _PLACES:
        for found in pattern.finditer(text):
            group = next(number for number in range(1, pattern.groups + 1) if found[number])
            yield found.start(group), reading


@functools.lru_cache(maxsize=4096)
def _read(word: str) -> tuple[str, ...]:
    """One syllable a character, tone 5 for the neutral one."""
    try:
        from pypinyin import Style, lazy_pinyin
    except ImportError:
        raise MissingExtra(tr("reading Chinese aloud"), "voice", "pypinyin") from None
    unread: Any = lambda unknown: [""] * len(unknown)  # noqa: E731  # its type says str, its documentation a list for each character
    found = lazy_pinyin(word, style=Style.TONE3, neutral_tone_with_five=True, errors=unread)
    return tuple(found) if len(found) == len(word) else tuple(_read(letter)[0] for letter in word)


def _simplified(text: str) -> str:
    """The text in simplified characters, which the dictionaries know best; as it is where that would change its length."""
    simple = str(_converter().convert(text))
    return simple if len(simple) == len(text) else text


@functools.cache
def _converter() -> Any:
    import opencc

    return opencc.OpenCC("t2s")


@functools.cache
def _cutter() -> jieba.Tokenizer:
    """jieba's own dictionary; its index is kept in our cache and not in the folder of temporary files, which everybody may write."""
    try:
        import jieba
    except ImportError:
        raise MissingExtra(tr("reading Chinese aloud"), "voice", "jieba") from None
    jieba.setLogLevel(logging.WARNING)
    cutter = jieba.Tokenizer()
    cache = home() / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    cutter.tmp_dir = str(cache)
    return cutter
