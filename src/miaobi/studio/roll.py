"""A tune as a picture: time to the right, pitch upwards, each part in a colour, bars as lines (a piano roll)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

    from miaobi.data.scores import Score

WIDTH, ROW, MARGIN = 960, 6, 4
COLOURS = ((178, 58, 42), (52, 101, 164), (78, 130, 60), (160, 110, 30), (110, 70, 140), (40, 130, 130))
LINE = (128, 120, 110, 70)
OCTAVE = (128, 120, 110, 34)


def picture(score: Score) -> Image:
    """The notes of a score on a transparent ground, so that light and dark pages show it alike.

    Every two semitones take `ROW * 2` pixels; a tune of two octaves is about 150 pixels high.
    """
    from PIL import Image, ImageDraw

    notes = [note for part in score.parts for note in part.notes]
    low, high = (min(note.pitch for note in notes), max(note.pitch for note in notes)) if notes else (60, 72)
    end = max((note.end for note in notes), default=1)
    image = Image.new("RGBA", (WIDTH, (high - low + 3) * ROW + 2 * MARGIN), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image, "RGBA")
    scale = (WIDTH - 2 * MARGIN) / end
    for pitch in range(low - 1, high + 2):
        if pitch % 12 == 0:
            y = MARGIN + (high + 1 - pitch) * ROW
            draw.rectangle((0, y, WIDTH, y + ROW - 1), fill=OCTAVE)
    for tick in _bars(score, end):
        x = MARGIN + round(tick * scale)
        draw.line((x, 0, x, image.height), fill=LINE)
    for number, part in enumerate(score.parts):
        colour = (*COLOURS[number % len(COLOURS)], 235)
        for note in part.notes:
            top, left = MARGIN + (high + 1 - note.pitch) * ROW, MARGIN + note.start * scale
            draw.rounded_rectangle((left, top, left + max(2.0, note.duration * scale - 1), top + ROW - 1), 2, fill=colour)
    return image


def times(score: Score) -> list[tuple[float, float]]:
    """Seconds and where that is in the picture, from 0 to 1 of its width: at the beginning, wherever the tempo changes, and at the end."""
    from miaobi.data.scores import seconds_at

    end = max(1, score.end)
    ticks = sorted({0, end, *(tick for tick, _ in score.tempos if 0 < tick < end)})
    places = ((MARGIN + tick * (WIDTH - 2 * MARGIN) / end) / WIDTH for tick in ticks)
    return [(round(seconds, 4), round(place, 5)) for seconds, place in zip(seconds_at(score, ticks), places)]


def _bars(score: Score, end: int) -> list[int]:
    """The ticks at which bars begin, by the metres in force."""
    found: list[int] = []
    metres = list(score.metres)
    for place, (start, metre) in enumerate(metres):
        stop = metres[place + 1][0] if place + 1 < len(metres) else end
        length = max(1, score.ticks * 4 * metre[0] // metre[1])
        found += range(start, stop, length)
    return found
