"""Small real things that the tests of evaluation share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from miaobi.core.types import Content, Label, Record
from miaobi.engine.metrics import Evidence, Sample

MakeEvidence = Callable[..., Evidence]


def record(text: str, number: int = 0) -> Record:
    """A record of one text."""
    return Record(id=f"r{number}", parts=(text,))


def sample(text: str, reference: str = "") -> Sample:
    """A generated content as the engine would hand it on."""
    label = Label(family="test", model="test", source="", seed=0, request_sha256="", created="", software="")
    return Sample(content=Content(parts=(text,), label=label), reference=record(reference) if reference else None)


@pytest.fixture
def evidence() -> MakeEvidence:
    """Evidence of generated texts, of the real ones beside them, and of training texts."""

    def make(texts: Sequence[str], references: Sequence[str] = (), training: Sequence[str] = ()) -> Evidence:
        real = list(references) or [""] * len(texts)
        samples = [sample(text, other) for text, other in zip(texts, real, strict=True)]
        return Evidence(samples={"": samples}, training=[record(text, number) for number, text in enumerate(training)])

    return make


COUPLETS = (
    ("白日依山尽", "黄河入海流"),
    ("欲穷千里目", "更上一层楼"),
    ("移舟泊烟渚", "日暮客愁新"),
    ("野旷天低树", "江清月近人"),
    ("春眠不觉晓", "处处闻啼鸟"),
    ("夜来风雨声", "花落知多少"),
    ("千山鸟飞绝", "万径人踪灭"),
    ("孤舟蓑笠翁", "独钓寒江雪"),
    ("独坐幽篁里", "弹琴复长啸"),
    ("深林人不知", "明月来相照"),
)


@pytest.fixture(scope="session")
def poems() -> list[Record]:
    """Ninety 五绝, each of two different couplets of ten."""
    pairs = [(a, b) for a in COUPLETS for b in COUPLETS if a != b]
    return [
        Record(
            id=f"p{number}",
            parts=("\n".join(f"{one}，{two}。" for one, two in pair),),
            meta={"title": pair[0][0][:2], "author": "佚名", "era": "唐", "kind": "shi"},
        )
        for number, pair in enumerate(pairs)
    ]
