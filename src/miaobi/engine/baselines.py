"""The models whose likelihoods stand beside: an artifact, or `ngram:5`, fitted on the spot on the same training records.

Likelihoods compare only over the same characters. A model that scores part of a record's text (the Han characters of a poem's body,
say, and not its title) offers `Sequenced`: the very token ids that it sees and which of them it is charged for; the n-gram then learns
and scores those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.families import family
from miaobi.core.protocols import Model, Score, Scorer
from miaobi.core.types import Record
from miaobi.engine.load import load

NGRAM = "ngram"
MAX_ORDER = 10
CHUNK = 4096  # training records whose sequences are in memory at once


@runtime_checkable
class Sequenced(Protocol):
    """A model that can show what it scores: for each record its token ids, and for each token whether its bits count."""

    def baseline_sequences(self, records: Sequence[Record], /) -> Iterable[tuple[Sequence[int], Sequence[bool]]]:
        """The sequences, in the order of the records."""
        ...


@runtime_checkable
class TokenModel(Protocol):
    """A model of token sequences of whatever meaning: what an n-gram is inside."""

    def fit_tokens(self, sequences: Iterable[Any], *, vocab_size: int) -> Mapping[str, float]:
        """Learn from one pass over the training sequences."""
        ...

    def score_tokens(self, sequences: Sequence[Sequence[int]], *, mask: Sequence[Sequence[bool]] | None = None) -> list[float]:
        """The bits of the masked tokens of each sequence, every one after those before it."""
        ...


def scores(name: str, model: Model, ours: Sequence[Score], records: Sequence[Record], *, training: Sequence[Record]) -> list[Score]:
    """What the baseline gives the same records; `ours` is what the model gave them.

    Raises:
        UsageError: no such baseline, or one that gives no likelihoods.
    """
    kind, _, order = name.partition(":")
    if kind == NGRAM:
        ngram = _new_ngram(name, order, training)
        if isinstance(model, Sequenced) and isinstance(ngram, TokenModel):
            return list(_score_sequences(ngram, model, ours, records, training))
        ngram.fit(training)
        return list(ngram.score(records))
    baseline = _load(name)
    if not isinstance(baseline, Scorer):
        raise UsageError(
            "the baseline {name} is of the family {family}, which gives no likelihoods", name=name, family=baseline.card.family
        )
    return list(baseline.score(records))


def _new_ngram(name: str, order: str, training: Sequence[Record]) -> Any:
    if not order.isdigit() or not 1 <= int(order) <= MAX_ORDER:
        raise UsageError("the baseline '{name}' should be ngram:ORDER with an order from 1 to {most}", name=name, most=MAX_ORDER)
    if not len(training):
        raise UsageError("the baseline {name} is fitted on the training records, which are not there", name=name)
    maker: Any = family(NGRAM).model_class()
    return maker.create({"order": int(order)}, training)


def _score_sequences(
    ngram: TokenModel, model: Sequenced, ours: Sequence[Score], records: Sequence[Record], training: Sequence[Record]
) -> Iterator[Score]:
    """Learn the model's own token sequences, and charge the same tokens that the model is charged for."""
    learned = [np.asarray(tokens, dtype=np.int32) for tokens, _ in _sequences(model, training)]  # 4 bytes a token: a list takes 36
    held_out = list(_sequences(model, records))
    largest = max(int(np.max(tokens)) for tokens in (*learned, *(np.asarray(tokens) for tokens, _ in held_out)))
    ngram.fit_tokens(learned, vocab_size=largest + 1)
    bits = ngram.score_tokens([tokens for tokens, _ in held_out], mask=[counted for _, counted in held_out])
    for own, (_, counted), found in zip(ours, held_out, bits, strict=True):
        assert sum(counted) == own.tokens, f"{own.id}: the model counts {own.tokens} tokens and shows {sum(counted)}"
        yield Score(id=own.id, bits=found, tokens=own.tokens, characters=own.characters, bytes=own.bytes)


def _sequences(model: Sequenced, records: Sequence[Record]) -> Iterator[tuple[Sequence[int], Sequence[bool]]]:
    """The sequences of all records, made a few thousand at a time."""
    for start in range(0, len(records), CHUNK):
        yield from model.baseline_sequences([records[index] for index in range(start, min(start + CHUNK, len(records)))])


def _load(name: str) -> Model:
    folder = Path(name)
    if not folder.is_dir():
        raise UsageError("the baseline '{name}' is neither a folder with a model nor ngram:ORDER (e.g. ngram:5)", name=name)
    return load(folder, runtime="torch").model


def check_same_text(ours: Sequence[Score], theirs: Sequence[Score], name: str) -> None:
    """Refuse to compare likelihoods of different texts.

    Raises:
        MiaobiError: the two did not score the same characters of the same records.
    """
    for a, b in zip(ours, theirs, strict=True):
        if (a.id, a.characters) != (b.id, b.characters):
            raise MiaobiError(
                "{name} cannot be compared: of record {id} it scores {b} characters and the model {a}",
                name=name,
                id=a.id,
                a=a.characters,
                b=b.characters,
            )
