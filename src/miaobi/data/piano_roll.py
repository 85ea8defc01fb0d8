"""Scores as pictures: a piano roll, time to the right and pitch upwards, a colour a part, lines where bars begin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import DataError
from miaobi.data.pictures import encode
from miaobi.data.scores import Score, read_midi

Pixels = NDArray[np.uint8]  # (H, W, 4)
PAPER, BAR, BEAT, BLACK_KEY = (250, 250, 247), (176, 176, 170), (226, 226, 221), (240, 240, 236)
COLOURS = ((36, 87, 166), (206, 96, 38), (47, 140, 86), (150, 70, 150), (170, 140, 30), (90, 90, 90))
MOST_WIDTH = 16_000
_MARGIN = 2  # semitones above and below


def draw(score: Score, *, height: int = 360, width: int = 0) -> Pixels:
    """The piano roll as (height, width, 4); without a width 24 pixels a quarter, at most `MOST_WIDTH`.

    Raises:
        DataError: a score without a note, or a picture of no size.
    """
    notes = [note for part in score.parts for note in part.notes]
    if not notes:
        raise DataError("the score holds no note")
    end = max(score.end, 1)
    width = width or min(MOST_WIDTH, max(160, 24 * end // score.ticks))
    low = min(note.pitch for note in notes) - _MARGIN
    high = max(note.pitch for note in notes) + _MARGIN
    if not (height >= high - low + 1 and 16 <= width <= MOST_WIDTH and height <= MOST_WIDTH):
        raise DataError("a piano roll of {width} by {height} pixels cannot be drawn", width=width, height=height)
    pixels = np.empty((height, width, 4), np.uint8)
    pixels[...] = (*PAPER, 255)
    rows = height - np.rint(np.arange(high - low + 2) * height / (high - low + 1)).astype(int)  # lower edge of each pitch
    for pitch in range(low, high + 1):
        if pitch % 12 in (1, 3, 6, 8, 10):
            pixels[rows[pitch - low + 1] : rows[pitch - low], :, :3] = BLACK_KEY
    _rule(pixels, score, end)
    for number, part in reversed(list(enumerate(score.parts))):  # the first part lies on top
        colour = np.array(COLOURS[number % len(COLOURS)])
        for note in part.notes:
            left, right = note.start * width // end, max(note.start * width // end + 1, note.end * width // end - 1)
            top, bottom = rows[note.pitch - low + 1], rows[note.pitch - low]
            light = 1 - min(1.0, 0.35 + note.velocity / 160)  # the softer the paler
            pixels[top + 1 : max(top + 2, bottom), left:right, :3] = np.rint(colour * (1 - light) + 255 * light)
    return pixels


def _rule(pixels: Pixels, score: Score, end: int) -> None:
    """Lines at bars and, where there is room, at beats of the first metre."""
    width = pixels.shape[1]
    beat = 4 * score.ticks // score.metre[1]
    for step, colour in ((beat, BEAT), (score.bar, BAR)):
        if step * width // end >= 4:
            columns = np.arange(score.pickup % step, end, step) * width // end
            pixels[:, columns, :3] = colour


def png(midi: bytes, *, height: int = 360, width: int = 0) -> bytes:
    """A MIDI file as a PNG of its piano roll.

    Raises:
        DataError: see `read_midi` and `draw`.
    """
    return encode(draw(read_midi(midi), height=height, width=width))
