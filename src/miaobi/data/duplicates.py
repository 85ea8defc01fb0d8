"""Which records are the same, nearly the same, or alike enough to stay on one side of the split: over a corpus of any size, on disk.

Every record leaves a row of numbers in its part's `.npy` (a 128-bit content key, its place, its MinHash bands). Here the columns of all
parts are sorted, a share of the key space at a time, so memory stays the same however large the corpus is; forests of alike records lie in
mapped files. Candidates are compared by the real Jaccard similarity of their n-grams. What is found depends on contents only, never on
their order. MinHash: Broder (1997). Bands: Mining of Massive Datasets, chapter 3. Signatures: rensa, 13 times as fast as datasketch here.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import json
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import MissingExtra
from miaobi.core.recipe import Split
from miaobi.data import looks
from miaobi.data.holdout import hold_out, num_keys, shuffled
from miaobi.data.steps.dedup import Dedup

Keys = NDArray[np.uint64]
KEY_HIGH, KEY_LOW, OFFSET, LENGTH, FIRST_BAND = range(5)
SHARE_ROWS = 1 << 20
KEPT, EXACT, NEAR = range(3)
MOST_LETTERS = 100_000
_LEADERS = 4


def letters(text: str) -> str:
    """What counts when texts are compared: letters and digits, in one Unicode form and case."""
    if not unicodedata.is_normalized("NFKC", text):
        text = unicodedata.normalize("NFKC", text)
    return re.sub(r"[\W_]+", "", text).casefold()


def content_key(text: str, blob: bytes = b"", within: str = "") -> tuple[int, int]:
    """128 bits of the compared letters, of the bytes of media and of what parts equal records, as two numbers."""
    hashed = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)
    if blob or within:
        hashed.update(within.encode("utf-8", "surrogatepass") + b"\0" + blob)
    digest = hashed.digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")


def shingles(text: str, n: int) -> set[str]:
    """The n-grams of the compared letters; a shorter text is its own only one, a very long text counts by its beginning."""
    text = text[:MOST_LETTERS]
    return {text[start : start + n] for start in range(max(1, len(text) - n + 1))}


@functools.cache
def banding(similarity: float, permutations: int) -> tuple[int, int]:
    """How many bands of how many rows find pairs at `similarity`, missing few.

    A pair of similarity s meets in a band with probability 1 - (1 - s^rows)^bands. A missed pair costs ten times an idle candidate here,
    because candidates are compared for real afterwards.
    """
    s = np.linspace(0, 1, 201)
    best, least = (1, 1), np.inf
    for rows in range(1, permutations + 1):
        for bands in range(1, min(permutations // rows, 64) + 1):
            meets = 1 - (1 - s**rows) ** bands
            cost = meets[s < similarity].sum() + 10 * (1 - meets[s >= similarity]).sum()
            if cost < least:
                best, least = (bands, rows), cost
    return best


def signer(options: Dedup) -> Callable[[Sequence[set[str]]], Keys]:
    """A function from sets (a text's n-grams, a picture's marks) to band keys (n, bands).

    Raises:
        MissingExtra: rensa is not installed.
    """
    try:
        import rensa
    except ImportError:
        raise MissingExtra("finding near-duplicates", "data", "rensa") from None
    bands, rows = banding(options.group, options.permutations)
    rng = np.random.Generator(np.random.PCG64(options.seed))
    weights = rng.integers(0, 1 << 63, size=(bands, rows), dtype=np.uint64) * np.uint64(2) + np.uint64(1)

    def sign(sets: Sequence[set[str]]) -> Keys:
        digests = rensa.RMinHash.digests_from_token_sets([list(tokens) for tokens in sets], options.permutations, options.seed)
        minima = np.array(digests, dtype=np.uint64)[:, : bands * rows].reshape(len(sets), bands, rows)  # (n, bands, rows)
        keys = (minima * weights).sum(axis=2, dtype=np.uint64)
        keys ^= keys >> np.uint64(29)  # the low bits of a sum of products are poor
        scattered: Keys = keys * np.uint64(0xBF58476D1CE4E5B9)
        return scattered

    return sign


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file of kept lines, and beside it the numbers of its records (n, 4 + bands + fields of the split).

    They are read a column at a time and never mapped.
    """

    lines: Path
    num_records: int
    num_columns: int
    first_byte: int  # where the numbers begin, behind the header of the `.npy`

    @classmethod
    def open(cls, lines: Path) -> Part:
        """The part of which `lines` are the lines."""
        keys = np.load(lines.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        assert isinstance(keys, np.memmap)
        return cls(lines=lines, num_records=len(keys), num_columns=keys.shape[1], first_byte=keys.offset)

    def column(self, number: int) -> Keys:
        """One column of the numbers (n,)."""
        place = self.first_byte + 8 * self.num_records * number
        return np.fromfile(self.lines.with_suffix(".npy"), dtype=np.uint64, count=self.num_records, offset=place)

    def line(self, row: int) -> bytes:
        """One line, by its place."""
        with self.lines.with_suffix(".npy").open("rb") as file:
            file.seek(self.first_byte + 8 * (self.num_records * OFFSET + row))
            place = int.from_bytes(file.read(8), sys.byteorder)
        with self.lines.open("rb") as file:
            file.seek(place)
            return file.readline()


class Parts(Sequence[Part]):
    """All parts in order, and records by their number in the whole corpus."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self.starts = [0]
        for part in parts:
            self.starts.append(self.starts[-1] + part.num_records)
        self.num_records = self.starts[-1]

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, number: Any) -> Any:
        return self._parts[number]

    def line(self, index: int) -> bytes:
        """The line of record `index`."""
        number = bisect.bisect_right(self.starts, index) - 1
        return self._parts[number].line(index - self.starts[number])

    def last_column(self, place: int) -> Keys:
        """The column (n,) that is number `place` from the end, of all records."""
        columns = [part.column(part.num_columns - place) for part in self._parts]
        return np.concatenate(columns) if columns else np.zeros(0, np.uint64)

    def columns(self, wanted: Sequence[int], share: int, shares: int) -> tuple[NDArray[np.int64], Keys]:
        """Record numbers (n,) and the wanted columns (n, len(wanted)) of the records whose first wanted column falls in the share."""
        indices, values = [], []
        for start, part in zip(self.starts, self._parts, strict=False):
            first = part.column(wanted[0])
            rows = np.flatnonzero(first % np.uint64(shares) == share) if shares > 1 else np.arange(len(first))
            indices.append(rows + start)
            values.append(np.stack([first[rows], *(part.column(column)[rows] for column in wanted[1:])], axis=1))
        if not indices:
            return np.zeros(0, np.int64), np.zeros((0, len(wanted)), np.uint64)
        return np.concatenate(indices), np.concatenate(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What becomes of each record (n,): KEPT, EXACT or NEAR; of what record it is a copy; the content that decides its side.

    `held` says what is held out by a field, whatever the side.
    """

    fate: NDArray[np.uint8]
    original: NDArray[np.int64]
    side: Keys
    held: NDArray[np.uint8]


def mark(
    parts: Parts,
    folder: Path,
    *,
    exact: bool,
    near: Dedup | None,
    group: Dedup | None,
    split: Split,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Marks:
    """Find duplicates and groups: `near` drops, `group` (often the same options) only holds together. The arrays are files in `folder`."""
    n = parts.num_records
    marks = Marks(
        fate=_mapped(folder / "fate.bin", np.uint8, n),
        original=_mapped(folder / "original.bin", np.int64, n),
        side=_mapped(folder / "side.bin", np.uint64, n),
        held=_mapped(folder / "held.bin", np.uint8, n),
    )
    for start, part in zip(parts.starts, parts, strict=False):
        marks.side[start : start + part.num_records] = part.column(KEY_HIGH)
    marks.original[:] = np.arange(n)
    if exact:
        _mark_exact(parts, marks)
    if group is not None:
        same, together = Forest(_mapped(folder / "same.bin", np.int64, n)), Forest(_mapped(folder / "together.bin", np.int64, n))
        _find_alike(parts, marks, group, same, together, on_progress)
        if near is not None:
            _mark_near(marks, same)
        alone = _alone(marks, together)
        groups = _join_groups(parts, marks, split, together)
        _join_sides(marks, together)
        if groups is not None:
            _hold_out(parts, marks, split, groups, alone)
    return marks


def _mapped(path: Path, kind: Any, n: int) -> NDArray[Any]:
    """An array of zeros in a file, so that the system may write it out when memory is short."""
    return np.memmap(path, dtype=kind, mode="w+", shape=(n,)) if n else np.zeros(0, kind)


def _runs(order: NDArray[np.int64], values: Keys) -> Iterator[NDArray[np.int64]]:
    """Groups of positions whose rows of `values` are equal; `order` sorts the rows."""
    ordered = values[order]
    fresh = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)]) if len(ordered) else np.zeros(0, bool)
    starts = np.flatnonzero(fresh)
    ends = np.append(starts[1:], len(ordered))
    for number in np.flatnonzero(ends - starts > 1):
        yield order[starts[number] : ends[number]]


def _mark_exact(parts: Parts, marks: Marks) -> None:
    """The first of equal contents stays."""
    shares = parts.num_records // SHARE_ROWS + 1
    for share in range(shares):
        indices, values = parts.columns((KEY_HIGH, KEY_LOW), share, shares)
        for run in _runs(np.lexsort((indices, values[:, 1], values[:, 0])), values):
            marks.fate[indices[run[1:]]] = EXACT
            marks.original[indices[run[1:]]] = indices[run[0]]


class Forest:
    """Disjoint sets over record numbers; the root of a set is its smallest number (Galler and Fischer, 1964)."""

    def __init__(self, parents: NDArray[np.int64]) -> None:
        self._parents = parents
        parents[:] = np.arange(len(parents))

    def root(self, index: int) -> int:
        """The smallest number of the set; paths are halved on the way."""
        parents = self._parents
        while (parent := int(parents[index])) != index:
            parents[index] = parents[parent]
            index = parent
        return index

    def join(self, a: int, b: int) -> None:
        """Make one set of two."""
        a, b = self.root(a), self.root(b)
        self._parents[max(a, b)] = min(a, b)

    def members(self) -> NDArray[np.int64]:
        """Numbers that are not their own root."""
        return np.flatnonzero(self._parents != np.arange(len(self._parents)))


def _find_alike(
    parts: Parts, marks: Marks, options: Dedup, same: Forest, together: Forest, on_progress: Callable[[int, int], None]
) -> None:
    """Join records that share a band and are alike for real: in `same` at the threshold, in `together` at the group's."""
    shares = parts.num_records // SHARE_ROWS + 1
    bands = banding(options.group, options.permutations)[0]
    similarity = Similarity(parts, options)
    for band in range(bands):
        for share in range(shares):
            indices, values = parts.columns((FIRST_BAND + band, KEY_HIGH), share, shares)
            alive = marks.fate[indices] == KEPT
            indices, values = indices[alive], values[alive]
            for run in _runs(np.lexsort((indices, values[:, 1], values[:, 0])), values[:, :1]):
                _join_bucket([int(index) for index in indices[run]], similarity, same, together)
        on_progress(band + 1, bands)


def _join_bucket(bucket: Sequence[int], similarity: Similarity, same: Forest, together: Forest) -> None:
    """Compare the records of a bucket, which come in the order of their contents, with its first few that are unlike each other.

    All pairs of a bucket would be a square of its size, and a bucket of boilerplate may be the whole corpus.
    """
    leaders: list[int] = []
    for index in bucket:
        for leader in leaders:
            if same.root(leader) == same.root(index):
                break
            is_alike, is_same = similarity(leader, index)
            if is_alike:
                together.join(leader, index)
            if is_same:
                same.join(leader, index)
                break
        else:
            if len(leaders) < _LEADERS:
                leaders.append(index)


class Similarity:
    """Whether two records are alike, and whether they are nearly the same, by the Jaccard similarity of their sets.

    Texts are compared by n-grams, pictures and scores by marks; a method that is for the other kind holds alike ones together but drops
    none. The sets of the last few thousand records are remembered.
    """

    def __init__(self, parts: Parts, options: Dedup) -> None:
        self._parts = parts
        self._options = options
        self._usual = Dedup(method="picture" if options.method == "minhash" else "minhash")
        self._set = functools.lru_cache(maxsize=1 << 12)(self._read)
        self._pair = functools.lru_cache(maxsize=1 << 16)(self._compare)

    def __call__(self, a: int, b: int) -> tuple[bool, bool]:
        return self._pair(min(a, b), max(a, b))

    def _read(self, index: int) -> tuple[bool, set[str], Any]:
        values = json.loads(self._parts.line(index))
        within = values["meta"].get(self._options.within) if self._options.within else None
        if values.get("look"):
            return True, looks.marks(values["look"]), within
        text = values["text"]
        return False, shingles(letters(text if isinstance(text, str) else "\n".join(text)), self._options.ngram), within

    def _compare(self, a: int, b: int) -> tuple[bool, bool]:
        (is_picture, first, within), (other, second, of_other) = self._set(a), self._set(b)
        if is_picture != other:
            return False, False
        common = len(first & second)
        alike = common / (len(first) + len(second) - common)
        if is_picture == (self._options.method in ("picture", "score")):
            return alike >= self._options.group, alike >= self._options.threshold and within == of_other
        return alike >= self._usual.group, False


def _alone(marks: Marks, together: Forest) -> NDArray[np.bool_]:
    """Which records (n,) no other kept one looks like."""
    alone = np.ones(len(marks.fate), bool)
    for index in together.members():
        alone[index] = alone[together.root(int(index))] = False
    return alone


def _join_groups(parts: Parts, marks: Marks, split: Split, together: Forest) -> Keys | None:
    """Join kept records with the same value of the field that the split goes by; the numbers of those values (n,)."""
    if not split.by:
        return None
    groups = parts.last_column(num_keys(split))
    for run in _runs(np.argsort(groups, kind="stable"), groups[:, None]):
        alive = run[(marks.fate[run] == KEPT) & (groups[run] != 0)]
        for index in alive[1:]:
            together.join(int(alive[0]), int(index))
    return groups


def _hold_out(parts: Parts, marks: Marks, split: Split, groups: Keys, alone: NDArray[np.bool_]) -> None:
    """Mark what the split holds out by its field, beside the shares."""
    free = (marks.fate == KEPT) & (side_of(marks.side, val=split.val, test=split.test, seed=split.seed) == 0)
    pairs = parts.last_column(1)
    marks.held[:] = hold_out(split, groups=groups, pairs=pairs, side=np.asarray(marks.side), alone=alone, free=free)


def _mark_near(marks: Marks, same: Forest) -> None:
    """The first of a set of nearly equal records stays."""
    for index in same.members():
        marks.fate[index] = NEAR
        marks.original[index] = same.root(int(index))


def _join_sides(marks: Marks, together: Forest) -> None:
    """Records that belong together take the smallest content key among them, so that one number decides for all."""
    least: dict[int, int] = {}
    members = [int(index) for index in together.members()]
    for index in members:
        root = together.root(index)
        least[root] = min(least.get(root, int(marks.side[root])), int(marks.side[index]))
    for index in members:
        marks.side[index] = least[together.root(index)]
    for root, side in least.items():
        marks.side[root] = side


def side_of(side: Keys, *, val: float, test: float, seed: int) -> NDArray[np.uint8]:
    """0 train, 1 val, 2 test for each content key: a hash of content and seed alone."""
    share = shuffled(np.asarray(side), seed, "split").astype(np.float64) / 2.0**64
    return np.where(share < val, 1, np.where(share < val + test, 2, 0)).astype(np.uint8)
