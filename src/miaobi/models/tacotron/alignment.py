"""How well attention followed the text, in figures and as a picture: a line from corner to corner where a model learned to read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from miaobi.core.types import Media, Modality

Floats = NDArray[np.float32]
LEAP = 4.0  # symbols that a second step may go forward, as a multiple of the even pace
COLOURS = np.array([(13, 8, 66), (90, 18, 120), (185, 50, 90), (240, 125, 45), (252, 245, 165)], np.float32)  # dark to bright
LEAST_CELL, SIDE = 2, 640  # pixels of a cell; of the picture's longer side, about


def figures(weights: Floats) -> dict[str, float]:
    """Of attention (steps, N): three shares, all near 1 when a text was read well.

    `focus`: how much of the attention is on one symbol and its two neighbours. `order`: the share of steps that stay or move on, no further
    than a reader would. `coverage`: the share of symbols between which and the next the attention passed.
    """
    steps, count = weights.shape
    peaks = weights.argmax(axis=1)
    around = np.clip(peaks[:, None] + np.arange(-1, 2), 0, count - 1)
    rows = np.arange(steps)[:, None]
    doubled = (around[:, 0] == around[:, 1]) * weights[rows[:, 0], around[:, 0]] + (around[:, 2] == around[:, 1]) * weights[
        rows[:, 0], around[:, 2]
    ]
    focus = float((weights[rows, around].sum(axis=1) - doubled).mean())
    moved = np.diff(peaks)
    most = max(2.0, LEAP * count / steps)
    order = float(((moved >= -1) & (moved <= most)).mean()) if steps > 1 else 1.0
    reached = np.zeros(count, bool)
    for here, there in zip(peaks, [*peaks[1:], peaks[-1]]):
        reached[here : max(here, there if there - here <= most else here) + 1] = True
    return {"focus": round(focus, 4), "order": round(order, 4), "coverage": round(float(reached.mean()), 4)}


def score(weights: Floats) -> float:
    """One figure: the product of focus, order and coverage."""
    return float(np.prod(list(figures(weights).values())))


def picture(weights: Sequence[Floats]) -> Media:
    """Attention of one sentence after another as a PNG: time to the right, the text upwards, bright where the model looked."""
    from miaobi.data.pictures import encode

    steps, count = sum(map(len, weights)), sum(one.shape[1] for one in weights)
    whole = np.zeros((steps, count), np.float32)
    row = column = 0
    for one in weights:
        whole[row : row + one.shape[0], column : column + one.shape[1]] = one
        row, column = row + one.shape[0], column + one.shape[1]
    wide, high = (max(LEAST_CELL, SIDE // side) for side in whole.shape)
    place = whole.T[::-1] ** 0.5 * (len(COLOURS) - 1)  # small weights would all be black
    low = np.minimum(place.astype(int), len(COLOURS) - 2)
    coloured = COLOURS[low] + (place - low)[..., None] * (COLOURS[low + 1] - COLOURS[low])
    pixels = coloured.clip(0, 255).astype(np.uint8).repeat(high, axis=0).repeat(wide, axis=1)
    return Media(modality=Modality.IMAGE, mime="image/png", data=encode(pixels), name="attention")
