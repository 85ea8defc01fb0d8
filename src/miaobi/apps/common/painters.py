"""Each kind of scene as frames: a still picture, a clip, a card, the background alone; and the words that lie over it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from miaobi.apps.common import camera
from miaobi.apps.common.fonts import Fonts
from miaobi.apps.common.lettering import LEADING, Overlay, Pen, fitted, paragraph
from miaobi.apps.common.materials import ClipFile
from miaobi.apps.common.timeline import Card, Scene, Where
from miaobi.data import videos
from miaobi.data.pictures import Pixels, colour

MARGIN = 0.07  # of the shorter side, free of words
SHORT = 2.0  # seconds that a clip may be shorter than its header says
APPEAR = 0.5  # seconds in which words appear
KEPT = 96  # frames of a loop that are kept laid out, so that a round costs nothing the second time


class Painter(Protocol):
    """Draws the frames of one scene, in order."""

    def frame(self, number: int) -> Pixels:
        """Frame `number` of the scene, (H, W, 3), to be changed freely."""
        ...


@dataclass(frozen=True, slots=True)
class Stage:
    """What all scenes of a film share."""

    size: camera.Size
    fps: float
    fonts: Fonts

    @property
    def shorter(self) -> int:
        """The shorter side in pixels."""
        return min(self.size)


class Still:
    """A picture (or the background alone) under the camera."""

    def __init__(self, canvas: Image.Image, scene: Scene, stage: Stage, num_frames: int) -> None:
        self.canvas, self.scene, self.stage, self.last = canvas, scene, stage, max(1, num_frames - 1)

    def frame(self, number: int) -> Pixels:
        """The camera's window at this moment."""
        return camera.seen(self.canvas, self.scene.move, number / self.last, self.stage.size)


class Moving:
    """A clip, frame by frame at the film's rate; over its end it begins again, or its last frame stays."""

    def __init__(
        self, clip: ClipFile, scene: Scene, stage: Stage, num_frames: int, *, background: str, repeat: bool, first: int = 0
    ) -> None:
        """Frames are asked for from number `first` on."""
        self.clip, self.scene, self.stage, self.last = clip, scene, stage, max(1, num_frames - 1)
        self.background, self.repeat = background, repeat
        self.kept: list[Image.Image] = []  # the laid out frames of a short loop
        self.shown = Image.new("RGB", camera.canvas_size(scene.move, stage.size), colour(background))
        self.frames = self._laid_out(0 if repeat else first)
        for _ in range(first if repeat else 0):
            self.shown = next(self.frames, self.shown)

    def frame(self, number: int) -> Pixels:
        """The next frame, whatever the number: a clip is only ever gone through forwards."""
        self.shown = next(self.frames, self.shown)
        return camera.seen(self.shown, self.scene.move, number / self.last, self.stage.size)

    def _laid_out(self, first: int) -> Iterator[Image.Image]:
        canvas, count = camera.canvas_size(self.scene.move, self.stage.size), 0
        while True:
            for pixels in self._from(first):
                count += 1
                laid = camera.lay_out(pixels, canvas, filling=self.scene.fit, scale=self.scene.scale, background=self.background)
                if self.repeat and len(self.kept) <= KEPT:
                    self.kept.append(laid)
                yield laid
            if not self.repeat or not count:
                return
            if count > KEPT:
                self.kept.clear()
            while count <= KEPT:
                yield from self.kept

    def _from(self, first: int) -> Iterator[Pixels]:
        """The clip's frames from number `first` on; only its last one where it has no more, since that one stays."""
        zero = math.ceil(self.scene.begin * self._rate - 1e-6)
        near_end = round((self.clip.about.seconds - SHORT) * self._rate) - zero
        for jump in sorted({0, max(0, min(first, near_end))}, reverse=True):  # from the start after all where a header promised too much
            number, shown = jump, None
            for _, shown in videos.frames_of(self.clip.path, start=(zero + jump) / self._rate, fps=self._rate):
                if number >= first:
                    yield shown
                number += 1
            if shown is not None and number <= first:
                yield shown
            if shown is not None or not jump:
                return

    @property
    def _rate(self) -> float:
        """Frames of the clip that are taken for each of its seconds."""
        return self.stage.fps / self.scene.speed


class Lettered:
    """A card: words on the background, all at once or line by line."""

    def __init__(self, card: Card, stage: Stage, num_frames: int, *, background: str) -> None:
        self.base = np.full((stage.size[1], stage.size[0], 3), colour(background), np.uint8)
        self.overlays = _columns(card, stage) if card.writing == "vertical" else _rows(card, stage)
        self.fps, self.card = stage.fps, card
        self.step = min(1.2, 0.6 * num_frames / stage.fps / max(1, len(self.overlays)))  # seconds from line to line

    def frame(self, number: int) -> Pixels:
        """The card at this moment."""
        pixels = self.base.copy()
        for index, overlay in enumerate(self.overlays):
            begin = index * self.step if self.card.reveal == "by-line" else -math.inf
            opacity = (number / self.fps - begin) / APPEAR
            if opacity > 0:
                overlay.onto(pixels, min(1.0, opacity))
        return pixels


def painter(
    scene: Scene, stage: Stage, num_frames: int, *, background: str, picture: Pixels | None, clip: ClipFile | None, repeat: bool, first: int
) -> Painter:
    """The painter of a scene, whose frames are asked for from number `first` on."""
    background = scene.background or background
    if clip is not None:
        return Moving(clip, scene, stage, num_frames, background=background, repeat=repeat, first=first)
    if scene.card is not None:
        return Lettered(scene.card, stage, num_frames, background=background)
    if picture is None:
        return Still(Image.new("RGB", stage.size, colour(background)), scene, stage, num_frames)
    canvas = camera.canvas_size(scene.move, stage.size)
    laid = camera.lay_out(picture, canvas, filling=scene.fit, scale=scene.scale, background=background)
    return Still(laid, scene, stage, num_frames)


def words(text: str, stage: Stage, *, size: float, ink: str, where: Where) -> Overlay:
    """Words over a picture, broken into lines, at a height of the frame."""
    width, height = stage.size
    margin = round(MARGIN * stage.shorter)
    letters = max(8, round(size * stage.shorter))
    pen = Pen(fonts=stage.fonts, size=letters, ink=ink, edge=max(1, round(letters / 14)))
    lines, pen = fitted(text, pen, width - 2 * margin, height // 3)
    drawn = paragraph(lines, pen)
    top = {"top": margin, "middle": (height - drawn.shape[0]) // 2, "bottom": height - margin - drawn.shape[0]}[where]
    return Overlay.of(drawn, top, (width - drawn.shape[1]) // 2, stage.size)


def _rows(card: Card, stage: Stage) -> list[Overlay]:
    """Title and lines in the middle of the frame, each an overlay of its own."""
    width, height = stage.size
    margin = round(MARGIN * stage.shorter)
    letters = max(8, round(card.size * stage.shorter))
    room = height - 2 * margin - (round(letters * 2.4) if card.title else 0)
    lines, pen = fitted(card.text, Pen(fonts=stage.fonts, size=letters, ink=card.colour), width - 2 * margin, room)
    titles: list[str] = []
    large = pen
    if card.title:
        wanted = Pen(fonts=stage.fonts, size=round(pen.size * 1.4), ink=card.colour)
        titles, large = fitted(card.title, wanted, width - 2 * margin, height // 3)
    drawn = [large.line(line) for line in titles] + [pen.line(line) for line in lines]
    steps = [round(large.size * LEADING)] * len(titles) + [round(pen.size * LEADING)] * len(lines)
    gap = round(pen.size * 0.8) if titles else 0
    top = (height - sum(steps) - gap) // 2
    overlays = []
    for number, line in enumerate(drawn):
        overlays.append(Overlay.of(line, top, (width - line.shape[1]) // 2, stage.size))
        top += steps[number] + (gap if number + 1 == len(titles) else 0)
    return overlays


def _columns(card: Card, stage: Stage) -> list[Overlay]:
    """Columns from right to left; the title is the first, a little lower and larger."""
    width, height = stage.size
    margin = round(MARGIN * stage.shorter)
    lines = [line for line in card.text.splitlines() if line.strip()] or [card.text]
    count = len(lines) + (1.6 if card.title else 0)
    longest = max(map(len, [*lines, card.title]))
    largest = min(card.size * stage.shorter, (width - 2 * margin) / (count * 1.7), (height - 2 * margin) / (longest * 1.12 + 0.3))
    pen = Pen(fonts=stage.fonts, size=max(8, int(largest)), ink=card.colour)
    step = pen.size * 1.7
    columns = [pen.column(line) for line in lines]
    tall = max(column.shape[0] for column in columns)
    top, right = (height - tall) // 2, (width + count * step) / 2
    overlays = []
    if card.title:
        title = Pen(fonts=stage.fonts, size=int(pen.size * 1.2), ink=card.colour).column(card.title)
        overlays.append(Overlay.of(title, top, round(right - step * 0.8 - title.shape[1] / 2), stage.size))
        right -= 1.6 * step
    for column in columns:
        overlays.append(Overlay.of(column, top, round(right - step / 2 - column.shape[1] / 2), stage.size))
        right -= step
    return overlays
