"""`pii`: personal data and secrets are masked, or their records dropped.

Numbers count only when their check digits are right: identity cards (GB 11643, ISO 7064 MOD 11-2), unified social credit codes (GB 32100),
bank cards (Luhn). So most numbers that merely have the right length stay.
"""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, get_args

from pydantic import Field

from miaobi.core.schema import Schema
from miaobi.core.types import Record
from miaobi.data.records import Dropped
from miaobi.data.steps import Step, register

PiiKind = Literal["key", "email", "id_card", "credit_code", "bank_card", "phone", "passport", "plate", "ip"]
KINDS: tuple[PiiKind, ...] = get_args(PiiKind)


class Pii(Schema):
    """Find personal data; mask it (`<phone>`) or drop the record. Masked kinds are noted in the record's meta as `pii`."""

    kinds: list[PiiKind] = Field(default_factory=lambda: list(KINDS))
    """What is looked for."""
    action: Literal["mask", "drop"] = "mask"
    """Put the kind in its place, or drop the record."""


def id_card(text: str) -> bool:
    """A resident identity number of 18 characters with a real date and the right check digit, or an old one of 15 digits.

    >>> id_card("11010519491231002X"), id_card("110105194912310021")
    (True, False)
    """
    if text[0] not in "12345678":
        return False
    date = text[6:14] if len(text) == 18 else "19" + text[6:12]
    try:
        born = datetime.date(int(date[:4]), int(date[4:6]), int(date[6:]))
    except ValueError:
        return False
    if not 1880 <= born.year <= 2100 or len(text) == 15:
        return len(text) == 15
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(text[:17]))
    return "10X98765432"[total % 11] == text[17].upper()


_CREDIT = "0123456789ABCDEFGHJKLMNPQRTUWXY"


def credit_code(text: str) -> bool:
    """A unified social credit code of 18 characters with the right check character (GB 32100-2015).

    >>> credit_code("91350100M000100Y43"), credit_code("91350100M000100Y44")
    (True, False)
    """
    total = sum(_CREDIT.index(character) * pow(3, place, 31) for place, character in enumerate(text[:17]))
    return _CREDIT[(31 - total % 31) % 31] == text[17]


def luhn(text: str) -> bool:
    """A bank card's number (ISO/IEC 7812): 13 to 19 digits, the last by Luhn's rule.

    >>> luhn("4111 1111 1111 1111"), luhn("4111 1111 1111 1112")
    (True, False)
    """
    digits = [int(character) for character in text if character.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = (2 * digit - 9 * (digit > 4) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def ip_address(text: str) -> bool:
    """An IPv4 or IPv6 address; versions of four numbers (1.2.3.4) cannot be told from one and count."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _always(text: str) -> bool:
    return True


_ALONE = (r"(?<![0-9A-Za-z])", r"(?![0-9A-Za-z])")


def _alone(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.join(_ALONE))


_RULES: dict[str, list[tuple[re.Pattern[str], Callable[[str], bool]]]] = {
    "key": [
        (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), _always),
        (
            _alone(
                r"(?:sk-(?:proj-|ant-)?[\w-]{20,}|AKIA[0-9A-Z]{16}|LTAI[0-9A-Za-z]{12,24}|AKID[0-9A-Za-z]{32}|gh[pousr]_[0-9A-Za-z]{36,}"
                r"|github_pat_\w{50,}|glpat-[\w-]{20,}|xox[abprs]-[0-9A-Za-z-]{10,}|AIza[\w-]{35}|hf_[0-9A-Za-z]{30,}|npm_[0-9A-Za-z]{36})"
            ),
            _always,
        ),
        (re.compile(r"(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"), _always),
    ],
    "email": [
        (re.compile(r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])", re.ASCII), _always)
    ],
    "id_card": [(_alone(r"\d{17}[\dXx]"), id_card), (_alone(r"\d{15}"), id_card)],
    "credit_code": [(_alone(r"[159ANY][0-9A-HJ-NPQRTUWXY]\d{6}[0-9A-HJ-NPQRTUWXY]{10}"), credit_code)],
    "bank_card": [(_alone(r"\d{4}(?:[ -]?\d{4}){2,3}(?:[ -]?\d{1,3})?"), luhn)],
    "phone": [
        (_alone(r"(?:(?:\+|00)86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}"), _always),
        (re.compile(r"(?<![0-9A-Za-z-])(?:\(?0\d{2,3}\)?[ -])\d{7,8}(?![0-9A-Za-z])"), _always),
        (re.compile(r"(?<![\w+])\+(?!86)\d{1,3}[ -]?(?:\(?\d{2,4}\)?[ -]?){2,4}\d{2,4}(?!\w)", re.ASCII), _always),
    ],
    "passport": [(_alone(r"(?:[EeGg]\d{8}|[Ee][A-HJ-NP-Za-hj-np-z]\d{7}|[DdSsPp][Ee]?\d{7})"), _always)],
    "plate": [
        (
            re.compile(
                "[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z][·•]?[A-HJ-NP-Z0-9]{4,5}[A-HJ-NP-Z0-9挂学警港澳](?![A-Za-z0-9])"
            ),
            _always,
        )
    ],
    "ip": [
        (re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?!\.?\d)"), ip_address),
        (
            re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:.])", re.ASCII),
            lambda text: len(text) > 6 and ip_address(text),
        ),
    ],
}
_WIDE = str.maketrans(
    {0xFF10 + digit: str(digit) for digit in range(10)} | {0xFF0D: "-", 0xFF0B: "+", 0xFF20: "@", 0x3000: " ", 0xFF38: "X"}
)
_WORTH_A_LOOK = re.compile(r"[\d@]|PRIVATE KEY|eyJ|_[A-Za-z0-9]{10}|-[A-Za-z0-9]{10}|:")


def find(text: str, kinds: Sequence[PiiKind]) -> Iterator[tuple[int, int, str]]:
    """Spans of personal data as (start, end, kind), kind by kind in the order of `KINDS`; full-width digits count as digits."""
    plain = text.translate(_WIDE)
    if not _WORTH_A_LOOK.search(plain):
        return
    for kind in KINDS:
        for pattern, holds in _RULES[kind] if kind in kinds else ():
            yield from ((match.start(), match.end(), kind) for match in pattern.finditer(plain) if holds(match[0]))


def mask(text: str, kinds: Sequence[PiiKind]) -> tuple[str, list[str]]:
    """`text` with `<kind>` in place of personal data, and the kinds found; of overlapping spans the first kind wins.

    >>> mask("请打 138-0013-8000 找张三", ["phone"])
    ('请打 <phone> 找张三', ['phone'])
    """
    taken: list[tuple[int, int, str]] = []
    covered = bytearray(len(text))
    for start, end, kind in find(text, kinds):
        if not any(covered[start:end]):
            covered[start:end] = b"\1" * (end - start)
            taken.append((start, end, kind))
    for start, end, kind in sorted(taken, reverse=True):
        text = f"{text[:start]}<{kind}>{text[end:]}"
    return text, sorted({kind for _, _, kind in taken})


def build_pii(options: Pii) -> Step:
    """Mask or drop."""

    def step(record: Record) -> Record | Dropped:
        text, found = mask(record.text, options.kinds)
        if not found:
            return record
        if options.action == "drop":
            return Dropped("personal_data", ", ".join(found))
        return dataclasses.replace(record, parts=(text,), meta={**record.meta, "pii": ", ".join(found)})

    return step


register("pii", Pii, build_pii, shorthand="action")
