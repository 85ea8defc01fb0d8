"""A small corpus of poems."""

from __future__ import annotations

import pytest

from miaobi.core.types import Record

POEMS = [
    ("静夜思", "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。"),
    ("登鹳雀楼", "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。"),
    ("春晓", "春眠不觉晓，处处闻啼鸟。\n夜来风雨声，花落知多少。"),
    ("江雪", "千山鸟飞绝，万径人踪灭。\n孤舟蓑笠翁，独钓寒江雪。"),
    ("相思", "红豆生南国，春来发几枝。\n愿君多采撷，此物最相思。"),
    ("鹿柴", "空山不见人，但闻人语响。\n返景入深林，复照青苔上。"),
    ("鸟鸣涧", "人闲桂花落，夜静春山空。\n月出惊山鸟，时鸣春涧中。"),
]


@pytest.fixture
def poems() -> list[Record]:
    """Seven quatrains, titles in their meta."""
    return [Record(id=title, parts=(text,), meta={"title": title}) for title, text in POEMS]
