"""What Chinese text leaves unsaid in figures and signs, put into words: dates, times, money, percentages, telephone numbers, units.

Each rule is a pattern and a function from its match to words. What an earlier rule took no later one gets, so `RULES` go from the special
to the plain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from re import Match

from miaobi.data.speech_text.numerals import cardinal, digits, number

N = r"\d+(?:,\d{3})*(?:\.\d+)?"  # 1,234.5
SIGNED = rf"(?<![\dA-Za-z.])[-−+±]?{N}"
TO = r"\s*[-–—~～至到]\s*"
UNITS = {
    "km/h": "千米每小时",
    "m/s": "米每秒",
    "kWh": "千瓦时",
    "km²": "平方千米",
    "m²": "平方米",
    "㎡": "平方米",
    "m³": "立方米",
    "km": "千米",
    "cm": "厘米",
    "mm": "毫米",
    "μm": "微米",
    "nm": "纳米",
    "kg": "千克",
    "mg": "毫克",
    "ml": "毫升",
    "mL": "毫升",
    "kW": "千瓦",
    "kHz": "千赫",
    "MHz": "兆赫",
    "GHz": "吉赫",
    "Hz": "赫兹",
    "dB": "分贝",
    "°C": "摄氏度",
    "℃": "摄氏度",
    "°F": "华氏度",
    "℉": "华氏度",
    "°": "度",
    "m": "米",
    "g": "克",
    "t": "吨",
    "L": "升",
    "W": "瓦",
    "V": "伏",
    "h": "小时",
    "min": "分钟",
    "s": "秒",
    "cm²": "平方厘米",
    "cm³": "立方厘米",
    "mg/L": "毫克每升",
    "mmHg": "毫米汞柱",
    "kPa": "千帕",
    "kJ": "千焦",
    "kcal": "千卡",
    "μg": "微克",
    "ms": "毫秒",
    "rpm": "转每分钟",
}
MONEY = {"¥": "元", "￥": "元", "$": "美元", "€": "欧元", "£": "英镑", "₩": "韩元", "HK$": "港元", "US$": "美元"}
MEASURES = (
    "千万亿个只位名本张条件块头匹座朵棵首把间层辆艘架台部颗粒群双对套盒杯瓶碗斤公吨米年天小分秒周岁次遍种类门句页章段场家所国省人元"
    "倍点支枝根片处批封幅扇串袋包箱桶壶份副股面户项款枚株节篇册步圈轮局盘趟声滴克毛角笔顿顶盏尊束堆桌身缕"
)
SYMBOLS = {"+": "加", "−": "减", "×": "乘", "÷": "除以", "=": "等于", ">": "大于", "<": "小于", "≥": "大于等于", "≤": "小于等于"}
SIGNS = {
    "&": "和",
    "@": "艾特",
    "#": "井号",
    "%": "百分号",
    "℃": "摄氏度",
    "㎡": "平方米",
    "№": "编号",
    "π": "派",
    "α": "阿尔法",
    "β": "贝塔",
    **SYMBOLS,
}
WON = "获胜|取胜|战胜|击败|大胜|险胜|小胜|领先|落后|战平|不敌|告负|惜败"
CALLED = (  # what stands before digits that are a name
    r"拨打?|打(?=1[12]\d(?!\d)|1\d{4}(?!\d)|9[56]\d{3}(?!\d))|致电|热线|电话|邮编|QQ号?|账号|卡号|学号|工号|验证码|密码|房号"
)
PLACES = "号?房间|号房|室(?![内外温])|教室|宿舍|路公交|路车|次列车|次航班|次高铁"  # what stands behind them
_UNIT = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
_MONEY = "|".join(re.escape(sign) for sign in sorted(MONEY, key=len, reverse=True))


def _two(text: str, following: str, before: str = "") -> str:
    """The number with 两 where a measure word follows: 两个, but 二号 and 第二个."""
    counts = following[:1] and following[0] in MEASURES and following[:2] not in ("月份", "年级", "分之") and before[-1:] != "第"
    return number(text, two="两" if counts else "二")


def _year(found: Match[str]) -> str:
    return digits(found["year"]) + "年"


def _date(found: Match[str]) -> str:
    year, month, day = found["year"], int(found["month"]), int(found["day"])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return digits(found[0])
    return f"{digits(year)}年{cardinal(month)}月{cardinal(day)}日"


def _day(found: Match[str]) -> str:
    return f"{cardinal(int(found['month']))}月{cardinal(int(found['day']))}{found[0][-1]}"


def _time(found: Match[str]) -> str:
    hour, minute, second = int(found["hour"]), int(found["minute"]), found["second"]
    said = ("两" if hour == 2 else cardinal(hour)) + "点"
    if minute or second:
        said += ("零" if 0 < minute < 10 else "") + cardinal(minute) + "分"
    return said + (cardinal(int(second)) + "秒" if second else "")


def _against(found: Match[str]) -> str:
    return f"{number(found['low'])}比{number(found['high'])}"


def _score(found: Match[str]) -> str:
    return found["before"] + _against(found)


def _between(found: Match[str]) -> str:
    around = found.string[found.end() :], found.string[: found.start()]
    return f"{_two(found['low'], *around)}到{_two(found['high'], *around)}"


def _money(found: Match[str]) -> str:
    amount = found["amount"].rstrip("0").rstrip(".") if "." in found["amount"] else found["amount"]
    return number(amount, two="两") + (found["many"] or "") + MONEY[found["sign"]]


def _share(found: Match[str]) -> str:
    whole = {"%": "百分之", "％": "百分之", "‰": "千分之"}[found["sign"]]
    low = f"{whole}{number(found['low'])}到" if found["low"] else ""
    return low + whole + number(found["value"])


def _unit(found: Match[str]) -> str:
    unit = UNITS[found["unit"]]
    low = _measured(found["low"], unit) + "到" if found["low"] else ""
    return low + _measured(found["value"], unit) + unit


def _measured(value: str, unit: str) -> str:
    """The number before a unit; a temperature is below zero, not negative."""
    if unit.endswith("氏度") and value.startswith(("-", "−")):
        return "零下" + number(value[1:])
    return number(value, two="两")


def _telephone(found: Match[str]) -> str:
    """In groups, with a pause between them."""
    groups = [group for group in re.split(r"[-\s()（）]+", found[0].lstrip("+")) if group]
    if len(groups) == 1 and len(groups[0]) == 11:
        groups = [groups[0][:3], groups[0][3:7], groups[0][7:]]
    return "，".join(digits(group, one="幺") for group in groups)


def _called(found: Match[str]) -> str:
    """The number of a room, a bus or a generation: digit by digit."""
    return digits(found[0], one="幺" if len(found[0]) > 2 else "一")


def _code(found: Match[str]) -> str:
    return found["before"] + found["mark"] + digits(found["code"], one="幺")


def _fraction(found: Match[str]) -> str:
    return f"{cardinal(int(found['below']))}分之{cardinal(int(found['above']))}"


def _plain(found: Match[str]) -> str:
    text = found[0]
    if len(text) > 11 and text.isdecimal():
        return digits(text)  # codes, card numbers
    return _two(text, found.string[found.end() :], found.string[: found.start()])


Rule = tuple[str, Callable[[Match[str]], str]]
RULES: tuple[Rule, ...] = (
    (r"(?<!\d)(?P<year>\d{4})\s*年\s*(?P<month>\d{1,2})\s*月\s*(?P<day>\d{1,2})\s*[日号]", _date),
    (r"(?<![\d.])(?P<month>1[0-2]|0?[1-9])\s*月\s*(?P<day>[0-3]?\d)\s*[日号]", _day),
    (r"(?<!\d)(?P<year>\d{4})\s*[-/.]\s*(?P<month>\d{1,2})\s*[-/.]\s*(?P<day>\d{1,2})(?!\d)", _date),
    (r"(?<!\d)(?P<year>\d{4})\s*[-–—~～至到]\s*(?P<last>\d{4})\s*年", lambda found: f"{digits(found['year'])}到{digits(found['last'])}年"),
    (r"(?<!\d)(?P<year>\d{4}|(?<=[’'])\d{2}|[09]\d)\s*年(?!代|级|后[^来])", _year),
    (r"(?<=比分)(?P<before>[为是]?\s*)(?P<low>\d{1,3})[:：](?P<high>\d{1,3})(?![\d.])", _score),
    (rf"(?<![\d.])(?P<low>\d{{1,3}})[:：](?P<high>\d{{1,3}})(?=[^\d。，,]{{0,6}}(?:{WON}))", _against),
    (r"(?<!\d)(?P<hour>[01]?\d|2[0-4])[:：](?P<minute>[0-5]\d)(?:[:：](?P<second>[0-5]\d))?(?!\d)", _time),
    (r"(?<![\d.])(?P<low>\d{1,3})[:：](?P<high>\d{1,3})(?![\d.])", _against),
    (rf"(?P<sign>{_MONEY})\s*(?P<amount>{N})\s*(?P<many>[十百千]?[万亿]|[十百千])?", _money),
    (rf"(?:(?P<low>{SIGNED})[%％]?{TO})?(?P<value>{SIGNED}|(?<=[-–—~～至到]){N})\s*(?P<sign>[%％‰])", _share),
    (r"(?<![\d-])(?:\+?86[-\s]?)?1[3-9]\d(?:[-\s]?\d{4}){2}(?!\d)", _telephone),
    (r"(?<![\d-])[(（]?0\d{2,3}[)）]?[-\s]?\d{7,8}(?![\d-])|(?<![\d-])[48]00(?:-?\d{3}-?\d{4}|\d-\d{3}-\d{3})(?!\d)", _telephone),
    (rf"(?P<before>{CALLED})(?P<mark>[:：是为]?\s*)(?P<code>\d{{3,12}})(?![\d.%个次])", _code),
    (rf"(?<![\d第])\d{{3,4}}(?=\s*(?:{PLACES}))", _called),
    (r"(?<![\d.第])(?:[5-9][05]|[01][05])(?=后(?![来天面边方续退悔]))", _called),
    (rf"(?:(?P<low>{SIGNED}){TO})?(?P<value>{SIGNED}|(?<=[-–—~～至到]){N})\s*(?P<unit>{_UNIT})(?![A-Za-z])", _unit),
    (r"(?<![\d/])(?P<above>\d{1,3})/(?P<below>[1-9]\d{0,3})(?![\d/])", _fraction),
    (rf"(?P<low>{SIGNED}){TO}(?P<high>{N})(?=\s*[\u4e00-\u9fff])", _between),
    (r"(?<=[\d)）])\s*-\s*(?=[\d(（])", lambda found: "减"),
    (rf"{SIGNED}|{N}", _plain),
    (f"[{re.escape(''.join(SIGNS))}]", lambda found: SIGNS[found[0]]),
)
_COMPILED = tuple((re.compile(pattern), say) for pattern, say in RULES)


def said(text: str) -> Iterator[tuple[int, int, str]]:
    """The stretches of `text` that are read otherwise than written, from left to right: (start, end, the words)."""
    found: list[tuple[int, int, str]] = []
    taken = bytearray(len(text))
    for pattern, say in _COMPILED:
        for match in pattern.finditer(text):
            if not any(taken[match.start() : match.end()]):
                taken[match.start() : match.end()] = b"\1" * (match.end() - match.start())
                found.append((match.start(), match.end(), say(match)))
    yield from sorted(found)


def in_words(text: str) -> str:
    """The whole text with its figures and signs in words.

    >>> in_words("2024年3月5日8:30，气温-5℃，涨了12.5%")
    '二零二四年三月五日八点三十分，气温零下五摄氏度，涨了百分之十二点五'
    """
    parts, last = [], 0
    for start, end, words in said(text):
        parts += [text[last:start], words]
        last = end
    return "".join([*parts, text[last:]])
