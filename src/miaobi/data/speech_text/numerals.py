"""Numbers in Chinese words, as they are said aloud: 两千零五, 十二点五, 幺三八."""

from __future__ import annotations

DIGITS = "零一二三四五六七八九"
_PLACES = ("", "十", "百", "千")
_GROUPS = ("", "万", "亿", "万亿")
LARGEST = 10**16  # from here on a number is read digit by digit


def digits(text: str, *, one: str = "一") -> str:
    """Digit by digit, as years and codes are read; `one="幺"` is the manner of telephone numbers.

    >>> digits("2024"), digits("110", one="幺")
    ('二零二四', '幺幺零')
    """
    return "".join(one if digit == "1" else DIGITS[int(digit)] for digit in text if digit.isdecimal())


def cardinal(number: int) -> str:
    """A whole number; 2 is 两 before 百, 千, 万 and 亿.

    >>> cardinal(10), cardinal(110), cardinal(2005), cardinal(20_000), cardinal(100_010)
    ('十', '一百一十', '两千零五', '两万', '十万零一十')
    """
    if number < 0:
        return "负" + cardinal(-number)
    if number >= LARGEST:
        return digits(str(number))
    if number == 0:
        return DIGITS[0]
    said, gap = "", False
    for power in reversed(range(len(_GROUPS))):
        group = number // 10 ** (4 * power) % 10_000
        if not group:
            gap = bool(said)
            continue
        if said and (gap or group < 1000):
            said += DIGITS[0]
        said += _group(group, counted=power > 0) + _GROUPS[power]
        gap = False
    return said.removeprefix("一") if said.startswith("一十") else said


def _group(group: int, *, counted: bool) -> str:
    """Up to four digits. A lone 2 before 万 or 亿 (`counted`) is 两."""
    if group == 2 and counted:
        return "两"
    said, gap = "", False
    for power in reversed(range(4)):
        digit = group // 10**power % 10
        if not digit:
            gap = bool(said)
            continue
        said += DIGITS[0] if gap else ""
        said += ("两" if digit == 2 and power > 1 else DIGITS[digit]) + _PLACES[power]
        gap = False
    return said


def number(text: str, *, two: str = "二") -> str:
    """A number as it is written: a sign, commas between thousands, a decimal point; `two="两"` is for 2 before a measure word.

    >>> number("-1,234.50"), number("2", two="两"), number("007"), number("0.05")
    ('负一千两百三十四点五零', '两', '零零七', '零点零五')
    """
    sign = {"-": "负", "−": "负", "+": "正", "±": "正负"}.get(text[:1], "")
    plain = text.lstrip("+-−±").replace(",", "").replace("，", "")
    whole, _, fraction = plain.partition(".")
    if len(whole) > 1 and whole.startswith("0") and not fraction:
        return sign + digits(whole)
    said = two if whole == "2" and not fraction else cardinal(int(whole or 0))
    return sign + said + ("点" + digits(fraction) if fraction else "")
