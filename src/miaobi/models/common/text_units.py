"""Captions in Chinese and English as rows of known features, and the text encoder in NumPy for use without torch.

Unusual: there is no tokenizer. A unit is a Han character or a Latin word; its features are the character and the pair that it opens, or the
word and its trigrams (Bojanowski et al., 2017, "Enriching word vectors with subword information"). Features are known by a stable 64-bit
hash; a model keeps the sorted hashes of those that it learned, so an unknown feature is left out instead of meaning something else, and a
word that was never seen is still read by its parts. Where no list is wanted, `hashed_text` gives rows of the same features.
Shapes: B texts, L units, F features a unit, W width.
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import DataError

UNITS = 24  # units of a text that are read; captions are short
FEATURES = 8  # features a unit
_UNIT = re.compile(r"[a-z]+(?:['’][a-z]+)?|[0-9]+|[㐀-䶿一-鿿豈-﫿]")
_HAN = re.compile(r"[㐀-䶿一-鿿豈-﫿]")

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]


@functools.cache
def _simplifier() -> Any:
    import opencc

    return opencc.OpenCC("t2s")


def normalise(text: str) -> str:
    """Compatibility forms folded, lower case, traditional characters simplified, accents removed from Latin letters."""
    text = unicodedata.normalize("NFKC", text).lower()
    if _HAN.search(text):
        text = _simplifier().convert(text)
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))


def units(text: str) -> list[list[str]]:
    """The features of every unit, in the order of the text.

    >>> units("红帽 cats")
    [['红', '红帽'], ['帽'], ['<cats>', '<ca', 'cat', 'ats', 'ts>']]
    """
    found = list(_UNIT.finditer(normalise(text)))
    features: list[list[str]] = []
    for match, after in zip(found, [*found[1:], None]):
        unit = match[0]
        if _HAN.match(unit):
            pair = after is not None and after.start() == match.end() and _HAN.match(after[0])
            features.append([unit, unit + after[0]] if pair and after is not None else [unit])
        else:
            word = f"<{unit}>"
            features.append([word, *(word[i : i + 3] for i in range(len(word) - 2))][:FEATURES])
    return features


def key(feature: str) -> int:
    """The stable hash of a feature: a positive int64."""
    return int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "big") >> 1


class Vocabulary:
    """The features that a model knows, as sorted hashes (N,). Row 0 of an embedding table is "nothing"; feature i has row i + 1."""

    def __init__(self, keys: NDArray[np.int64]) -> None:
        self.keys = keys
        self._rows: dict[str, NDArray[np.int64]] = {}  # captions come again in every epoch

    @classmethod
    def fit(cls, texts: Iterable[str], *, size: int, min_count: int = 2) -> Vocabulary:
        """The `size` most frequent features of the texts."""
        counts: Counter[str] = Counter()
        for text, times in Counter(texts).items():
            for features in units(text):
                counts.update(dict.fromkeys(features, times))
        chosen = sorted((-count, feature) for feature, count in counts.items() if count >= min_count)[:size]
        return cls(np.unique(np.array([key(feature) for _, feature in chosen], dtype=np.int64)))

    def rows(self, texts: Sequence[str]) -> Rows:
        """(B, L, F) rows of an embedding table, padded by 0; units of which nothing is known are left out. L is at least 1."""
        found = [self._of(text) for text in texts]
        rows = np.zeros((len(texts), max([1, *map(len, found)]), FEATURES), dtype=np.int64)
        for number, part in enumerate(found):
            rows[number, : len(part)] = part
        return rows

    def _of(self, text: str) -> NDArray[np.int64]:
        """(L, F) rows of one text."""
        if text not in self._rows:
            if len(self._rows) >= 200_000:  # a long-running service does not collect its prompts
                self._rows.clear()
            known = [[row for feature in features if (row := self._row(feature))] for features in units(text)]
            known = [rows for rows in known if rows][:UNITS]
            self._rows[text] = np.array([rows + [0] * (FEATURES - len(rows)) for rows in known], dtype=np.int64).reshape(-1, FEATURES)
        return self._rows[text]

    def _row(self, feature: str) -> int:
        number = key(feature)
        place = int(np.searchsorted(self.keys, number))
        return place + 1 if place < len(self.keys) and self.keys[place] == number else 0

    def __getstate__(self) -> dict[str, Any]:
        return {"keys": self.keys, "_rows": {}}


def caption_words(captions: Iterable[str], *, size: int, min_count: int) -> NDArray[np.int64]:
    """The keys of a vocabulary of captions.

    Raises:
        DataError: there are no captions.
    """
    keys = Vocabulary.fit(captions, size=size, min_count=min_count).keys
    if not len(keys):
        raise DataError("no record has a caption, which the model is to be steered by. Give the records captions, or leave out text")
    return keys


def encode(weights: Mapping[str, NDArray[Any]], rows: Rows, *, heads: int, layers: int) -> tuple[Floats, Floats]:
    """`TextEncoder.forward` in NumPy: rows (B, L, F) to a vector (B, D) and tokens (B, K, D)."""
    w = {name: array.astype(np.float32) for name, array in weights.items() if name != "table.weight"}
    x, mask = _embed(weights["table.weight"], w, rows)  # (B, 1 + L, W), (B, 1 + L)
    for layer in range(layers):
        own = {name.removeprefix(f"blocks.{layer}."): array for name, array in w.items() if name.startswith(f"blocks.{layer}.")}
        normed = _norm(x, own["norm1.weight"], own["norm1.bias"])
        query, memory, value = np.split(normed @ own["mix.weight"].T, 3, axis=-1)
        x = x + _attend(query, memory, value, mask, heads) @ own["output.weight"].T
        inner = _norm(x, own["norm2.weight"], own["norm2.bias"]) @ own["up.weight"].T + own["up.bias"]
        x = x + _gelu(inner) @ own["down.weight"].T + own["down.bias"]
    x = _norm(x, w["norm.weight"], w["norm.bias"])
    memory, value = np.split(x @ w["pool.weight"].T, 2, axis=-1)
    queries = np.broadcast_to(w["queries"], (len(x), *w["queries"].shape))
    pooled = _attend(queries, memory, value, mask, heads) @ w["out.weight"].T + w["out.bias"]  # (B, 1 + K, D)
    return pooled[:, 0], pooled[:, 1:]


def _embed(table: NDArray[Any], w: Mapping[str, Floats], rows: Rows) -> tuple[Floats, NDArray[np.bool_]]:
    """Sums of features by unit, with places, behind the mark that begins every text."""
    counts = np.maximum((rows > 0).sum(-1, keepdims=True), 1).astype(np.float32)
    x = table[rows].astype(np.float32).sum(2) / np.sqrt(counts)  # (B, L, W)
    x = x + w["places"][: rows.shape[1]]
    begin = np.broadcast_to(w["begin"], (len(x), 1, x.shape[-1]))
    mask = np.concatenate([np.ones((len(x), 1), dtype=bool), (rows > 0).any(-1)], axis=1)
    return np.concatenate([begin, x], axis=1), mask


def _attend(query: Floats, memory: Floats, value: Floats, mask: NDArray[np.bool_], heads: int) -> Floats:
    """Masked attention with `heads` heads."""
    B, Q, W = query.shape

    def split(x: Floats) -> Floats:
        return x.reshape(B, x.shape[1], heads, W // heads).transpose(0, 2, 1, 3)  # (B, heads, L, D)

    scores = split(query) @ split(memory).swapaxes(-1, -2) / np.sqrt(np.float32(W // heads))
    scores = np.where(mask[:, None, None], scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    mixed: Floats = (weights @ split(value)).transpose(0, 2, 1, 3).reshape(B, Q, W)
    return mixed


def _norm(x: Floats, weight: Floats, bias: Floats) -> Floats:
    centred = x - x.mean(-1, keepdims=True)
    result: Floats = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(1e-5)) * weight + bias
    return result


def _gelu(x: Floats) -> Floats:
    """GELU by its tanh approximation, as torch has it."""
    result: Floats = 0.5 * x * (1 + np.tanh(np.float32(0.7978845608) * (x + np.float32(0.044715) * x**3)))
    return result
