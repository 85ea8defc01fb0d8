"""Personal data is found by its shape and its check digits; numbers that only look like it stay."""

from __future__ import annotations

import time

import pytest

from miaobi.core.types import Record
from miaobi.data.records import Dropped
from miaobi.data.steps import chain, choose
from miaobi.data.steps.pii import KINDS, credit_code, id_card, luhn, mask

FOUND = [
    ("身份证号11010519491231002X。", "身份证号<id_card>。"),
    ("旧证 110105491231002 号", "旧证 <id_card> 号"),
    ("统一代码91350100M000100Y43", "统一代码<credit_code>"),
    ("卡号6222 0212 3456 7890 128", "卡号<bank_card>"),
    ("电话138-0013-8000，座机010-12345678", "电话<phone>，座机<phone>"),
    ("请打１３８００１３８０００", "请打<phone>"),
    ("+86 13800138000 or +1 415-555-2671", "<phone> or <phone>"),
    ("邮箱 zhang.san+a@mail.example.com.cn。", "邮箱 <email>。"),
    ("护照E12345678", "护照<passport>"),
    ("车牌京A12345、粤BD12345", "车牌<plate>、<plate>"),
    ("服务器192.168.0.1与2001:db8::8a2e:370:7334", "服务器<ip>与<ip>"),
    ("key=AKIAIOSFODNN7EXAMPLE", "key=<key>"),
    ("sk-abcdefghijklmnopqrstuvwxyz12", "<key>"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "<key>"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P", "<key>"),
]


@pytest.mark.parametrize(("text", "masked"), FOUND)
def test_found(text: str, masked: str) -> None:
    assert mask(text, KINDS)[0] == masked


@pytest.mark.parametrize(
    "text",
    [
        "订单号110105194912310021",  # the check digit is wrong
        "110105194913310022",  # there is no 13th month
        "卡号6222021234567890123",  # not by Luhn
        "0000000000000000",
        "时间12:30:45，比分3:2",
        "第12800138000号",  # no mobile number begins so
        "版本1.2.3",
        "300.1.1.1",
        "圆周率3.14159265358979323846",
        "明月几时有？把酒问青天。",
        "a@b",
    ],
)
def test_left_alone(text: str) -> None:
    assert mask(text, KINDS) == (text, [])


def test_check_digits_catch_every_single_wrong_digit() -> None:
    for valid, holds in (("11010519491231002X", id_card), ("91350100M000100Y43", credit_code), ("6222021234567890128", luhn)):
        assert holds(valid)
        for place in (1, 3, 7, 12, len(valid) - 1):
            for digit in "0123456789":
                changed = valid[:place] + digit + valid[place + 1 :]
                assert holds(changed) == (changed == valid), changed


def test_step_masks_and_notes_or_drops() -> None:
    record = Record(id="1", parts=("张三 13800138000 a@b.com",), meta={"title": "题"})
    masked, _ = chain(choose(["pii"]))(record)
    assert isinstance(masked, Record)
    assert masked.text == "张三 <phone> <email>"
    assert masked.meta == {"title": "题", "pii": "email, phone"}
    some, _ = chain(choose([{"pii": {"kinds": ["email"]}}]))(record)
    assert isinstance(some, Record)
    assert some.text == "张三 13800138000 <email>"
    assert chain(choose([{"pii": "drop"}]))(record) == (Dropped("personal_data", "email, phone"), "pii")


@pytest.mark.parametrize(
    "text", ["1" * 200_000, "a@" * 100_000, "1-" * 100_000, "a.b" * 70_000, ":" * 200_000, "eyJ" * 70_000, "+1 " * 70_000]
)
def test_hostile_text_takes_no_longer(text: str) -> None:
    started = time.perf_counter()
    mask(text, KINDS)
    assert time.perf_counter() - started < 5
