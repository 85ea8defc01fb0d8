"""What may be done to logits before a token is chosen: pure functions over numpy arrays and torch tensors alike.

Every function takes logits (B, V) and returns new ones; a token that is ruled out gets -inf. Each is the same function as the
processor of that name in transformers (tests/sampling/test_processors.py), only quicker: numpy's top-p never sorts the vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array

from miaobi.engine.sampling.stepper import Array

if TYPE_CHECKING:
    from miaobi.engine.sampling.options import Decoding

Rows = Sequence[Sequence[int]]  # the tokens of each row, of unequal lengths
_RULED_OUT = -float("inf")


def process(logits: Array, history: Rows, generated: Rows, options: Decoding, *, end_tokens: Collection[int]) -> Array:
    """All processors that look at the text so far; a row's `history` is its prompt and what it generated."""
    logits = repetition_penalty(logits, history, options.repetition_penalty)
    logits = frequency_presence(logits, generated, frequency=options.frequency_penalty, presence=options.presence_penalty)
    logits = logit_bias(logits, options.logit_bias)
    logits = no_repeat_ngram(logits, history, options.no_repeat_ngram)
    return min_tokens(logits, generated, options.min_tokens, end_tokens=end_tokens)


def truncate(logits: Array, options: Decoding) -> Array:
    """All processors that shape the distribution, in the order of transformers: temperature, top-k, top-p, min-p, typical."""
    logits = temperature(logits, options.temperature)
    logits = top_k(logits, options.top_k)
    logits = top_p(logits, options.top_p)
    logits = min_p(logits, options.min_p)
    return typical(logits, options.typical_p)


def temperature(logits: Array, value: float) -> Array:
    """Divide by the temperature; 0 and 1 change nothing (0 means greedy, which needs no distribution)."""
    return logits if value in (0.0, 1.0) else logits * (1.0 / value)


def top_k(logits: Array, k: int) -> Array:
    """Keep the k likeliest tokens and those equal to the last of them; 0 keeps all."""
    size = logits.shape[-1]
    if k == 0 or k >= size:
        return logits
    xp = array_namespace(logits)
    in_numpy = is_numpy_array(logits)
    best = np.partition(logits, size - k, axis=-1)[:, size - k :] if in_numpy else logits.topk(k, dim=-1).values
    last = xp.min(best, axis=-1, keepdims=True)
    return xp.where(logits < last, _fill(logits), logits)


def top_p(logits: Array, p: float) -> Array:
    """Keep the smallest set of likeliest tokens whose probability reaches p, at least one (Holtzman et al., 2020)."""
    if p >= 1.0:
        return logits
    if is_numpy_array(logits):
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.where(weights < lightest_kept(weights, p)[:, None], _fill(logits), logits)
    xp = array_namespace(logits)
    order = xp.argsort(logits, axis=-1)  # ascending
    below = xp.cumulative_sum(_softmax(xp.take_along_axis(logits, order, axis=-1)), axis=-1)
    removed = below <= 1.0 - p
    removed[:, -1] = False
    return xp.where(xp.take_along_axis(removed, xp.argsort(order, axis=-1), axis=-1), _fill(logits), logits)


def lightest_kept(weights: np.ndarray, p: float) -> np.ndarray:
    """The lightest (B,) of the fewest weights (B, V) of each row that hold the share p of its sum. Equal weights stay together.

    The heaviest of each row is 1.

    Sorting a vocabulary takes a millisecond. A histogram over the leading bits of the floats, whose order is that of the numbers, finds
    the bin in which the share is reached, and only that bin is sorted; all rows go through it together.
    """
    B, V = weights.shape
    weights = weights.astype(np.float32, copy=False)
    totals = weights.sum(axis=1, dtype=np.float64)
    light = np.minimum((1.0 - p) / V * totals, 1.0).astype(np.float32)
    heavy = np.flatnonzero(weights >= light[:, None])  # the others hold 1 - p together at most: they all fall
    shares, rows = weights.reshape(-1)[heavy], heavy // V
    bins = shares.view(np.int32) >> 18  # the exponent and 5 bits of the mantissa
    bins -= bins.min()
    num_bins = int(bins.max()) + 1
    sums = np.bincount(rows * num_bins + bins, weights=shares, minlength=B * num_bins).reshape(B, num_bins).cumsum(axis=1)
    # how much of the heavy ones, lightest first, may fall too; never all of it
    spare = np.minimum(sums[:, -1] - p * totals, np.nextafter(sums[:, -1], 0.0))
    edges = (sums <= spare[:, None]).sum(axis=1)
    spare -= np.where(edges > 0, sums[np.arange(B), edges - 1], 0.0)
    at_edge = np.flatnonzero(bins == edges[rows])
    rows, shares = rows[at_edge], shares[at_edge]
    order = np.lexsort((shares, rows))
    rows, shares = rows[order], shares[order]
    firsts = np.searchsorted(rows, np.arange(B))
    reached = np.cumsum(shares, dtype=np.float64)
    reached -= (reached[firsts] - shares[firsts])[rows]
    fallen = np.bincount(rows, weights=reached <= spare[rows], minlength=B).astype(np.int64)
    lightest: np.ndarray = shares[firsts + np.minimum(fallen, np.bincount(rows, minlength=B) - 1)]
    return lightest


def min_p(logits: Array, p: float) -> Array:
    """Keep tokens at least p times as likely as the likeliest (Nguyen et al., 2024). In logits that is a subtraction."""
    if p == 0.0:
        return logits
    xp = array_namespace(logits)
    least = xp.max(logits, axis=-1, keepdims=True) + float(np.log(p))
    return xp.where(logits < least, _fill(logits), logits)


def typical(logits: Array, p: float) -> Array:
    """Keep the tokens whose surprise is nearest to the entropy, until their probability reaches p (Meister et al., 2023)."""
    if p >= 1.0:
        return logits
    xp = array_namespace(logits)
    probabilities = _softmax(logits)
    surprise = -log_softmax(logits)
    possible = xp.where(probabilities > 0, surprise, xp.zeros_like(surprise))  # 0 · inf is 0 here
    entropy = xp.sum(probabilities * possible, axis=-1, keepdims=True)
    distance = xp.abs(surprise - entropy)
    order = xp.argsort(distance, axis=-1)
    reached = xp.cumulative_sum(xp.take_along_axis(probabilities, order, axis=-1), axis=-1)
    last = xp.sum(xp.astype(reached < p, xp.int64), axis=-1, keepdims=True)
    last = xp.clip(last, 0, logits.shape[-1] - 1)
    farthest = xp.take_along_axis(xp.take_along_axis(distance, order, axis=-1), last, axis=-1)
    return xp.where(distance > farthest, _fill(logits), logits)


def repetition_penalty(logits: Array, history: Rows, penalty: float) -> Array:
    """Make every token of the history less likely: positive logits are divided, negative ones multiplied (Keskar et al., 2019)."""
    if penalty == 1.0:
        return logits
    rows, tokens = _pairs([set(row) for row in history])
    result = _copy(logits)
    if rows:
        xp = array_namespace(logits)
        values = result[rows, tokens]
        result[rows, tokens] = xp.where(values < 0, values * penalty, values / penalty)
    return result


def frequency_presence(logits: Array, generated: Rows, *, frequency: float = 0.0, presence: float = 0.0) -> Array:
    """Subtract `frequency` for every time that a token was generated and `presence` once (the OpenAI API's definition)."""
    if frequency == 0.0 and presence == 0.0:
        return logits
    counts = [Counter(row) for row in generated]
    rows, tokens = _pairs(counts)
    result = _copy(logits)
    if rows:
        penalties = [count * frequency + presence for counter in counts for count in counter.values()]
        result[rows, tokens] = result[rows, tokens] - _like(penalties, logits)
    return result


def logit_bias(logits: Array, bias: Mapping[int, float]) -> Array:
    """Add to the logits of single tokens; numbers beyond the vocabulary are for the caller to refuse."""
    if not bias:
        return logits
    result = _copy(logits)
    tokens = list(bias)
    result[:, tokens] = result[:, tokens] + _like(list(bias.values()), logits)
    return result


def no_repeat_ngram(logits: Array, history: Rows, size: int) -> Array:
    """Rule out every token that would complete an n-gram of this size which the row already holds (Paulus et al., 2017)."""
    if size == 0:
        return logits
    rows, tokens = _pairs([_completions(row, size) for row in history])
    result = _copy(logits)
    if rows:
        result[rows, tokens] = _RULED_OUT
    return result


def _completions(row: Sequence[int], size: int) -> set[int]:
    if len(row) < size:
        return set()
    tokens = list(row)
    suffix = tokens[len(tokens) - size + 1 :]
    return {tokens[start + size - 1] for start in range(len(tokens) - size + 1) if tokens[start : start + size - 1] == suffix}


def min_tokens(logits: Array, generated: Rows, minimum: int, *, end_tokens: Collection[int]) -> Array:
    """Rule out the end tokens in rows that have not generated enough."""
    rows = [index for index, row in enumerate(generated) if len(row) < minimum]
    if not rows or not end_tokens:
        return logits
    result = _copy(logits)
    for token in end_tokens:
        result[rows, token] = _RULED_OUT
    return result


def mask(logits: Array, masks: Sequence[np.ndarray | None]) -> Array:
    """Rule out what a row's mask (V,) does not allow; None allows everything."""
    if all(row is None for row in masks):
        return logits
    everything = np.ones(logits.shape[-1], dtype=bool)
    stacked = np.stack([everything if row is None else row for row in masks])
    if is_numpy_array(logits):
        # the lesser of a logit and ∞, or -∞: `where` branches at every token, which costs five times as much
        most = np.multiply(2 * stacked.view(np.int8) - 1, np.float32("inf"), dtype=np.float32)
        return np.minimum(logits, most, out=most) if logits.dtype == np.float32 else np.minimum(logits, most)
    xp = array_namespace(logits)
    return xp.where(xp.asarray(stacked, device=device(logits)), logits, _fill(logits))


def log_softmax(logits: Array) -> Array:
    """Natural-log probabilities (B, V)."""
    return logits - log_sum_exp(logits)


def log_sum_exp(logits: Array) -> Array:
    """The logarithm of the summed exponentials of each row, (B, 1); the maximum is taken off first, so nothing overflows."""
    xp = array_namespace(logits)
    top = xp.max(logits, axis=-1, keepdims=True)
    return top + xp.log(xp.sum(xp.exp(logits - top), axis=-1, keepdims=True))


def _softmax(logits: Array) -> Array:
    xp = array_namespace(logits)
    weights = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    return weights / xp.sum(weights, axis=-1, keepdims=True)


def _fill(logits: Array) -> Array:
    """-inf as a scalar of the logits' type (a Python float would make a float64 of them in old numpy)."""
    return array_namespace(logits).full((), _RULED_OUT, dtype=logits.dtype, device=device(logits))


def _copy(logits: Array) -> Array:
    return array_namespace(logits).asarray(logits, copy=True)


def _like(values: Sequence[float], logits: Array) -> Array:
    return array_namespace(logits).asarray(values, dtype=logits.dtype, device=device(logits))


def _pairs(tokens_of_rows: Sequence[Collection[int]]) -> tuple[list[int], list[int]]:
    """Row numbers and tokens, one pair for each token of each row: an index into (B, V)."""
    rows = [index for index, tokens in enumerate(tokens_of_rows) for _ in tokens]
    return rows, [token for tokens in tokens_of_rows for token in tokens]
