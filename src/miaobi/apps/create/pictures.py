"""The picture of a scene: a sticker before a sky in the mood's colours, at the film's size; where nobody draws, the scene's word as a seal.

A sticker (a picture with transparency, or a small one) is set into the sky with a shadow; a large opaque picture, such as a photograph
that a person gave, fills the frame. Everything is drawn from a seed, so the same scene has the same pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from miaobi.apps.common.fonts import Fonts
from miaobi.apps.common.lettering import Pen
from miaobi.apps.create.moods import Mood
from miaobi.apps.create.schema import Inputs
from miaobi.data.pictures import Pixels, colour, fit, rgba

SIZES = {"portrait": (720, 1280), "square": (720, 720), "landscape": (1280, 720)}  # width, height
STICKER, LIFT = 0.62, 0.06  # of the frame's shorter side; how far above the middle, for the words below
LARGE = 400  # pixels of the shorter side from which an opaque picture fills the frame
SEAL = "#b3342d"
_STARRY = frozenset({"night", "winter", "feast"})


def size_of(order: Inputs) -> tuple[int, int]:
    """Width and height of the film's pictures; half of each in a draft."""
    width, height = SIZES[order.size]
    return (width // 2, height // 2) if order.draft else (width, height)


def scene(sticker: Pixels, mood: Mood, size: tuple[int, int], *, seed: int) -> Pixels:
    """The picture of a scene, opaque, of this width and height."""
    width, height = size
    pixels = rgba(sticker)
    if pixels[..., 3].min() == 255 and min(pixels.shape[:2]) >= LARGE:
        return fit(pixels, (width, height), "cover")
    frame = sky(mood, width, height, seed=seed)
    side = round(STICKER * min(width, height))
    cut = cut_out(pixels)
    image = Image.fromarray(cut).resize(_inside(cut.shape[1], cut.shape[0], side), Image.Resampling.LANCZOS)
    place = ((width - image.width) // 2, round(height * (0.5 - LIFT)) - image.height // 2)
    _shadow(frame, image, place)
    frame.alpha_composite(image, place)
    return np.asarray(frame)


def cut_out(pixels: Pixels) -> Pixels:
    """A sticker on a plain opaque ground without its ground: what is of the corners' colour and touches the edge becomes transparent."""
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
    if pixels[..., 3].min() < 255 or np.abs(corners - corners[0]).max() > 24:
        return pixels
    away = np.abs(pixels[..., :3].astype(int) - corners.mean(axis=0)[:3]).max(axis=2)
    outside = _reached(away < 40)
    alpha = np.where(outside, np.clip(away * 6, 0, 255), 255)
    return np.concatenate([pixels[..., :3], alpha[..., None].astype(np.uint8)], axis=2)


def _reached(open_: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The open cells (H, W) that can be reached from the edge."""
    image = Image.fromarray(np.pad(np.where(open_, 255, 0).astype(np.uint8), 1, constant_values=255)).copy()  # one that may be written
    ImageDraw.floodfill(image, (0, 0), 128)
    reached: NDArray[np.bool_] = np.asarray(image)[1:-1, 1:-1] == 128
    return reached


def sky(mood: Mood, width: int, height: int, *, seed: int) -> Image.Image:
    """A gradient with a soft glow behind the middle, hills at the foot, and stars or grains where the mood has them."""
    rng = np.random.default_rng(seed)
    top, bottom = (np.array(colour(name), np.float32) for name in mood.sky)
    y, x = np.linspace(0, 1, height, dtype=np.float32)[:, None], np.linspace(0, 1, width, dtype=np.float32)[None, :]
    share = y[..., None]
    pixels: NDArray[Any] = top * (1 - share) + bottom * share  # (H, 1, 3)
    aspect = height / width
    glow = np.exp(-(((x - 0.5) ** 2) + ((y - 0.5 + LIFT) * aspect) ** 2) / 0.11)[..., None]
    pixels = pixels + glow * 46
    for number in range(3):
        pixels = _hill(pixels, x, y, rng, number, top)
    pixels += rng.normal(0, 1.2, (height, width, 1)).astype(np.float32)  # against bands in the gradient
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert("RGBA")
    if mood.name in _STARRY:
        _stars(image, rng, mood.ink)
    return image


def _hill(
    pixels: NDArray[Any], x: NDArray[Any], y: NDArray[Any], rng: np.random.Generator, number: int, dark: NDArray[Any]
) -> NDArray[Any]:
    """One range of hills, the nearer the darker."""
    waves = sum(rng.uniform(0.2, 1) / k * np.sin(2 * np.pi * (k * x * rng.uniform(0.6, 1.2) + rng.uniform())) for k in (1, 2, 3, 5))
    line = 0.86 + 0.05 * number + 0.025 * waves
    inside = np.clip((y - line) * 400, 0, 1)[..., None]
    return pixels * (1 - inside * (0.30 + 0.12 * number)) + dark * 0.55 * inside * (0.30 + 0.12 * number)


def _stars(image: Image.Image, rng: np.random.Generator, ink: str) -> None:
    layer = Image.new("RGBA", image.size, (*colour(ink), 0))
    draw = ImageDraw.Draw(layer)
    for _ in range(70):
        x, y = rng.uniform(0, image.width), rng.uniform(0, image.height * 0.8)
        radius = rng.uniform(0.6, 2.4)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*colour(ink), int(rng.uniform(60, 200))))
    image.alpha_composite(layer)


def _shadow(frame: Image.Image, sticker: Image.Image, place: tuple[int, int]) -> None:
    """A soft shadow of the sticker's own shape, below it."""
    blur = max(4, sticker.width // 24)
    shape = Image.new("L", (sticker.width + 6 * blur, sticker.height + 6 * blur), 0)
    shape.paste(sticker.getchannel("A").point(lambda value: value * 2 // 5), (3 * blur, 3 * blur))
    shape = shape.filter(ImageFilter.GaussianBlur(blur))
    dark = Image.new("RGBA", shape.size, (8, 10, 20, 0))
    dark.putalpha(shape)
    x, y = place[0] - 3 * blur, place[1] - 3 * blur + blur
    frame.alpha_composite(dark.crop((max(0, -x), max(0, -y), dark.width, dark.height)), (max(0, x), max(0, y)))


def _inside(width: int, height: int, side: int) -> tuple[int, int]:
    scale = side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def seal(word: str, *, side: int = 512) -> Pixels:
    """A word as a seal: light letters on a red square with worn edges, on nothing."""
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((side * 0.04, side * 0.04, side * 0.96, side * 0.96), radius=side * 0.12, fill=(*colour(SEAL), 255))
    draw.rounded_rectangle(
        (side * 0.1, side * 0.1, side * 0.9, side * 0.9), radius=side * 0.08, outline=(255, 244, 226, 230), width=max(2, side // 64)
    )
    rows = _rows(word)
    room = side * 0.72
    pen = Pen(fonts=Fonts.named(), size=round(room / max(len(rows), 1) / 1.1), ink="#fff4e2")
    widest = max(pen.measure(row) for row in rows)
    if widest > room:
        pen = Pen(fonts=pen.fonts, size=max(12, round(pen.size * room / widest)), ink=pen.ink)
    top = (side - pen.height * len(rows)) / 2
    for number, row in enumerate(rows):
        line = Image.fromarray(pen.line(row))
        image.alpha_composite(line, (max(0, (side - line.width) // 2), max(0, round(top + number * pen.height))))
    return np.asarray(image)


def _rows(word: str) -> list[str]:
    """A word in rows: two to four Chinese letters in a square, English words one below the other."""
    if not word.isascii() and len(word) in (3, 4):
        return [word[:2], word[2:]]
    return word.split() or ["·"]
