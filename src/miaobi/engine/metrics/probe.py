"""A linear classifier on features: does a picture have the style (or the class) that was asked for?

Ridge regression onto the classes, centred and scaled; its strength is chosen by leaving one out, which for a ridge needs no second fit:
the left-out answer is (ŷ - h y) / (1 - h), with the leverage h. It learns on real pictures only and says how often it is right on others.

N pictures, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miaobi.engine.metrics import Unmeasurable

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the penalty, over the number of pictures; features have variance 1

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Probe:
    """A classifier that `fit` made."""

    names: tuple[str, ...]
    mean: Floats  # (D,)
    scale: Floats  # (D,)
    weights: Floats  # (D, K)
    bias: Floats  # (K,)
    known: float  # share of the pictures that a fit without them would have classed rightly

    def __call__(self, features: NDArray[np.floating]) -> list[str]:
        """The class of every picture."""
        answers = ((features - self.mean) / self.scale) @ self.weights + self.bias
        return [self.names[index] for index in answers.argmax(axis=1)]


def fit(features: NDArray[np.floating], labels: Sequence[str]) -> Probe:
    """Learn the labels of pictures (N, D).

    Raises:
        Unmeasurable: there are fewer than two classes.
    """
    names = tuple(sorted(set(labels)))
    if len(names) < 2:
        raise Unmeasurable("a classifier needs at least two classes of pictures; there is {count}", count=len(names))
    x = features.astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-6, scale, 1.0)
    places = np.array([names.index(label) for label in labels])
    targets = np.eye(len(names))[places]
    bias = targets.mean(axis=0)
    left, values, right = np.linalg.svd((x - mean) / scale, full_matrices=False)
    projected = left.T @ (targets - bias)
    known, best = max((_left_out(left, values, projected, targets - bias, places, bias, strength), strength) for strength in STRENGTHS)
    shrunk = values / (values**2 + best * len(x))
    return Probe(names, mean, scale, right.T @ (shrunk[:, None] * projected), bias, known)


def _left_out(
    left: Floats, values: Floats, projected: Floats, targets: Floats, places: NDArray[np.intp], bias: Floats, strength: float
) -> float:
    """The share of pictures that a fit without them would have classed rightly."""
    kept = values**2 / (values**2 + strength * len(left))
    leverage = np.minimum((left**2 * kept).sum(axis=1), 1 - 1e-9)[:, None]
    answers = (left @ (kept[:, None] * projected) - leverage * targets) / (1 - leverage)
    return float(((answers + bias).argmax(axis=1) == places).mean())
