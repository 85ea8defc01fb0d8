"""One frame between two scenes."""

from __future__ import annotations

import numpy as np
from PIL import Image

from miaobi.apps.common.timeline import Side, Transition
from miaobi.data.pictures import Pixels

_SOFT = 0.04  # of the side: how wide the edge of a wipe is blended


def between(before: Pixels, after: Pixels, transition: Transition, *, share: float, background: Pixels) -> Pixels:
    """The frame when this share of the transition is over; `background` is a frame of its colour."""
    match transition.kind:
        case "dissolve":
            return _blend(before, after, share)
        case "fade":
            return _blend(before, background, 2 * share) if share < 0.5 else _blend(background, after, 2 * share - 1)
        case "slide":
            return _slid(before, after, share, transition.towards)
        case "wipe":
            return _wiped(before, after, share, transition.towards)
    return after


def _blend(before: Pixels, after: Pixels, share: float) -> Pixels:
    return np.array(Image.blend(Image.fromarray(before), Image.fromarray(after), share))


def _slid(before: Pixels, after: Pixels, share: float, towards: Side) -> Pixels:
    """The new scene pushes the old one out."""
    axis = 1 if towards in ("left", "right") else 0
    length = before.shape[axis]
    shift = round(length * share)
    pair = [before, after] if towards in ("left", "up") else [after, before]
    start = shift if towards in ("left", "up") else length - shift
    both = np.concatenate(pair, axis=axis)
    return np.ascontiguousarray(both.take(range(start, start + length), axis=axis))


def _wiped(before: Pixels, after: Pixels, share: float, towards: Side) -> Pixels:
    """The new scene is uncovered by an edge that goes over the frame."""
    axis = 1 if towards in ("left", "right") else 0
    length = before.shape[axis]
    soft = max(1.0, _SOFT * length)
    edge = share * (length + soft) - soft / 2
    places = np.arange(length) + 0.5
    if towards in ("left", "up"):
        places = length - places
    uncovered = np.clip((edge - places) / soft + 0.5, 0, 1)  # (length,)
    mask = np.broadcast_to(
        (255 * uncovered).astype(np.uint8)[None if axis else slice(None), slice(None) if axis else None], before.shape[:2]
    )
    return np.array(Image.composite(Image.fromarray(after), Image.fromarray(before), Image.fromarray(np.ascontiguousarray(mask))))
