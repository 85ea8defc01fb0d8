from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from miaobi.core.families import family
from miaobi.core.types import Content, Label, Record
from miaobi.engine.metrics import Evidence, Sample, find_metric
from miaobi.models.verse import metrics

POEMS = json.loads(Path(__file__).with_name("poems.json").read_text(encoding="utf-8"))
REGULAR = POEMS["shi"]["登鹳雀楼"]["text"]
IRREGULAR = POEMS["old"]["静夜思"]
WRONG = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层天。"


def sample(text: str, *, notes: dict[str, Any] | None = None, **options: Any) -> Sample:
    label = Label(
        family="verse",
        model="poet",
        source="",
        seed=0,
        request_sha256="",
        options={"form": "五绝", **options},
        created="2026-01-01T00:00:00Z",
        software="miaobi",
        notes=notes or {},
    )
    return Sample(content=Content(parts=(text,), label=label))


def test_the_figures_are_the_checkers() -> None:
    evidence = Evidence(
        samples={"": [sample(REGULAR), sample(WRONG), sample(REGULAR, rhyme="none"), sample("白日依山尽。")]},
        records=[Record(id="1", parts=(IRREGULAR,)), Record(id="2", parts=(REGULAR,)), Record(id="3", parts=("天地玄黄",))],
    )
    assert metrics.form.figures(evidence)["form"].value == 0.75
    assert metrics.rhyme.figures(evidence)["rhyme"].value == 0.5
    assert metrics.rhyme.figures(evidence)["rhyme_real"].value == 1.0
    assert metrics.regular.figures(evidence)["regular"].value == 0.5
    assert metrics.regular.figures(evidence)["regular_real"].value == 0.5
    tones = metrics.tone.figures(evidence)
    assert tones["tone"].value == 0.75
    assert set(tones) == {"tone", "tone_real", "tone_strict", "tone_strict_real"}
    assert 0.8 < tones["tone_real"].value < 1.0


def test_the_free_variant_is_measured_beside_the_plain_one() -> None:
    evidence = Evidence(samples={"": [sample(REGULAR)], "free": [sample(WRONG), sample(REGULAR)]})
    figures = metrics.rhyme.figures(evidence)
    assert (figures["rhyme"].value, figures["rhyme_free"].value) == (1.0, 0.5)
    assert metrics.rhyme.variants["free"] == {"free": True}


def test_poems_without_a_fixed_form_are_not_judged() -> None:
    evidence = Evidence(samples={"": [sample("明月何皎皎，照我罗床帏。", form="古体"), sample(REGULAR)]})
    assert metrics.rhyme.figures(evidence)["rhyme"].count == 1


def test_real_ci_are_judged_by_their_tune() -> None:
    record = Record(id="1", parts=(POEMS["ci"]["如梦令"],), meta={"kind": "ci", "tune": "如梦令"})
    evidence = Evidence(samples={"": [sample(REGULAR)]}, records=[record])
    assert metrics.rhyme.figures(evidence)["rhyme_real"].value == 1.0


def test_the_rate_of_resampling_counts_whole_rounds() -> None:
    first = sample(REGULAR, candidates=4)  # 4 written, none refused
    second = sample(REGULAR, candidates=4, notes={"candidates_refused": 5})  # 8 written
    third = sample(REGULAR, candidates=4, notes={"candidates_refused": 20, "training_clauses": 1})  # 20 written, the last kept
    figures = metrics.resampled.figures(Evidence(samples={"": [first, second, third]}))
    assert figures["resampled"].value == pytest.approx(25 / 32)
    assert figures["resampled_kept"].value == pytest.approx(1 / 3)


def test_shares_of_texts() -> None:
    texts = [REGULAR, WRONG, IRREGULAR]
    assert metrics.form_share(texts, "五绝") == 1.0
    assert metrics.rhyme_share(texts, "五绝") == pytest.approx(2 / 3)
    assert metrics.tone_share([REGULAR], "五绝", strict=True) == 1.0
    assert metrics.tone_share(texts, "五绝") < 1.0


@pytest.mark.parametrize("name", ["form", "rhyme", "tone", "regular", "resampled"])
def test_the_family_names_them(name: str) -> None:
    assert find_metric(name, family("verse")) is getattr(metrics, name)
