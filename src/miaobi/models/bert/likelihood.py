"""What a masked language model says of a text as a whole: a bound on its bits, and its pseudo-likelihood.

A model that fills any share of a text gives a likelihood: tokens come one by one in a random order, each from those before it (Uria et
al., 2014; Hoogeboom et al., 2022). Averaged over orders, the bits of that are never below those of the mixture of all orders: a bound that
compares with what other families score. It is estimated with as many levels of masking as `LEVELS`, one drawn from each stretch between
"one gap" and "all gaps". The length of a text is paid for by how often training texts had it. The pseudo-likelihood (Salazar et al., 2020)
tells every token from all others: far fewer bits, and no likelihood of anything, so it compares masked models only with each other.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from miaobi.core.protocols import Score
from miaobi.core.types import Record
from miaobi.models.bert.codec import MaskCodec

Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float32]
Predict = Callable[[Ids, Flags, Flags], Floats]
LEVELS = 16
TOKENS = 4096  # as many at once go through the network


def bound(predict: Predict, codec: MaskCodec, records: Sequence[Record], *, lengths: Sequence[int]) -> Iterator[Score]:
    """An upper bound on -log2 p of each record, its length included."""
    for record in records:
        ids = codec.tokens.ids(record.text)
        seed = hashlib.sha256(record.text.encode("utf-8", "replace")).digest()
        rng = np.random.default_rng(np.frombuffer(seed[:8], dtype=np.uint64))  # a record's draws are its own, whatever stands beside it
        bits = codec.tokens.spelled_bits(ids)
        for window in codec.windows(ids):
            bits += length_bits(len(window), lengths) + (_bound(predict, codec, window, rng) if window else 0.0)
        yield _score(record, bits, len(ids))


def pseudo(predict: Predict, codec: MaskCodec, records: Sequence[Record]) -> Iterator[Score]:
    """The bits of every token of each record, given all the others."""
    for record in records:
        ids = codec.tokens.ids(record.text)
        bits = codec.tokens.spelled_bits(ids)
        for window in filter(None, codec.windows(ids)):
            bits += sum(found.sum() for found in _told(predict, codec, window, np.eye(len(window), dtype=bool)))
        yield _score(record, bits, len(ids))


def length_bits(length: int, lengths: Sequence[int]) -> float:
    """What it costs to say that a window has this length, every length being a little likely."""
    counts = np.array([*lengths, *[0] * max(0, length + 1 - len(lengths))], dtype=np.float64) + 0.5
    share = float(counts[length] / counts.sum())
    return -math.log2(share)


def _bound(predict: Predict, codec: MaskCodec, window: Sequence[int], rng: np.random.Generator) -> float:
    n = len(window)
    gaps = np.floor(n * (np.arange(LEVELS) + rng.random(LEVELS)) / LEVELS).astype(int) + 1  # how many of 1 to n at each level
    masks = np.stack([rng.permutation(n) < count for count in gaps])  # (LEVELS, n)
    shares = [float(found.sum()) / count for found, count in zip(_told(predict, codec, window, masks), gaps)]
    return float(n * sum(shares) / LEVELS)


def _told(predict: Predict, codec: MaskCodec, window: Sequence[int], masks: Flags) -> Iterator[NDArray[np.float64]]:
    """For each row of masks (R, n) the bits of the tokens in its gaps, given those outside."""
    row = np.array(codec.row(window), dtype=np.int64)
    wide = np.pad(masks, ((0, 0), (1, 1)))  # the marks are never gaps
    size = max(1, TOKENS // len(row))
    for start in range(0, len(wide), size):
        wanted = wide[start : start + size]
        tokens = np.where(wanted, codec.mask, row)
        logits = predict(tokens, np.ones_like(wanted), wanted).astype(np.float64)  # (M, V)
        logits -= logits.max(axis=1, keepdims=True)
        targets = np.broadcast_to(row, tokens.shape)[wanted]
        bits = (np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(targets)), targets]) / math.log(2)
        yield from np.split(bits, np.cumsum(wanted.sum(axis=1))[:-1])


def _score(record: Record, bits: float, tokens: int) -> Score:
    text = record.text
    return Score(id=record.id, bits=float(bits), tokens=tokens, characters=len(text), bytes=len(text.encode("utf-8", "replace")))
