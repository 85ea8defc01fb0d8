"""Samples on a logarithmic scale of few levels (the curve of ITU-T G.711), and a filter that raises high frequencies and its inverse.

mu-law: f(x) = sign(x) ln(1 + mu |x|) / ln(1 + mu), rounded to one of mu + 1 levels (van den Oord et al., 2016). Quiet samples, where the
ear hears rounding, get most of the levels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def to_codes(samples: Floats, levels: int) -> NDArray[np.int64]:
    """Samples in [-1, 1] as codes 0 … levels - 1."""
    mu = levels - 1
    curved = np.sign(samples) * np.log1p(mu * np.abs(np.clip(samples, -1, 1))) / np.log1p(mu)
    codes: NDArray[np.int64] = np.floor((curved + 1) / 2 * mu + 0.5).astype(np.int64)
    return codes


def table(levels: int) -> Floats:
    """The sample that each code stands for."""
    mu = levels - 1
    curved = 2 * np.arange(levels) / mu - 1
    samples: Floats = (np.sign(curved) * np.expm1(np.abs(curved) * np.log1p(mu)) / mu).astype(np.float32)
    return samples


def emphasised(samples: Floats, share: float) -> Floats:
    """y[t] = x[t] - share x[t - 1]."""
    if not share:
        return samples
    found = samples.copy()
    found[1:] -= share * samples[:-1]
    return found


def restored(samples: Floats, share: float) -> Floats:
    """The inverse of `emphasised`: y[t] = x[t] + share y[t - 1].

    A recursion in NumPy: the sum over all earlier samples, whose weights fade within a block, block by block.
    """
    if not share:
        return samples
    block = 256
    weights = np.tril(share ** np.maximum(np.subtract.outer(np.arange(block), np.arange(block)), 0).astype(np.float64))
    fading = share ** np.arange(1, block + 1)
    padded = np.pad(samples.astype(np.float64), (0, -len(samples) % block)).reshape(-1, block)
    found, last = np.empty_like(padded), 0.0
    for row, values in enumerate(padded):
        found[row] = weights @ values + fading * last
        last = found[row, -1]
    return found.reshape(-1)[: len(samples)].astype(np.float32)
