"""How a picture of any shape fills a frame, and how the camera goes over it.

A scene is first laid out on a canvas that is larger than the frame by as much as the camera moves; each frame is then one resampling of a
window of it, at fractions of pixels, so that slow movements do not tremble.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

from miaobi.apps.common.timeline import Move
from miaobi.data.pictures import Pixels, colour, fit, over

Size = tuple[int, int]  # width, height
Box = tuple[float, float, float, float]  # left, top, right, bottom
Filling = Literal["cover", "contain", "blur"]
_COARSE = 24  # the blurred margins are computed at this fraction of the size
_DIM = 0.6  # and this bright, so that the picture itself stands out


def canvas_size(move: Move, frame: Size) -> Size:
    """The frame, and what the camera needs beside it."""
    width, height = frame
    wide = move.kind in ("zoom-in", "zoom-out", "pan-left", "pan-right")
    high = move.kind in ("zoom-in", "zoom-out", "pan-up", "pan-down")
    return round(width * (1 + move.amount)) if wide else width, round(height * (1 + move.amount)) if high else height


def window(move: Move, share: float, frame: Size) -> Box:
    """What of the canvas is seen when this share of the scene's time is over; it starts and stops gently."""
    width, height = frame
    canvas = canvas_size(move, frame)
    eased = 0.5 - 0.5 * math.cos(math.pi * min(1.0, max(0.0, share)))
    if move.kind in ("zoom-out", "pan-left", "pan-up"):
        eased = 1 - eased
    if move.kind in ("zoom-in", "zoom-out"):
        scale = (1 + move.amount) ** (1 - eased)  # an even zoom multiplies by the same factor in the same time
        wide, high = width * scale, height * scale
        # the canvas has whole pixels, so it may be half a pixel smaller than the widest view
        left, top = max(0.0, canvas[0] - wide) * move.focus[0], max(0.0, canvas[1] - high) * move.focus[1]
        return left, top, min(left + wide, canvas[0]), min(top + high, canvas[1])
    left, top = (canvas[0] - width) * eased, (canvas[1] - height) * eased
    return left, top, left + width, top + height


def lay_out(pixels: Pixels, canvas: Size, *, filling: Filling, scale: float, background: str) -> Image.Image:
    """A picture (RGB or RGBA) on a canvas of the background's colour, as RGB."""
    if pixels.shape[-1] == 3 and filling == "cover":
        return _covered(Image.fromarray(pixels), canvas)
    if filling == "cover":
        return Image.fromarray(over(fit(pixels, canvas, "cover"), background))
    if filling == "blur":
        base = _blurred(Image.fromarray(over(pixels, background)), canvas)
    else:
        base = Image.new("RGB", canvas, colour(background))
    inner = fit(pixels, (max(1, round(canvas[0] * scale)), max(1, round(canvas[1] * scale))), "contain")
    picture = Image.fromarray(inner)
    base.paste(picture, ((canvas[0] - picture.width) // 2, (canvas[1] - picture.height) // 2), picture.getchannel("A"))
    return base


def seen(canvas: Image.Image, move: Move, share: float, frame: Size) -> Pixels:
    """The frame at a share of the scene's time."""
    if canvas.size == frame:
        return np.array(canvas)
    return np.array(canvas.resize(frame, Image.Resampling.BICUBIC, box=window(move, share, frame)))


def _covered(image: Image.Image, canvas: Size) -> Image.Image:
    """The middle of an opaque picture, as large as the canvas, in one resampling."""
    scale = max(canvas[0] / image.width, canvas[1] / image.height)
    wide, high = canvas[0] / scale, canvas[1] / scale
    left, top = (image.width - wide) / 2, (image.height - high) / 2
    box = (max(0.0, left), max(0.0, top), min(float(image.width), left + wide), min(float(image.height), top + high))
    return image.resize(canvas, Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)


def _blurred(image: Image.Image, canvas: Size) -> Image.Image:
    """The picture itself as a soft, darker background."""
    small = _covered(image, (max(2, canvas[0] // _COARSE), max(2, canvas[1] // _COARSE))).filter(ImageFilter.GaussianBlur(1.5))
    return small.resize(canvas, Image.Resampling.BICUBIC).point([round(value * _DIM) for value in range(256)] * 3)
