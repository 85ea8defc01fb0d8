"""How alike two pictures are, and how different many: squared error, PSNR, SSIM, and the distance of deep features.

SSIM (Wang et al. 2004) looks through a Gaussian window of σ 1.5, mirrored at the border so that small pictures have one too. The perceptual
distance is LPIPS's (Zhang et al. 2018) without learned weights, on the five stages of EfficientNet-lite0: channels are scaled to
length 1 at each place, and squared differences averaged over places. Its figures compare with each other only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from miaobi.engine import features

WINDOW = 1.5  # σ in pixels
REACH = 5  # 3.5 σ
BATCH = 32
SIZE = 64  # of the pictures whose stages are compared: differences of layout and texture are seen, and it is quick
PEAK = 100.0  # dB that a perfect copy is given; 8-bit pictures that differ at all are below

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]


def on_white(pixels: Pixels) -> Floats:
    """(H, W, 4) with straight alpha → (H, W, 3) in [0, 1]."""
    alpha = pixels[..., 3:] / 255
    return np.asarray(pixels[..., :3] / 255 * alpha + (1 - alpha), dtype=np.float64)


def squared_error(a: Pixels, b: Pixels) -> float:
    """The mean over pixels and channels, of pictures on white with values in [0, 1]."""
    return float(((on_white(a) - on_white(b)) ** 2).mean())


def psnr(error: float) -> float:
    """The ratio of 1 to a squared error, in decibels.

    >>> psnr(0.01)
    20.0
    """
    return min(PEAK, float(-10 * np.log10(error))) if error > 0 else PEAK


def ssim(a: Pixels, b: Pixels) -> float:
    """Structural similarity, 1 for equal pictures, over channels and places."""
    x, y = on_white(a), on_white(b)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y, both = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2, _blur(x * y) - mean_x * mean_y
    light = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    structure = (2 * both + 0.03**2) / (var_x + var_y + 0.03**2)
    return float((light * structure).mean())


def perceptual_distance(a: Sequence[Pixels], b: Sequence[Pixels], *, size: int = SIZE) -> Floats:
    """The distance of each picture of `a` from that of `b`, between 0 and 20: (N,)."""
    found = [
        np.sum([((x - y) ** 2).sum(axis=1).mean(axis=(1, 2)) for x, y in zip(ours, theirs)], axis=0)
        for ours, theirs in zip(_directions(a, size), _directions(b, size), strict=True)
    ]
    return np.concatenate(found)


def perceptual_spread(pixels: Sequence[Pixels], *, size: int = SIZE) -> Floats:
    """The mean perceptual distance of each picture from all the others: (N,). A set of equal pictures has 0.

    Σⱼ |x - yⱼ|² = n |x|² + Σⱼ |yⱼ|² - 2 x·Σⱼ yⱼ, so all pairs cost two passes over the pictures.
    """
    n = len(pixels)
    assert n > 1, "there are others"
    sums = [(x.sum(axis=0), (x**2).sum(axis=(0, 1))) for x in next(_directions(pixels[:1], size))]
    sums = [(np.zeros_like(vectors), np.zeros_like(squares)) for vectors, squares in sums]
    for maps in _directions(pixels, size):
        sums = [(vectors + x.sum(axis=0), squares + (x**2).sum(axis=(0, 1))) for x, (vectors, squares) in zip(maps, sums)]
    found = []
    for maps in _directions(pixels, size):
        places = [n * (x**2).sum(axis=1) + squares - 2 * (x * vectors).sum(axis=1) for x, (vectors, squares) in zip(maps, sums)]
        found.append(np.sum([place.mean(axis=(1, 2)) for place in places], axis=0) / (n - 1))
    return np.concatenate(found).clip(0)


def _directions(pixels: Sequence[Pixels], size: int) -> Iterator[list[Floats]]:
    """Of a batch of pictures at a time, the maps of every stage, scaled to length 1 over the channels at each place: (B, C, H, W)."""
    import torch

    net = features.network()
    for start in range(0, len(pixels), BATCH):
        with torch.inference_mode():
            maps = net.stages(features.look(pixels[start : start + BATCH], size))
            scaled = [(x / x.norm(dim=1, keepdim=True).clamp(min=1e-10)).double().numpy() for x in maps]
        yield scaled  # outside: two of these run in turn, and modes that end in another order than they began stay on


def _blur(x: Floats) -> Floats:
    """(H, W, C) through the Gaussian window."""
    weights = np.exp(-0.5 * (np.arange(-REACH, REACH + 1) / WINDOW) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        padding = [(REACH, REACH) if other == axis else (0, 0) for other in range(3)]
        padded = np.pad(x, padding, mode="symmetric")
        x = np.asarray(sum(w * np.take(padded, range(i, i + x.shape[axis]), axis=axis) for i, w in enumerate(weights)))
    return x
