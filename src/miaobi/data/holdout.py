"""What is held out by a field: whole values (a concept that training never sees) and pairs (a concept that it sees in other styles only).

Everything is decided by hashes of contents and the seed, never by the order of records. Values whose records look alike count as one, so a
held-out picture has no twin in training under another name; a pair is held out only when nothing in training looks like it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import DataError
from miaobi.core.recipe import Split

Keys = NDArray[np.uint64]
NOT_HELD, GROUP, PAIR = range(3)
HELD = ("", "group", "pair")  # what stands in `meta.held`


def num_keys(split: Split) -> int:
    """How many numbers `group_keys` makes of a record."""
    return 0 if not split.by else 1 if not split.across else 2


def group_keys(meta: Mapping[str, Any], split: Split) -> tuple[int, ...]:
    """A record's value of the field that groups, and its pair with the other field, as 64-bit numbers; 0 for a record without the field."""
    value = meta.get(split.by) if split.by else None
    if value is None:
        return (0,) * num_keys(split)
    keys = (_number(f"{value}"), _number(f"{value}\0{meta.get(split.across)}"))
    return keys[: num_keys(split)]


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def shuffled(keys: Keys, seed: int, what: str) -> Keys:
    """Numbers that order `keys` at random, by key and seed alone (SplitMix64, Steele et al. 2014)."""
    start = int.from_bytes(hashlib.blake2b(f"{what} {seed}".encode(), digest_size=8).digest(), "big")
    with np.errstate(over="ignore"):
        mixed: Keys = keys ^ np.uint64(start)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        return mixed ^ (mixed >> np.uint64(31))


def hold_out(
    split: Split, *, groups: Keys, pairs: Keys, side: Keys, alone: NDArray[np.bool_], free: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """What of all records (n,) is held out: NOT_HELD, GROUP or PAIR.

    `groups` and `pairs` are the numbers of `group_keys`, `side` names what must stay together, `alone` are the records that no other looks
    like, `free` those that are neither dropped nor in a held-out share already.

    Raises:
        DataError: fewer values or pairs than are to be held out.
    """
    held = np.zeros(len(groups), np.uint8)
    named = free & (groups != 0)
    if split.hold:
        held[free & np.isin(side, _whole(split, groups[named], side[named]))] = GROUP
        named &= held == NOT_HELD
    if split.pairs:
        held[named & np.isin(pairs, _single(split, groups[named], pairs[named], alone[named]))] = PAIR
    return held


def _whole(split: Split, groups: Keys, side: Keys) -> Keys:
    """The sides that hold exactly `hold` values together, taken in a random order; one with more values than are left is passed over."""
    members = np.unique(np.stack([side, groups], axis=1), axis=0)  # (num_values, 2)
    sides, counts = np.unique(members[:, 0], return_counts=True)
    chosen, left = [], split.hold
    for number in np.argsort(shuffled(sides, split.seed, "hold"), kind="stable"):
        if 0 < counts[number] <= left:
            chosen.append(sides[number])
            left -= int(counts[number])
    if left or len(chosen) == len(sides):
        raise DataError(
            "data.split.hold wants {hold} values of '{by}', but only {known} can be held out",
            hold=split.hold,
            by=split.by,
            known=len(members),
        )
    return np.array(chosen, np.uint64)


def _single(split: Split, groups: Keys, pairs: Keys, alone: NDArray[np.bool_]) -> Keys:
    """`pairs` pairs of different values in a random order, each of a value that has another pair."""
    distinct, first = np.unique(pairs, return_index=True)
    shared = np.unique(pairs[~alone])  # a pair counts as alone when all of its records are
    values, counts = np.unique(groups[first], return_counts=True)
    several = values[counts > 1]
    candidates = ~np.isin(distinct, shared) & np.isin(groups[first], several)
    distinct, of = distinct[candidates], groups[first][candidates]
    order = np.argsort(shuffled(distinct, split.seed, "pairs"), kind="stable")
    _, earliest = np.unique(of[order], return_index=True)  # one pair a value
    chosen = distinct[order][np.sort(earliest)][: split.pairs]
    if len(chosen) < split.pairs:
        raise DataError(
            "data.split.pairs wants {pairs} pairs of '{by}' and '{across}', but only {known} can be held out",
            pairs=split.pairs,
            by=split.by,
            across=split.across,
            known=len(chosen),
        )
    return chosen
