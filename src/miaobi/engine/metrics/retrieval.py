"""Whether a picture shows what was asked: its caption is looked for among others, and it among other pictures, by a model of both.

Top-1 of 100 is usually estimated with 99 others drawn at random. The mean over all draws has a closed form, so there is nothing to draw:
with r - 1 of M - 1 others better than the right one, no better one is among the 99 in C(M - r, 99) of C(M - 1, 99) draws.

N pictures with their captions, E numbers of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import UsageError
from miaobi.core.protocols import Model
from miaobi.core.types import Modality

SCORER = "scorer"  # the built-in model that compares pictures and captions
SEEN = frozenset({Modality.IMAGE, Modality.VIDEO})  # what it can look at
CANDIDATES = 100
ROWS = 1024
TIE = 1e-6  # so little is no difference between float32 vectors; a tie is a miss, for a model that finds all alike finds nothing

Floats = NDArray[np.float64]


@runtime_checkable
class ImageText(Protocol):
    """A model that puts pictures and texts into one space, as unit vectors: what belongs together lies together."""

    def embed_pictures(self, pixels: Sequence[NDArray[np.uint8]], /) -> NDArray[np.float32]:
        """Of pictures (H, W, 4): (N, E)."""
        ...

    def embed_texts(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Of texts in any of its languages: (N, E)."""
        ...


def as_judge(model: Model, *, where: str = "evaluate.scorer") -> ImageText:
    """The model that `where` names as a judge of pictures and captions.

    Raises:
        UsageError: it embeds none.
    """
    if not isinstance(model, ImageText):
        raise UsageError(
            "{where} names {name}, which does not embed pictures and captions; a model of the family scorer does",
            where=where,
            name=model.card.name,
        )
    return model


def top1(queries: NDArray[np.floating], candidates: NDArray[np.floating], keys: Sequence[str], *, among: int = CANDIDATES) -> Floats:
    """How probably each query finds its own candidate first among `among`, the others drawn at random: (N,).

    Args:
        queries: unit vectors (N, E).
        candidates: unit vectors (N, E); row i belongs to query i.
        keys: what the pairs show; a candidate with the key of the query is no wrong answer and is never among the others.
    """
    names = {key: number for number, key in enumerate(sorted(set(keys)))}
    kinds = np.array([names[key] for key in keys])
    found = []
    for start in range(0, len(queries), ROWS):
        rows = slice(start, start + ROWS)
        likeness = queries[rows].astype(np.float64) @ candidates.T.astype(np.float64)
        own = np.einsum("ne,ne->n", queries[rows].astype(np.float64), candidates[rows].astype(np.float64))
        others = kinds[rows, None] != kinds
        better = ((likeness > own[:, None] - TIE) & others).sum(axis=1)
        found += [unbeaten(int(b), int(m), among) for b, m in zip(better, others.sum(axis=1))]
    return np.array(found)


def unbeaten(better: int, others: int, among: int) -> float:
    """The probability that `among - 1` of `others`, drawn without replacement, hold none of the `better` ones.

    >>> unbeaten(0, 500, 100), unbeaten(1, 99, 100), unbeaten(1, 198, 100)
    (1.0, 0.0, 0.5)
    """
    drawn = min(among - 1, others)
    steps = np.arange(drawn)
    return float(np.prod(np.maximum(others - better - steps, 0) / (others - steps)))
