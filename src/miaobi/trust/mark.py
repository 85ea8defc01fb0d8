"""The visible mark: "AI生成" or "AI-generated" on a dark plate at a corner, in letters that measure 5 % of the shorter side or more.

The letters are outlines from a font (mark_glyphs.json, see NOTICE), filled here, so that no font needs to be installed and every machine
draws the same pixels. White on a plate that lets a third of the picture through is legible on light and on dark.
"""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from miaobi.core.errors import unknown

WORDS = {"zh": "AI生成", "en": "AI-generated"}
CORNERS = ("bottom-right", "bottom-left", "top-right", "top-left")
SHARE = 0.05  # of the shorter side: the least height of a letter that GB 45438-2025 asks for
LEGIBLE = 10  # pixels: below this 生 is a blot, so letters are this high where the picture is wide enough
_OPACITY = 0.66
_FINER = 4  # letters are drawn so many times larger, then averaged

Pixels = NDArray[np.uint8]


def draw(pixels: Pixels, language: str, *, corner: str = CORNERS[0]) -> Pixels:
    """The picture (height, width, 4) with the words of `language` at a corner.

    Raises:
        UsageError: no words in that language, or no such corner.
    """
    if language not in WORDS:
        raise unknown("language of the mark", language, WORDS)
    if corner not in CORNERS:
        raise unknown("corner", corner, CORNERS)
    height, width = pixels.shape[:2]
    letters = _letters(WORDS[language], letter_height(width, height, language))
    edge = max(1, round(letters.shape[0] * 0.25))
    plate = np.pad(letters, edge)[: min(height, letters.shape[0] + 2 * edge), :width]
    top = height - plate.shape[0] if corner.startswith("bottom") else 0
    left = width - plate.shape[1] if corner.endswith("right") else 0
    marked = pixels.copy()
    place = marked[top : top + plate.shape[0], left : left + plate.shape[1]]
    place[:] = _over(place, plate)
    return marked


def describe(language: str, corner: str = CORNERS[0]) -> str:
    """The mark as a label names it: its words and where they are."""
    return f"{WORDS[language]} {corner}"


def described(text: str) -> tuple[str, str] | None:
    """Language and corner of the mark that a label names; None where it names none of ours."""
    words, _, corner = text.rpartition(" ")
    language = next((name for name, known in WORDS.items() if known == words), "")
    return (language, corner) if language and corner in CORNERS else None


def letter_height(width: int, height: int, language: str) -> int:
    """How high the lowest letter is, in pixels: legible where there is room, and never below 5 % of the shorter side."""
    least = math.ceil(SHARE * min(width, height))
    widest = int((width / _proportion(WORDS[language]) - 1) / 1.1)  # the plate has edges
    return max(1, least, min(LEGIBLE, widest))


def _over(place: Pixels, letters: Pixels) -> Pixels:
    """A plate over a stretch of the picture, and white letters (coverage, uint8) over the plate; opacity follows (Porter and Duff)."""
    alpha = place[..., 3:] / 255.0
    behind = place[..., :3] * alpha * (1 - _OPACITY)  # the plate itself is black
    opacity = _OPACITY + alpha * (1 - _OPACITY)
    coverage = letters[..., None] / 255.0
    colours = 255.0 * coverage + behind * (1 - coverage)  # premultiplied
    opacity = coverage + opacity * (1 - coverage)
    found: Pixels = np.rint(np.concatenate([colours / opacity, 255.0 * opacity], axis=-1)).astype(np.uint8)
    return found


def _letters(words: str, size: int) -> Pixels:
    """The words as coverage (H, W), the lowest letter `size` pixels high at least."""
    scale = size / _lowest(words)
    left, bottom, right, top = _box(words)
    width, height = (math.ceil((high - low) * scale) for low, high in ((left, right), (bottom, top)))
    image = Image.new("L", (width * _FINER, height * _FINER))
    canvas = ImageDraw.Draw(image)
    for shape, ink in _shapes(words):
        points = [((x - left) * scale * _FINER, (top - y) * scale * _FINER) for x, y in shape]
        canvas.polygon(points, fill=ink)
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))


def _shapes(words: str) -> list[tuple[list[tuple[int, int]], int]]:
    """The outlines of all letters in a row, with 255, each followed by its holes, with 0."""
    found, place = [], 0
    for letter in words:
        glyph = _font()["glyphs"][letter]
        for kind, ink in (("outlines", 255), ("holes", 0)):
            for numbers in glyph[kind]:
                found.append(([(x + place, y) for x, y in zip(numbers[::2], numbers[1::2])], ink))
        place += glyph["advance"]
    return found


def _box(words: str) -> tuple[int, int, int, int]:
    """Left, bottom, right and top of the words' ink, in the font's units."""
    points = [point for shape, _ in _shapes(words) for point in shape]
    across, up = [x for x, _ in points], [y for _, y in points]
    return min(across), min(up), max(across), max(up)


@functools.cache
def _lowest(words: str) -> int:
    """The height of the lowest letter; the hyphen is none."""
    boxes = [_box(letter) for letter in words if letter != "-"]
    return min(top - bottom for _, bottom, _, top in boxes)


def _proportion(words: str) -> float:
    """The width of the words over the height of the lowest letter."""
    left, _, right, _ = _box(words)
    return (right - left) / _lowest(words)


@functools.cache
def _font() -> dict[str, Any]:
    font: dict[str, Any] = json.loads(Path(__file__).with_name("mark_glyphs.json").read_text(encoding="utf-8"))
    return font
