"""The 5-gram beside a model: fitted on the very tokens that the model sees, charged for the very same characters."""

from __future__ import annotations

from pathlib import Path

import pytest

from miaobi.core.artifact import seal
from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.recipe import Evaluate
from miaobi.core.types import Record
from miaobi.engine import baselines
from miaobi.engine.evaluate import evaluate, measure
from miaobi.models.ngram.model import NGram
from miaobi.models.verse.model import Verse

TINY = {"width": 32, "layers": 2, "heads": 2, "context": 96, "min_count": 1}
ONLY_BITS = Evaluate(metrics=["bits_per_character"], baselines=["ngram:3"])


def test_an_ngram_of_the_models_own_tokens(poems: list[Record]) -> None:
    training, held_out = poems[:60], poems[60:]
    model = Verse.create(TINY, training)
    ours = list(model.score(held_out))
    theirs = baselines.scores("ngram:3", model, ours, held_out, training=training)
    assert [(score.id, score.characters) for score in theirs] == [(score.id, 20) for score in ours]  # a 五绝 has twenty characters
    by_hand = NGram.create({"order": 3}, training)
    by_hand.fit_tokens((tokens for tokens, _ in model.baseline_sequences(training)), vocab_size=len(model.codec.vocabulary))
    tokens, counted = zip(*model.baseline_sequences(held_out), strict=True)
    assert [score.bits for score in theirs] == pytest.approx(by_hand.score_tokens(tokens, mask=counted), rel=1e-3)


def test_the_difference_is_tested_on_the_same_records(poems: list[Record]) -> None:
    model = Verse.create(TINY, poems[:60])
    found = evaluate(model, poems[60:], ONLY_BITS, training=poems[:60])
    ours, theirs = found["figures"]["bits_per_character"], found["baselines"]["ngram:3"]["figures"]["bits_per_character"]
    gap = found["baselines"]["ngram:3"]["differences"]["bits_per_character"]
    assert theirs["value"] < 3 < ours["value"]  # couplets that it has counted, against random weights
    assert gap["relative"] == pytest.approx(ours["value"] / theirs["value"] - 1, rel=1e-4)
    assert (gap["wins"], gap["count"]) == (0.0, 30)
    assert gap["p_value"] < 0.01


def test_a_model_that_scores_the_whole_text_is_met_on_the_whole_text(poems: list[Record]) -> None:
    model = NGram.create({"order": 2}, poems[:60])
    model.fit(poems[:60])
    found = measure(model, poems[60:], ONLY_BITS, training=poems[:60])
    assert found.baselines["ngram:3"].figures["bits_per_character"].value < found.figures["bits_per_character"].value
    same = measure(model, poems[60:], Evaluate(metrics=["perplexity"], baselines=["ngram:2"]), training=poems[:60])
    assert same.baselines["ngram:2"].differences["bits_per_character"].value == 0


def test_an_artifact_can_be_the_baseline(poems: list[Record], tmp_path: Path) -> None:
    other = NGram.create({"order": 3}, poems[:60])
    other.fit(poems[:60])
    other.save(tmp_path)
    seal(tmp_path, family="ngram", name="other")
    model = NGram.create({"order": 2}, poems[:60])
    model.fit(poems[:60])
    found = measure(model, poems[60:], Evaluate(metrics=["perplexity"], baselines=[str(tmp_path)]))
    assert found.baselines[str(tmp_path)].differences["bits_per_character"].value > 0
    verse = Verse.create(TINY, poems[:60])  # it scores twenty characters, the n-gram the punctuation too
    with pytest.raises(MiaobiError, match="cannot be compared: of record"):
        measure(verse, poems[60:], Evaluate(metrics=["perplexity"], baselines=[str(tmp_path)]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ngram:0", "ORDER with an order from 1"),
        ("ngram", "ORDER with an order"),
        ("nowhere", "neither a folder"),
        ("ngram:2", "not there"),
    ],
)
def test_what_is_no_baseline_is_named(name: str, message: str, poems: list[Record]) -> None:
    model = NGram.create({"order": 2}, poems)
    model.fit(poems)
    with pytest.raises(UsageError, match=message):
        measure(model, poems, Evaluate(metrics=["perplexity"], baselines=[name]), training=[] if name == "ngram:2" else poems)
