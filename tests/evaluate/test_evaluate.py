"""A whole evaluation of a real, tiny model: needs computed once, figures where they should be, refusals where they should be."""

from __future__ import annotations

import json
import math

import pytest

from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.recipe import Evaluate, Generate
from miaobi.core.types import Record
from miaobi.engine.evaluate import Prompter, draw, evaluate, measure, requests_for
from miaobi.models.verse.model import Verse

TINY = {"width": 32, "layers": 2, "heads": 2, "context": 96, "min_count": 1}
QUICK = Generate(options={"candidates": 1})


@pytest.fixture(scope="module")
def model(poems: list[Record]) -> Verse:
    return Verse.create(TINY, poems)


def test_everything_a_poet_is_measured_by(model: Verse, poems: list[Record]) -> None:
    phases: list[str] = []
    found = evaluate(
        model,
        poems[60:],
        Evaluate(samples=6),
        training=poems[:60],
        generate=QUICK,
        on_progress=lambda phase, done, total: phases.append(phase),
    )
    assert json.loads(json.dumps(found)) == found
    figures = found["figures"]
    assert {"bits_per_character", "perplexity", "distinct_2", "distinct_2_real", "verbatim", "copied_real", "rhyme_free"} <= figures.keys()
    assert figures["form"]["value"] == 1.0
    assert figures["form"]["count"] == 6
    assert figures["form_real"]["value"] == 1.0
    assert figures["copied_real"]["value"] == 1.0  # the couplets of every held-out poem stand in training poems
    assert figures["bits_per_character"]["value"] == pytest.approx(math.log2(len(model.codec.vocabulary)), abs=0.3)  # random weights
    assert found["samples"] == {"plain": 6, "free": 6}
    assert found["records"] == {"scored": 30, "training": 60}
    assert len(found["per_sample"]["verbatim"]) == len(found["examples"]) == 6
    titles = {poem.meta["title"] for poem in poems[60:]}
    assert {example["prompt"] for example in found["examples"]} <= titles
    assert found["skipped"] == {}
    assert [phase for phase in dict.fromkeys(phases) if not phase.startswith("measure")] == ["score", "generate", "generate free"]


def test_the_same_seed_gives_the_same_file(model: Verse, poems: list[Record]) -> None:
    section = Evaluate(metrics=["bits_per_character", "distinct"], samples=3, records=10)
    runs = [evaluate(model, poems, section, generate=QUICK, seed=5) for _ in range(2)]
    for run in runs:
        del run["seconds"]
    assert runs[0] == runs[1]


def test_only_what_is_needed_is_computed(model: Verse, poems: list[Record]) -> None:
    scored = measure(model, poems, Evaluate(metrics=["perplexity"], records=5))
    assert scored.evidence.samples == {}
    assert len(scored.evidence.scores) == 5
    written = measure(model, poems, Evaluate(metrics=["length"], samples=2), generate=QUICK)
    assert not written.evidence.scores
    assert list(written.evidence.samples) == [""]


def test_requests_are_what_a_person_would_have_asked(model: Verse, poems: list[Record]) -> None:
    assert isinstance(model, Prompter)
    recipe = Generate(options={"temperature": 0.5, "form": "七律"})
    asked = requests_for(model, poems, recipe, count=3, seed=100, change={"tone": "none"})
    request, reference = asked[1]
    assert reference is not None
    assert request.prompt == reference.meta["title"]
    assert [record.id for _, record in asked if record] != ["p0", "p1", "p2"]  # drawn, not the first
    assert request.options == {"temperature": 0.5, "form": "五绝", "era": "唐", "tone": "none", "n": 1}
    assert len({request.seed for request, _ in asked}) == 3


def test_records_are_drawn_by_the_seed_and_kept_in_order(poems: list[Record]) -> None:
    chosen = draw(poems, 20, seed=1)
    assert [record.id for record in chosen] == [record.id for record in sorted(chosen, key=poems.index)]
    assert chosen == draw(poems, 20, seed=1) != draw(poems, 20, seed=2)
    assert draw(poems, 1000, seed=0) == poems


def test_what_cannot_be_measured_is_refused_or_named(model: Verse, poems: list[Record]) -> None:
    with pytest.raises(UsageError, match="verbatim cannot be computed: the training records"):
        measure(model, poems, Evaluate(metrics=["verbatim"]))
    with pytest.raises(UsageError, match="unknown metric 'rime'"):
        measure(model, poems, Evaluate(metrics=["rime"]))
    with pytest.raises(MiaobiError, match="no held-out records"):
        measure(model, [], Evaluate(metrics=["perplexity"]))
    found = measure(model, poems, Evaluate(samples=2, records=4), generate=QUICK)
    assert found.skipped.keys() == {"verbatim", "copied"}
