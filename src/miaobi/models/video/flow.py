"""Motion as a coarse grid of displacements: how a picture looks when each of its places has moved.

Frame f shows at place p what the first frame has at p + flow(f, p). The flow is told on a small grid and is bicubic in between, so a few
numbers move a picture of any size without blurring it (Siarohin et al., 2019; Ni et al., 2023, "Conditional image-to-video generation with
latent flow diffusion models", learn such flows; here they are measured, see `registration`). Coordinates run from -1 to 1 over the longer
side, x to the right, y down. Shapes: F frames, G cells a side, H and W of a picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
SHARPNESS = -0.75  # of the cubic kernel (Keys, 1981), as torch and Pillow have it


def places(height: int, width: int) -> tuple[Floats, Floats]:
    """The coordinates of pixel centres down (H,) and across (W,), of a picture in the middle of a square."""
    side = max(height, width)
    down, across = (((2 * np.arange(length) + 1 - length) / side).astype(np.float32) for length in (height, width))
    return down, across


def spread(at: Floats, cells: int) -> Floats:
    """Weights (P, G) of the cells for places (P,) in [-1, 1]: bicubic, the outermost cells repeat."""
    where = (at.astype(np.float64) + 1) / 2 * cells - 0.5
    first = np.floor(where).astype(np.int64)
    weights = np.zeros((len(at), cells))
    for tap in range(-1, 3):
        distance = np.abs(where - (first + tap))
        near = (SHARPNESS + 2) * distance**3 - (SHARPNESS + 3) * distance**2 + 1
        far = SHARPNESS * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        value = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
        np.add.at(weights, (np.arange(len(at)), np.clip(first + tap, 0, cells - 1)), value)
    return weights.astype(np.float32)


def fine(flow: Floats, height: int, width: int) -> Floats:
    """A grid's flow (F, 2, G, G) at every pixel, (F, 2, H, W)."""
    down, across = places(height, width)
    rows, columns = spread(down, flow.shape[-2]), spread(across, flow.shape[-1])
    found: Floats = np.einsum("hi,fcij,wj->fchw", rows, flow, columns, optimize=True).astype(np.float32)
    return found


def warp(picture: Floats, flow: Floats) -> Floats:
    """A picture (H, W, C) moved by a grid's flow (F, 2, G, G), as frames (F, H, W, C); from outside, the border comes in."""
    height, width = picture.shape[:2]
    side = max(height, width) / 2
    moved = []
    for step in fine(flow, height, width):  # one frame at a time: at full size all together take gigabytes
        x = np.clip(np.arange(width, dtype=np.float32) + step[0] * side, 0, width - 1)
        y = np.clip(np.arange(height, dtype=np.float32)[:, None] + step[1] * side, 0, height - 1)
        moved.append(_read(picture, y, x))
    return np.stack(moved)


def _read(picture: Floats, y: Floats, x: Floats) -> Floats:
    """The picture at fractional places (H, W), linearly."""
    height, width = picture.shape[:2]
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, across = (y - top)[..., None], (x - left)[..., None]
    upper = picture[top, left] * (1 - across) + picture[top, right] * across
    lower = picture[bottom, left] * (1 - across) + picture[bottom, right] * across
    read: Floats = (upper * (1 - down) + lower * down).astype(np.float32)
    return read


def smoothing(frames: int, harmonics: int) -> Floats:
    """What to multiply a loop's moments by, (F, F), to keep its mean and so many harmonics, and the first frame where it was.

    Things swing: 94 % of the motion measured in animated emoji is its mean and two harmonics, and what a network adds above is mostly
    trembling (Li et al., 2024, "Generative image dynamics", make such harmonics themselves).
    """
    waves = np.fft.rfft(np.eye(frames), axis=0)
    waves[harmonics + 1 :] = 0
    kept = np.fft.irfft(waves, n=frames, axis=0)
    return (kept - kept[:1]).astype(np.float32)


def between(flow: Floats, times: int, *, loop: bool) -> Floats:
    """`times` as many frames: through those that are there goes a smooth curve (Catmull and Rom, 1974), which closes in a loop."""
    if times == 1:
        return flow
    count = len(flow)
    at = np.arange(count * times if loop else (count - 1) * times + 1) / times
    before = np.floor(at).astype(np.int64)
    t = (at - before).reshape(-1, *[1] * (flow.ndim - 1)).astype(np.float32)

    def frame(offset: int) -> Any:
        index = before + offset
        return flow[index % count] if loop else flow[np.clip(index, 0, count - 1)]

    a, b, c, d = (frame(offset) for offset in (-1, 0, 1, 2))
    curve: Floats = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * (b - c) + d - a) * t**3)
    return curve.astype(np.float32)
