"""Figures have titles that people can read, in both languages: every metric, and every figure of the models that ship."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from miaobi.core.families import families
from miaobi.core.home import builtin
from miaobi.core.language import speaking
from miaobi.engine.metrics import BUILTIN
from miaobi.engine.report.names import METRICS, cell, title


def figures() -> Iterator[str]:
    for path in sorted(builtin().glob("*/eval.json")):
        yield from json.loads(path.read_text(encoding="utf-8"))["figures"]


def test_every_metric_has_a_title() -> None:
    known = {*BUILTIN, *(name for kind in families().values() if kind.model.startswith("miaobi.") for name in kind.metrics)}
    assert known - METRICS.keys() == set()


def test_every_figure_that_ships_reads_in_chinese() -> None:
    names = set(figures())
    assert len(names) > 100
    with speaking("zh"):
        english = {name: said for name in names if re.search("[a-z]{3}", said := title(name).replace("chet", ""))}
    assert not english


@pytest.mark.parametrize(
    ("name", "en", "zh"),
    [
        ("retrieval_zh_caption_real@pair", "the caption for a picture", "图文互查 · 中文 · 由图找说明 · 真实样本 · 未见组合"),
        ("distinct_2_to_real", "different runs · 2 · beside real ones", "不重复片段 · 2 · 相对真实样本"),
        ("bits_per_character", "bits per character", "每字比特数"),
        ("verbatim_real_max", "longest copied span · real ones · the longest", "最长照抄片段 · 真实样本 · 最长"),
        ("theirs_own", "theirs_own", "theirs_own"),
    ],
)
def test_a_name_is_read_part_by_part(name: str, en: str, zh: str) -> None:
    with speaking("en"):
        assert en in title(name)
    with speaking("zh"):
        assert title(name) == zh
        assert name in cell(name)
        assert zh in cell(name)
