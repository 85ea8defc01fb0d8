"""Figures of music: right on what one can count by hand, and able to be bad."""

from __future__ import annotations

import pytest

pytest.importorskip("symusic")

from miaobi.core.protocols import Score as Likelihood
from miaobi.core.types import Content, Label, Record
from miaobi.data.scores import Key, Note, Part, Score
from miaobi.engine.metrics import Evidence, Sample, Unmeasurable
from miaobi.engine.metrics import music as metrics

from .conftest import record


def tune(*pitches: int, mode: str = "major") -> Score:
    notes = tuple(Note(24 * place, 24, pitch) for place, pitch in enumerate(pitches))
    return Score(parts=(Part(notes=notes),), key=Key(tonic=0, mode=mode))


def evidence(made: list[Score], real: list[Score], known: list[Score], **notes: int) -> Evidence:
    """Samples as an engine would give them."""
    label = Label(family="music", model="m", source="", seed=0, request_sha256="", created="", software="", notes=notes)
    samples = [Sample(content=Content(parts=record(score, "made").parts, label=label)) for score in made]
    return Evidence(
        records=[record(score, f"real {place}") for place, score in enumerate(real)],
        training=[record(score, f"known {place}") for place, score in enumerate(known)],
        samples={"": samples},
    )


UP, DOWN = tune(60, 62, 64, 65, 67), tune(67, 65, 64, 62, 60)


def test_overlaps_of_tones_and_steps() -> None:
    found = metrics.pitch_classes.figures(evidence([UP] * 4, [DOWN] * 4, [UP] * 4))
    assert found["pitch_classes"].value == pytest.approx(1), "the same tones, in another order"
    steps = metrics.intervals.figures(evidence([UP] * 4, [DOWN] * 4, [DOWN] * 4))
    assert steps["intervals"].value == pytest.approx(0), "up is not down"
    assert steps["intervals_real"].value == pytest.approx(1)
    half = metrics.pitch_classes.figures(evidence([tune(60, 66)] * 4, [tune(60, 67)] * 4, [UP]))
    assert half["pitch_classes"].value == pytest.approx(0.5)


def test_tones_are_counted_from_the_tonic_and_by_their_length() -> None:
    long = Score(parts=(Part(notes=(Note(0, 72, 67), Note(72, 24, 74))),), key=Key(tonic=7))
    assert dict(metrics.tones(long)) == {0: 3.0, 7: 1.0}


def test_full_bars_are_those_that_the_model_filled() -> None:
    assert metrics.full_bars.figures(evidence([UP], [UP], [], bars_told=8, bars_full=6))["full_bars"].value == pytest.approx(0.75)
    with pytest.raises(Unmeasurable):
        metrics.full_bars.figures(evidence([UP], [UP], []))


def test_the_share_of_time_in_the_mode() -> None:
    found = metrics.in_mode.figures(evidence([tune(60, 62, 63, 64)], [tune(60, 62, 64, 67, mode="gong")], []))
    assert found["in_mode"].value == pytest.approx(0.75)
    assert found["in_mode_real"].value == pytest.approx(1)


def test_a_copy_is_found_in_any_key_and_a_new_tune_is_not() -> None:
    pytest.importorskip("pydivsufsort")
    known = tune(60, 62, 64, 65, 67, 69, 71, 72)
    copy = metrics.copied_span.figures(evidence([known.transposed(3)], [UP], [known]))
    assert copy["copied_span"].value == 8
    assert copy["copied_span_real"].value == 5
    other = metrics.copied_span.figures(evidence([tune(60, 67, 60, 67, 60)], [UP], [known]))
    assert other["copied_span"].value == 1


def test_bits_are_over_events() -> None:
    scores = [Likelihood(id="a", bits=30.0, tokens=10, dimensions=10), Likelihood(id="b", bits=10.0, tokens=10, dimensions=10)]
    assert metrics.bits_per_event.figures(Evidence(scores=scores))["bits_per_event"].value == pytest.approx(2)
    with pytest.raises(Unmeasurable):
        metrics.bits_per_event.figures(Evidence(scores=[Likelihood(id="a", bits=3.0)]))


def test_a_model_is_evaluated_beside_an_n_gram(records: list[Record]) -> None:
    """The whole way: likelihoods, pieces with and without the grammar, and a 5-gram on the same events."""
    pytest.importorskip("torch")
    from miaobi.core.recipe import Evaluate
    from miaobi.engine.evaluate import evaluate
    from miaobi.models.music.model import Music

    model = Music.create({"width": 32, "layers": 1, "heads": 2, "context": 512}, records)
    section = Evaluate.model_validate(
        {
            "metrics": ["bits_per_event", "pitch_classes", "intervals", "full_bars", "in_mode"],
            "samples": 2,
            "options": {"candidates": 1, "max_tokens": 200, "bars": 2},
            "baselines": ["ngram:5"],
        }
    )
    found = evaluate(model, records, section, training=records)
    figures = found["figures"]
    assert figures["full_bars"]["value"] == 1
    assert figures["in_mode"]["value"] == 1
    free = figures.get("full_bars_free", {"value": 0})  # a model that knows nothing may not write one bar
    assert free["value"] < 1
    assert figures["bits_per_event"]["value"] == pytest.approx(8.7, abs=0.3), "it knows nothing of 409 words"
    baseline = found["baselines"]["ngram:5"]
    assert baseline["figures"]["bits_per_event"]["value"] < 8, "the n-gram has seen the records"
    assert set(baseline["differences"]) == {"bits_per_event"}
