"""Counts as named arrays of the narrowest integers that hold them, for safetensors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from miaobi.models.ngram.kneser_ney import Array, KneserNey, Level


def pack(counts: KneserNey) -> dict[str, Array]:
    """For n-grams of each length: last tokens, adjusted counts, and how many longer n-grams each has."""
    arrays: dict[str, Array] = {}
    for length, level in enumerate(counts.levels[1:], start=1):
        arrays[f"counts_{length}"] = narrow(level.counts)
        if length > 1:
            arrays[f"tokens_{length}"] = narrow(level.tokens)
        if length < counts.order:
            arrays[f"children_{length}"] = narrow(np.diff(level.children))
    return arrays


def unpack(arrays: Mapping[str, Array], *, order: int, begin: int) -> KneserNey:
    """The counts that `pack` packed.

    Raises:
        KeyError: an array is missing.
        ValueError: the arrays do not fit together.
    """
    size = len(arrays["counts_1"])
    if size != begin + 2:
        raise ValueError(f"{size} counts for a vocabulary of {begin}")
    levels = [Level(tokens=np.zeros(1, np.uint8), counts=np.zeros(1, np.uint8), children=np.array([0, size]))]
    for length in range(1, order + 1):
        counts = arrays[f"counts_{length}"]
        tokens = arrays[f"tokens_{length}"] if length > 1 else np.arange(size)
        children = (
            np.concatenate([[0], np.cumsum(arrays[f"children_{length}"], dtype=np.int64)]) if length < order else np.zeros(0, np.int64)
        )
        if len(counts) != levels[-1].children[-1] or len(tokens) != len(counts) or int(tokens.max(initial=0)) >= size:
            raise ValueError(f"the arrays of length {length} do not fit together")
        levels.append(Level(tokens=tokens, counts=counts, children=children))
    return KneserNey(levels, begin=begin)


def narrow(values: Array) -> Array:
    """The same numbers, none below 0, in the narrowest unsigned type."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))
