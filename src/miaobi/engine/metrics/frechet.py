"""How far a set of pictures is from another: Fréchet distance and kernel distance of their feature vectors.

Fréchet distance (Heusel et al. 2017) takes both sets for Gaussians. The trace of the root of the product of the two covariances is the
sum of the singular values of A Bᵀ, where A and B are the centred sets over √(n - 1): no covariance is formed, no root is taken of a matrix
that is not symmetric, and sets smaller than the number of features are exact. The distance is biased upwards by about 1 / n, so it
compares sets of one size only. Kernel distance (Bińkowski et al. 2018), the maximum mean discrepancy under (x·y / D + 1)³, has no bias.

N and M pictures, D features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from miaobi.engine.metrics import Unmeasurable

ROWS = 1024  # of a kernel matrix at once

Floats = NDArray[np.float64]


def frechet_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """|μa - μb|² + tr(Σa + Σb - 2 (Σa Σb)^½) of two sets (N, D) and (M, D).

    Raises:
        Unmeasurable: a set has fewer than two pictures, so no covariance.
    """
    _enough(a, b)
    (mean_a, root_a), (mean_b, root_b) = _gaussian(a), _gaussian(b)
    gap = float(((mean_a - mean_b) ** 2).sum())
    cross = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    spread = (root_a**2).sum() + (root_b**2).sum()
    return max(0.0, gap + float(spread - 2 * cross))  # equal sets come out at ± 1e-12


def kernel_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """The unbiased squared maximum mean discrepancy of two sets (N, D) and (M, D); of one distribution it is 0 on average.

    Raises:
        Unmeasurable: a set has fewer than two pictures.
    """
    _enough(a, b)
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    n, m = len(x), len(y)
    within = (_kernel_sum(x, x) - _own(x)) / (n * (n - 1)) + (_kernel_sum(y, y) - _own(y)) / (m * (m - 1))
    return within - 2 * _kernel_sum(x, y) / (n * m)


def _gaussian(x: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """The mean (D,) and a root R (min(N, D), D) of the covariance: Σ = Rᵀ R."""
    mean = x.mean(axis=0, dtype=np.float64)
    root: Floats = (x - mean) / np.sqrt(len(x) - 1)
    if len(x) > x.shape[1]:
        root = np.asarray(np.linalg.qr(root, mode="r"))
    return mean, root


def _kernel_sum(a: Floats, b: Floats) -> float:
    """The sum of the kernel over all pairs of rows."""
    blocks = (a[start : start + ROWS] for start in range(0, len(a), ROWS))
    return float(sum((((block @ b.T) / a.shape[1] + 1) ** 3).sum() for block in blocks))


def _own(x: Floats) -> float:
    """The sum of the kernel of every row with itself."""
    return float((((x**2).sum(axis=1) / x.shape[1] + 1) ** 3).sum())


def _enough(a: NDArray[np.floating], b: NDArray[np.floating]) -> None:
    assert a.shape[1:] == b.shape[1:], "both sets have the same features"
    if min(len(a), len(b)) < 2:
        raise Unmeasurable(
            "a distance between sets of pictures needs at least two on either side; there are {a} and {b}", a=len(a), b=len(b)
        )
