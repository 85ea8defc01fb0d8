"""Choosing one token a row from processed logits: the likeliest, or one drawn by a given number in [0, 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array

from miaobi.core.errors import MiaobiError, UsageError
from miaobi.engine.sampling import processors
from miaobi.engine.sampling.options import Decoding
from miaobi.engine.sampling.stepper import Array

_BLOCK = 256


def single_precision(logits: Array) -> Array:
    """float32, without a copy where it is that already: half floats lose small probabilities and doubles cost time."""
    xp = array_namespace(logits)
    return logits if logits.dtype == xp.float32 else xp.astype(logits, xp.float32)


def check(raw: Array, logits: Array) -> None:
    """Refuse logits that no token can be drawn from. The maximum alone tells, since NaN wins every comparison of it.

    Raises:
        MiaobiError: NaN or infinity in the model's logits.
        UsageError: nothing is left after the processors and the constraint.
    """
    xp = array_namespace(logits)
    if bool(xp.all(xp.isfinite(xp.max(logits, axis=-1)))):
        return
    if not bool(xp.all(xp.isfinite(xp.max(raw, axis=-1)))):
        raise MiaobiError("the model's output is not a number (NaN or infinity); its weights are damaged or its training diverged")
    raise UsageError(
        "no token can follow: the constraint, no_repeat_ngram, min_tokens and logit_bias together rule out all {size}",
        size=logits.shape[-1],
    )


def likeliest(logits: Array) -> list[int]:
    """The token with the highest logit in each row; the first of equals."""
    found: list[int] = array_namespace(logits).argmax(logits, axis=-1).tolist()
    return found


def ranked(logits: Array, ranks: Sequence[int]) -> list[int]:
    """The token of this rank in each row, 0 the likeliest; ranks begin again where the possible tokens run out."""
    xp = array_namespace(logits)
    order = xp.argsort(logits, axis=-1, descending=True, stable=True)
    possible = xp.sum(xp.astype(logits > -float("inf"), xp.int64), axis=-1)
    return [int(order[row, rank % int(possible[row])]) for row, rank in enumerate(ranks)]


def draw(logits: Array, options: Decoding, uniforms: Sequence[float]) -> list[int]:
    """One token a row from the tempered and truncated distribution, by inverting its cumulative sum at `1 - uniform`, in (0, 1].

    With the target in (0, total] the first token that reaches it has a weight above 0, so no rounding draws a token that was ruled out.
    """
    if is_numpy_array(logits) and options.typical_p == 1.0:
        return _draw_numpy(logits, options, 1.0 - np.asarray(uniforms))
    xp = array_namespace(logits)
    logits = processors.truncate(logits, options)
    reached = xp.cumulative_sum(xp.exp(logits - xp.max(logits, axis=-1, keepdims=True)), axis=-1)
    targets = xp.asarray([[1.0 - uniform] for uniform in uniforms], dtype=reached.dtype, device=device(logits)) * reached[:, -1:]
    tokens: list[int] = xp.sum(xp.astype(reached < targets, xp.int64), axis=-1).tolist()
    return tokens


def _draw_numpy(logits: np.ndarray, options: Decoding, shares: np.ndarray) -> list[int]:
    """`processors.truncate` and the draw in one, so that the exponentials are taken once: the likeliest token weighs 1."""
    V = logits.shape[1]
    weights = np.subtract(logits, logits.max(axis=1, keepdims=True))  # the one array of its size: the others would be as much to fetch
    weights *= np.float32(1.0 / options.temperature)
    np.exp(weights, out=weights)
    if 0 < options.top_k < V:
        weights *= weights >= np.partition(weights, V - options.top_k, axis=1)[:, V - options.top_k, None]
    lightest = processors.lightest_kept(weights, options.top_p)[:, None] if options.top_p < 1.0 else np.float32(0.0)
    if options.top_p < 1.0 or options.min_p > 0.0:
        weights *= weights >= np.maximum(lightest, np.float32(options.min_p))
    return invert(weights, shares)


def invert(weights: np.ndarray, shares: np.ndarray) -> list[int]:
    """The first place in each row (V,) of weights at which the running sum reaches this share, in (0, 1], of the whole.

    A running sum over a vocabulary is slow, so the sums of blocks come first and then one block is searched.
    """
    V = weights.shape[1]
    starts = np.arange(0, V, _BLOCK)
    reached = np.add.reduceat(weights, starts, axis=1).cumsum(axis=1, dtype=np.float64)  # (B, blocks)
    targets = shares * reached[:, -1]
    blocks = (reached < targets[:, None]).sum(axis=1)
    before = np.where(blocks > 0, reached[np.arange(len(blocks)), blocks - 1], 0.0)
    places = starts[blocks][:, None] + np.arange(_BLOCK)
    inside = np.take_along_axis(weights, np.minimum(places, V - 1), axis=1)
    inside = np.where(places < V, inside, 0.0).cumsum(axis=1)
    targets = np.minimum(targets - before, inside[:, -1])  # the two sums are rounded differently
    tokens: list[int] = (starts[blocks] + (inside < targets[:, None]).sum(axis=1)).tolist()
    return tokens


def log_probabilities(raw: Array, tokens: Sequence[int]) -> list[float]:
    """The model's own natural-log probability of one token a row."""
    chosen = raw[list(range(len(tokens))), list(tokens)]
    values: list[float] = (chosen - processors.log_sum_exp(raw)[:, 0]).tolist()
    return values


def top_log_probabilities(raw: Array, count: int) -> list[tuple[tuple[int, float], ...]]:
    """The `count` likeliest tokens of each row with their natural-log probabilities by the model, the likeliest first."""
    scores = processors.log_softmax(raw)
    count = min(count, raw.shape[-1])
    if is_numpy_array(scores):
        places = np.argpartition(scores, scores.shape[1] - count, axis=1)[:, scores.shape[1] - count :]
        values = np.take_along_axis(scores, places, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        found = np.take_along_axis(values, order, axis=1).tolist(), np.take_along_axis(places, order, axis=1).tolist()
    else:
        best = scores.topk(count, dim=-1)
        found = best.values.tolist(), best.indices.tolist()
    return [tuple(zip(tokens, row)) for row, tokens in zip(*found)]
