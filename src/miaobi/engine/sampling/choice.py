"""Choosing one token a row from processed logits: the likeliest, or one drawn by a given number in [0, 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array

from miaobi.core.errors import MiaobiError
from miaobi.engine.sampling import processors
from miaobi.engine.sampling.options import Sampling
from miaobi.engine.sampling.stepper import Array

_BLOCK = 256


def single_precision(logits: Array) -> Array:
    """float32, without a copy where it is that already: half floats lose small probabilities and doubles cost time."""
    xp = array_namespace(logits)
    return logits if logits.dtype == xp.float32 else xp.astype(logits, xp.float32)


def check(raw: Array, logits: Array) -> None:
    """Refuse logits that no token can be drawn from. The maximum alone tells, since NaN wins every comparison of it.

    Raises:
        MiaobiError: NaN or infinity in the model's logits, or nothing left after the processors.
    """
    xp = array_namespace(logits)
    if bool(xp.all(xp.isfinite(xp.max(logits, axis=-1)))):
        return
    if not bool(xp.all(xp.isfinite(xp.max(raw, axis=-1)))):
        raise MiaobiError("the model's output is not a number (NaN or infinity); its weights are damaged or its training diverged")
    raise MiaobiError(
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


def draw(logits: Array, options: Sampling, uniforms: Sequence[float]) -> list[int]:
    """One token a row from the tempered and truncated distribution, by inverting its cumulative sum at `1 - uniform`, in (0, 1].

    With the target in (0, total] the first token that reaches it has a weight above 0, so no rounding draws a token that was ruled out.
    """
    if is_numpy_array(logits) and options.typical_p == 1.0:
        return [_draw_row(row, options, uniform) for row, uniform in zip(logits, uniforms)]
    xp = array_namespace(logits)
    logits = processors.truncate(logits, options)
    reached = xp.cumulative_sum(xp.exp(logits - xp.max(logits, axis=-1, keepdims=True)), axis=-1)
    targets = xp.asarray([[1.0 - uniform] for uniform in uniforms], dtype=reached.dtype, device=device(logits)) * reached[:, -1:]
    tokens: list[int] = xp.sum(xp.astype(reached < targets, xp.int64), axis=-1).tolist()
    return tokens


def _draw_row(row: np.ndarray, options: Sampling, uniform: float) -> int:
    """`processors.truncate` and the draw in one: the exponentials are taken once, and what is cut away is not touched again."""
    weights = np.exp((row - row.max()) * np.float32(1.0 / options.temperature))
    left = None
    if 0 < options.top_k < len(row):
        left = np.flatnonzero(weights >= np.partition(weights, len(row) - options.top_k)[len(row) - options.top_k])
        weights = weights[left]
    if options.top_p < 1.0:
        kept = processors.heaviest_share(weights, options.top_p)
        left = kept if left is None else left[kept]
        weights = weights[kept]
    if options.min_p > 0.0:
        weights = np.where(weights < np.float32(options.min_p), np.float32(0), weights)  # the likeliest weighs 1
    place = _invert(weights, 1.0 - uniform)
    return place if left is None else int(left[place])


def _invert(weights: np.ndarray, share: float) -> int:
    """The first index at which the running sum reaches this share of the whole. Sums of blocks come first: a long cumsum is slow."""
    starts = np.arange(0, len(weights), _BLOCK)
    reached = np.cumsum(np.add.reduceat(weights, starts), dtype=np.float64)
    block = int(np.searchsorted(reached, share * reached[-1]))
    target = share * reached[-1] - (reached[block - 1] if block else 0.0)
    inside = np.cumsum(weights[starts[block] : starts[block] + _BLOCK], dtype=np.float64)
    return int(starts[block] + np.searchsorted(inside, min(target, inside[-1])))


def log_probabilities(raw: Array, tokens: Sequence[int]) -> list[float]:
    """The model's own natural-log probability of one token a row."""
    chosen = raw[list(range(len(tokens))), list(tokens)]
    values: list[float] = (chosen - processors.log_sum_exp(raw)[:, 0]).tolist()
    return values
