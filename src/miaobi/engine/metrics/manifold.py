"""Whether pictures are good and whether they are many: precision, recall, density and coverage, and the nearest picture of a set.

The real pictures' manifold is a ball round each, as far as its k-th neighbour. Precision and recall (Kynkäänniemi et al. 2019, k = 3): the
share of made pictures in a ball of the real, and of real ones in a ball of the made. Density and coverage (Naeem et al. 2020, k = 5) do not
trust one outlying ball: in how many real balls a made picture lies, over k, and the share of real balls with a made picture in them.
Each is a mean over pictures, so it comes as one number a picture.

N and M pictures, D features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from miaobi.engine.metrics import Unmeasurable

ROWS = 512  # of a distance matrix at once

Floats = NDArray[np.float64]
Features = NDArray[np.floating]


def precision(made: Features, real: Features, *, k: int = 3) -> Floats:
    """Of every made picture, 1 when it lies among the real ones: (N,)."""
    return _inside(made, real, radii(real, k))


def recall(made: Features, real: Features, *, k: int = 3) -> Floats:
    """Of every real picture, 1 when it lies among the made ones: (M,)."""
    return _inside(real, made, radii(made, k))


def density(made: Features, real: Features, *, k: int = 5) -> Floats:
    """Of every made picture, the number of real balls around it over k; 1 on average for real pictures: (N,)."""
    balls = radii(real, k)
    return np.concatenate([(rows <= balls).sum(axis=1) / k for rows in distances(made, real)])


def coverage(made: Features, real: Features, *, k: int = 5) -> Floats:
    """Of every real picture, 1 when a made one lies in its ball: (M,)."""
    balls = radii(real, k)
    nearest = np.concatenate([rows.min(axis=1) for rows in distances(real, made)])
    return (nearest <= balls).astype(np.float64)


def nearest(queries: Features, known: Features) -> tuple[NDArray[np.intp], Floats]:
    """The place in `known` of each query's nearest neighbour, and its distance: (N,), (N,)."""
    places = np.concatenate([rows.argmin(axis=1) for rows in distances(queries, known)])
    gaps = queries.astype(np.float64) - known[places].astype(np.float64)  # the product above loses digits when two are nearly equal
    return places, np.sqrt((gaps**2).sum(axis=1))


def closer(a: Floats, b: Floats) -> Floats:
    """Of every number of `a`, the share of `b` that is greater, ties half: its mean is Mann and Whitney's U over N M. (N,)"""
    order = np.sort(b)
    above = len(b) - np.searchsorted(order, a, side="right")
    ties = np.searchsorted(order, a, side="right") - np.searchsorted(order, a, side="left")
    return np.asarray((above + ties / 2) / len(b), dtype=np.float64)


def radii(x: Features, k: int) -> Floats:
    """The distance from every picture to its k-th neighbour: (N,).

    Raises:
        Unmeasurable: there are not k others.
    """
    if len(x) <= k:
        raise Unmeasurable("neighbourhoods of {k} need more than {k} pictures on either side; there are {count}", k=k, count=len(x))
    found = []
    for start, rows in zip(range(0, len(x), ROWS), distances(x, x)):
        rows[np.arange(len(rows)), np.arange(start, start + len(rows))] = np.inf  # nobody is their own neighbour
        found.append(np.partition(rows, k - 1, axis=1)[:, k - 1])
    return np.concatenate(found)


def distances(a: Features, b: Features) -> Iterator[Floats]:
    """Euclidean distances between all rows, a block of rows at a time: (≤ ROWS, M)."""
    centre = b.mean(axis=0, dtype=np.float64)  # small numbers keep more digits in the products below
    right = b - centre
    squares = (right**2).sum(axis=1)
    for start in range(0, len(a), ROWS):
        left = a[start : start + ROWS] - centre
        yield np.sqrt(np.maximum((left**2).sum(axis=1)[:, None] + squares - 2 * left @ right.T, 0))


def _inside(queries: Features, centres: Features, balls: Floats) -> Floats:
    return np.concatenate([(rows <= balls).any(axis=1) for rows in distances(queries, centres)]).astype(np.float64)
