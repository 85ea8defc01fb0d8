"""Words as pixels: letters with an outline, in rows or in columns, as large as fits.

Lines are broken by `miaobi.data.subtitles`. Columns run from right to left, with the upright forms of brackets and stops where the font
has them.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from miaobi.apps.common.fonts import Fonts
from miaobi.data.pictures import Pixels, colour
from miaobi.data.subtitles import break_lines

UPRIGHT = str.maketrans("，、。：；！？（）【】《》〈〉「」『』", "︐︑︒︓︔︕︖︵︶︻︼︽︾︿﹀﹁﹂﹃﹄")
LEADING = 1.45  # from line to line, in heights of letters
SMALLEST = 8  # pixels; letters that would have to be smaller are cut off

Align = Literal["left", "middle", "right"]


@dataclass(frozen=True, slots=True)
class Overlay:
    """A stretch of words at a place of the frame: colours times opacity, and what is left of the picture behind (uint16, 0 to 255)."""

    top: int
    left: int
    ink: NDArray[np.uint16]  # (h, w, 3)
    left_over: NDArray[np.uint16]  # (h, w, 1)

    @classmethod
    def of(cls, pixels: Pixels, top: int, left: int, frame: tuple[int, int]) -> Overlay:
        """RGBA pixels (straight alpha) at a place, as far as they are inside of a frame of (width, height)."""
        width, height = frame
        inside = pixels[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)]
        alpha = inside[..., 3:].astype(np.uint16)
        ink = (inside[..., :3].astype(np.uint16) * alpha + 127) // 255
        return cls(max(0, top), max(0, left), ink, 255 - alpha)

    def onto(self, frame: Pixels, opacity: float = 1.0) -> None:
        """Draw it into the frame (H, W, 3)."""
        height, width = self.ink.shape[:2]
        place = frame[self.top : self.top + height, self.left : self.left + width]
        if opacity >= 1:
            place[:] = self.ink + (place * self.left_over + 127) // 255
            return
        share = round(256 * max(0.0, opacity))
        kept = 255 - (255 - self.left_over) * share // 256
        place[:] = np.minimum(255, self.ink * share // 256 + (place * kept + 127) // 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pen:
    """How letters are drawn: from which fonts, how high (in pixels), in which colour; `edge` is the width of a dark outline."""

    fonts: Fonts
    size: int
    ink: str = "white"
    edge: int = 0

    def measure(self, text: str) -> float:
        """Width of a line in pixels."""
        return sum(font.getlength(run) for font, run in self._runs(text))

    def line(self, text: str) -> Pixels:
        """One line as RGBA, of the height of all lines of this pen."""
        width, height = math.ceil(self.measure(text)) + 2 * self.edge + 2, self.height
        image = Image.new("RGBA", (max(1, width), height), (*self._dark, 0))
        canvas, place = ImageDraw.Draw(image), float(self.edge + 1)
        for font, run in self._runs(text):
            canvas.text(
                (place, self._baseline), run, font=font, fill=self._light, anchor="ls", stroke_width=self.edge, stroke_fill=self._dark
            )
            place += font.getlength(run)
        return np.asarray(image)

    def column(self, text: str) -> Pixels:
        """One column as RGBA, letter under letter."""
        letters = [self._upright(letter) for letter in text] or [np.zeros((1, 1, 4), np.uint8)]
        width = max(letter.shape[1] for letter in letters)
        step = round(self.size * 1.12)
        image = np.zeros((step * len(letters) + 2 * self.edge, width, 4), np.uint8)
        for number, letter in enumerate(letters):
            top, left = number * step, (width - letter.shape[1]) // 2
            place = image[top : top + letter.shape[0], left : left + letter.shape[1]]
            np.maximum(place, letter[: place.shape[0]], out=place)
        return image

    @property
    def height(self) -> int:
        """Of a line, from the highest letter to the lowest."""
        return round(1.25 * self.size) + 2 * self.edge

    @property
    def _baseline(self) -> int:
        return round(0.95 * self.size) + self.edge

    @property
    def _light(self) -> tuple[int, int, int, int]:
        return (*colour(self.ink), 255)

    @property
    def _dark(self) -> tuple[int, int, int]:
        return (0, 0, 0) if sum(colour(self.ink)) > 200 else (255, 255, 255)

    def _upright(self, letter: str) -> Pixels:
        form = letter.translate(UPRIGHT)
        return self.line(form if form != letter and not self.fonts.missing(form) else letter)

    def _runs(self, text: str) -> list[tuple[ImageFont.FreeTypeFont, str]]:
        return list(_runs(self.fonts, self.size, text))


@functools.lru_cache(maxsize=4096)
def _runs(fonts: Fonts, size: int, text: str) -> tuple[tuple[ImageFont.FreeTypeFont, str], ...]:
    """The text in stretches that one font draws."""
    found: list[tuple[ImageFont.FreeTypeFont, str]] = []
    for letter in text:
        font = fonts.font(letter, size)
        if found and (found[-1][0] is font or letter.isspace()):
            found[-1] = (found[-1][0], found[-1][1] + letter)
        else:
            found.append((font, letter))
    return tuple(found)


def paragraph(lines: Sequence[str], pen: Pen, *, align: Align = "middle", leading: float = LEADING) -> Pixels:
    """Lines under each other, as RGBA."""
    drawn = [pen.line(line) for line in lines]
    step, width = round(pen.size * leading), max(line.shape[1] for line in drawn)
    image = np.zeros((step * (len(drawn) - 1) + pen.height, width, 4), np.uint8)
    for number, line in enumerate(drawn):
        left = {"left": 0, "middle": (width - line.shape[1]) // 2, "right": width - line.shape[1]}[align]
        place = image[number * step : number * step + line.shape[0], left : left + line.shape[1]]
        np.maximum(place, line, out=place)
    return image


def broken(text: str, pen: Pen, width: int) -> list[str]:
    """Lines that are at most `width` pixels wide where that is possible; a line break in the text stays one."""
    lines: list[str] = []
    for part in text.splitlines() or [""]:
        columns = max(2, int(width / (pen.size / 2)))
        while columns > 2 and any(pen.measure(line) > width for line in break_lines(part, columns=columns)):
            columns -= 1  # capitals are wider than half a square
        lines += break_lines(part, columns=columns) or [""]
    return lines


def fitted(text: str, pen: Pen, width: int, height: int) -> tuple[list[str], Pen]:
    """Lines, and the pen made smaller until they fit into a box.

    Letters never get smaller than `SMALLEST` pixels; what does not fit then is left out at the end, marked by an ellipsis.
    """
    size = pen.size
    while True:
        pen = dataclasses.replace(pen, size=size)
        lines = broken(text, pen, width - 2 * pen.edge - 2)
        room = 1 + max(0, int((height - pen.height) / (size * LEADING)))
        if len(lines) <= room and all(pen.measure(line) <= width for line in lines):
            return lines, pen
        if size <= SMALLEST:
            return [*lines[: room - 1], lines[room - 1][:-1] + "…"] if len(lines) > room else lines, pen
        size = max(SMALLEST, int(size * 0.92))
