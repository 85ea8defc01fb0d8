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
_ADVERB = "高兴|认真|仔细|努力|突然|不断|快速|迅速|大声|小声|热情|愉快|安静|勇敢|自然|亲切|清楚|简单|直接|完全|温柔|耐心|渐|悄|默"
PLACES: tuple[tuple[str, str], ...] = (  # a place in a text, the character in the group, and its reading there
    (r"(?<=[跑走说做写唱长过来吃看听想睡玩笑飞打学画变显觉快慢好坏高低早晚多少美远近累忙急])(得)(?![到出以到分奖失了])", "de5"),
    (r"(?<=[我你他她它们就可总也都必还])(得)(?=[来去做走看说吃买学想写读听跑睡起找问办打交回练考准备赶努多去])", "dei3"),
    (rf"(?:(?<=慢慢)|(?<=轻轻)|(?<=静静)|(?<=深深)|(?<=紧紧)|(?<=偷偷)|(?<=好好)|(?<={'|'.join(_ADVERB.split('|')[:-3])}))(地)", "de5"),
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
