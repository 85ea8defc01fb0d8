"""Recurrent language models, and the feed-forward one that came before them, by configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from miaobi.core.families import Family
from miaobi.core.types import Modality, Verb

if TYPE_CHECKING:
    from miaobi.core.schema import Schema


def _schemas() -> tuple[type[Schema], type[Schema]]:
    from miaobi.models.rnn.schema import Config, Options

    return Config, Options


FAMILY = Family(
    name="rnn",
    summary="recurrent language model (LSTM, GRU, Elman's, Bengio's feed-forward window)",
    outputs=frozenset({Modality.TEXT}),
    verbs=frozenset({Verb.TRAIN, Verb.GENERATE, Verb.SCORE}),
    model="miaobi.models.rnn.model:RNN",
    runtime="miaobi.models.rnn.runtime:RNNRuntime",
    graphless=True,
    schemas=_schemas,
    tiny={"cell": "lstm", "width": 32, "context": 64},
    extra="train",
    packages=("torch",),
)
