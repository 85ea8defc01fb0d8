"""Interpolated modified Kneser-Ney over token sequences, counted and looked up with sorted numpy arrays only.

Kneser & Ney (1995); Chen & Goodman (1998, TR-10-98), with the count adjustment of KenLM (Heafield et al., 2013). What is unusual: there
is no hash table. N-grams are a trie whose levels are sorted arrays, so an n-gram is one integer key (the number of its prefix and its
last token), and counting a corpus is one sort for each order.

V: tokens, including one that begins and one that ends every sequence. G: n-grams of one length. T: tokens of a corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
MISSING = -1  # the number of an n-gram that was never seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """All n-grams of one length in the order of their tokens.

    `tokens` (G,) holds last tokens and `counts` (G,) adjusted counts. The n-grams that extend n-gram i by one token are those from
    `children[i]` up to `children[i + 1]` of the next level; the highest level has no children.
    """

    tokens: Array
    counts: Array
    children: Array


class KneserNey:
    """Probabilities from adjusted counts. `levels[0]` is the empty n-gram, `levels[n]` holds the n-grams of n tokens."""

    def __init__(self, levels: Sequence[Level], *, begin: int) -> None:
        self.levels = tuple(levels)
        self.order = len(levels) - 1
        self.begin = begin
        self.size = len(levels[1].tokens)
        self.discounts = [discounts(level.counts) for level in levels]
        parts = [_context(below, self.discounts[n + 1], level.children) for n, (level, below) in enumerate(pairwise(levels))]
        self._totals = [total for total, _ in parts]  # (G,) for each length of context: the sum of its successors' counts
        self._backoffs = [backoff for _, backoff in parts]  # (G,): the share of probability that the shorter context distributes
        self.unigrams = self._unigrams()  # (V,)

    @classmethod
    def count(cls, tokens: Array, *, order: int, size: int, begin: int, end: int) -> KneserNey:
        """Count sequences laid end to end in `tokens` (T,), each from a `begin` to an `end`; every token is below `size`."""
        levels = [Level(tokens=np.zeros(1, np.uint8), counts=np.zeros(1, np.int64), children=np.array([0, size]))]
        nodes = tokens.astype(np.int32)  # (T,): the number of the n-gram that starts here
        raw = np.bincount(tokens, minlength=size)
        first, last = begin, begin + 1  # the n-grams from `first` up to `last` start with `begin`
        last_tokens: Array = np.arange(size)
        for length in range(2, order + 1):
            grams = _extend(nodes, tokens, length=length, size=size, end=end)
            adjusted = np.bincount(grams.suffixes, minlength=len(raw))  # in how many different contexts an n-gram was seen
            adjusted[first:last] = raw[first:last]  # nothing comes before a beginning
            if length == 2:
                adjusted[begin] = 0  # nor is it ever predicted
            children = np.concatenate([[0], np.cumsum(np.bincount(grams.prefixes, minlength=len(raw)))])
            levels.append(Level(tokens=last_tokens, counts=adjusted, children=children))
            nodes, raw, last_tokens = grams.nodes, grams.counts, grams.tokens
            first, last = int(children[first]), int(children[last])
        if order == 1:
            raw[begin] = 0
        levels.append(Level(tokens=last_tokens, counts=raw, children=np.zeros(0, np.int64)))
        return cls(levels, begin=begin)

    def log2(self, tokens: Array) -> Array:
        """log2 p (T,) of every token after those before it in its sequence; sequences begin with `begin`, whose own entry means nothing."""
        probability = self.unigrams[tokens]
        nodes = tokens.astype(np.int64)
        for length in range(2, self.order + 1):
            nodes = nodes[: len(tokens) - length + 1]
            after = tokens[length - 1 :]
            contexts = np.flatnonzero(nodes >= 0)
            found = self._children(length - 1, nodes[contexts], after[contexts])
            probability[contexts + length - 1] = self._interpolate(length, nodes[contexts], found, probability[contexts + length - 1])
            nodes = np.full(len(nodes), MISSING, dtype=np.int64)
            nodes[contexts] = found
        with np.errstate(divide="ignore"):  # `begin` has no probability
            return np.asarray(np.log2(probability))

    def bits(self, sequences: Sequence[Sequence[int]]) -> list[Array]:
        """-log2 p of every token of each sequence; nothing precedes a sequence but its beginning."""
        flat: list[int] = []
        ends = []
        for sequence in sequences:
            flat.append(self.begin)
            flat.extend(sequence)
            ends.append(len(flat))
        surprise = -self.log2(np.asarray(flat, dtype=np.int64))
        return [surprise[end - len(sequence) : end] for end, sequence in zip(ends, sequences)]

    def state(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The n-grams that the tokens end with: the number of that of one token, of two, …, up to `order - 1`; `MISSING` where unseen."""
        nodes: tuple[int, ...] = ()
        for token in tokens:
            nodes = self.advance(nodes, token)
        return nodes

    def advance(self, state: tuple[int, ...], token: int) -> tuple[int, ...]:
        """The state after one more token."""
        longer = [self._child(length, node, token) for length, node in enumerate(state[: self.order - 2], start=1)]
        return (token, *longer)[: self.order - 1]

    def distribution(self, state: tuple[int, ...]) -> Array:
        """The probabilities (V,) of the next token: the unigrams, with the successors of each longer context laid over them."""
        probability = self.unigrams.copy()
        for length, node in enumerate(state, start=1):
            if node == MISSING or self._totals[length][node] == 0:
                continue
            level = self.levels[length + 1]
            first, last = self.levels[length].children[node : node + 2]
            probability *= self._backoffs[length][node]
            counts = level.counts[first:last]
            probability[level.tokens[first:last]] += (counts - self._discount(length + 1, counts)) / self._totals[length][node]
        return probability

    def _unigrams(self) -> Array:
        counts = self.levels[1].counts.astype(np.float64)
        probability = np.full(self.size, 1.0 / (self.size - 1))
        probability[self.begin] = 0.0
        if self._totals[0][0] == 0:
            return probability  # fitted on nothing: every token is as likely
        counts -= self._discount(1, self.levels[1].counts)
        return np.asarray(counts / self._totals[0][0] + self._backoffs[0][0] * probability)

    def _interpolate(self, length: int, contexts: Array, found: Array, shorter: Array) -> Array:
        """The probability in the context where it was seen at all, else that of the shorter context."""
        totals = self._totals[length - 1][contexts]
        counts = np.where(found >= 0, self.levels[length].counts[found], 0)
        seen = (counts - self._discount(length, counts)) / np.maximum(totals, 1) + self._backoffs[length - 1][contexts] * shorter
        return np.where(totals > 0, seen, shorter)

    def _discount(self, length: int, counts: Array) -> Array:
        taken: Array = self.discounts[length][np.minimum(counts, 3)]
        return taken

    def _child(self, length: int, node: int, token: int) -> int:
        if node == MISSING:
            return MISSING
        first, last = self.levels[length].children[node : node + 2]
        place = int(first + np.searchsorted(self.levels[length + 1].tokens[first:last], token))
        return place if place < last and self.levels[length + 1].tokens[place] == token else MISSING

    def _children(self, length: int, nodes: Array, tokens: Array) -> Array:
        """`_child` of many at once: a binary search in which all take a step together."""
        below = self.levels[length + 1].tokens
        children = self.levels[length].children
        low, high = children[nodes].astype(np.int64), children[nodes + 1].astype(np.int64)
        ends = high.copy()
        while bool((low < high).any()):
            middle = (low + high) // 2
            smaller = (low < high) & (below[np.minimum(middle, len(below) - 1)] < tokens)
            low, high = np.where(smaller, middle + 1, low), np.where(smaller, high, middle)
        hit = (low < ends) & (below[np.minimum(low, len(below) - 1)] == tokens)
        return np.where(hit, low, MISSING)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grams:
    """What `_extend` counts. G n-grams, each with its prefix and its suffix of one token less."""

    nodes: Array  # (T,)
    counts: Array  # (G,)
    tokens: Array  # (G,)
    prefixes: Array  # (G,)
    suffixes: Array  # (G,)


def _extend(nodes: Array, tokens: Array, *, length: int, size: int, end: int) -> _Grams:
    """From the numbers of the n-grams of `length - 1` tokens to those of `length`; none reaches beyond an `end`."""
    stop = len(tokens) - length + 1
    starts = np.flatnonzero((nodes[:stop] >= 0) & (tokens[length - 2 : length - 2 + stop] != end)) if stop > 0 else np.zeros(0, np.int64)
    keys = nodes[starts].astype(np.int64) * size + tokens[starts + length - 1]
    order = np.argsort(keys, kind="stable")
    keys, starts = keys[order], starts[order]
    is_new = np.ones(len(keys), dtype=bool)
    is_new[1:] = keys[1:] != keys[:-1]
    firsts = np.flatnonzero(is_new)
    longer = np.full(len(tokens), MISSING, dtype=np.int32)
    longer[starts] = np.cumsum(is_new) - 1
    return _Grams(
        nodes=longer,
        counts=np.diff(np.append(firsts, len(keys))),
        tokens=keys[firsts] % size,
        prefixes=keys[firsts] // size,
        suffixes=nodes[starts[firsts] + 1],
    )


def discounts(counts: Array) -> Array:
    """What is taken off a count of 0, 1, 2 and 3 or more, (4,), estimated from how many n-grams have each count.

    A corpus too small to tell gets KenLM's fallback 1/2, 1, 3/2.
    """
    one, two, three, four = (int(np.count_nonzero(counts == number)) for number in (1, 2, 3, 4))
    fallback = np.array([0.0, 0.5, 1.0, 1.5])
    if not (one and two and three):
        return fallback
    share = one / (one + 2 * two)
    estimated = np.array([0.0, 1 - 2 * share * two / one, 2 - 3 * share * three / two, 3 - 4 * share * four / three])
    usable = np.all(estimated >= 0) and np.all(estimated <= np.arange(4)) and estimated[1] > 0
    return estimated if usable else fallback


def _context(below: Level, discount: Array, children: Array) -> tuple[Array, Array]:
    """For every context: the sum of its successors' counts, and the share of it that the discounts took off."""
    summed = np.concatenate([[0], np.cumsum(below.counts, dtype=np.int64)])
    totals = summed[children[1:]] - summed[children[:-1]]
    taken = np.concatenate([[0.0], np.cumsum(discount[np.minimum(below.counts, 3)])])
    return totals, ((taken[children[1:]] - taken[children[:-1]]) / np.maximum(totals, 1)).astype(np.float64)
