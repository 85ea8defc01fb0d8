"""The title of a work on its sky: Chinese in a column with a seal below it, English in lines."""

from __future__ import annotations

import numpy as np
from PIL import Image

from miaobi.apps.common.fonts import Fonts
from miaobi.apps.common.lettering import Pen
from miaobi.apps.create.moods import Mood
from miaobi.apps.create.pictures import seal, sky
from miaobi.data.pictures import Pixels
from miaobi.data.subtitles import break_lines

LONGEST_COLUMN = 8  # letters
_MARKS = str.maketrans("", "", "，。！？；、：“”‘’《》,.!?;:")


def draw(title: str, mood: Mood, size: tuple[int, int], *, seed: int, vertical: bool) -> Pixels:
    """The cover, opaque, of this width and height."""
    width, height = size
    frame = sky(mood, width, height, seed=seed)
    letters = _column(title, mood, width, height) if vertical and len(title) <= 3 * LONGEST_COLUMN else _lines(title, mood, width, height)
    frame.alpha_composite(letters, ((width - letters.width) // 2, max(0, round(height * 0.45) - letters.height // 2)))
    return np.asarray(frame)


def _column(title: str, mood: Mood, width: int, height: int) -> Image.Image:
    """Columns from right to left, the seal of the house at the foot of the last."""
    plain = title.translate(_MARKS).replace(" ", "") or title
    rows = -(-len(plain) // -(-len(plain) // LONGEST_COLUMN))
    columns = [plain[start : start + rows] for start in range(0, len(plain), rows)]
    letter = round(min(0.16 * min(width, height), 0.62 * height / (1.12 * rows)))
    pen = Pen(fonts=Fonts.named(), size=letter, ink=mood.ink)
    drawn = [Image.fromarray(pen.column(column)) for column in columns]
    stamp = Image.fromarray(seal("妙笔", side=256)).resize((round(letter * 0.62),) * 2, Image.Resampling.LANCZOS)
    gap = round(letter * 0.35)
    image = Image.new(
        "RGBA", (sum(each.width for each in drawn) + gap * (len(drawn) - 1), max(each.height for each in drawn) + gap + stamp.height)
    )
    right = image.width
    for each in drawn:
        image.alpha_composite(each, (right - each.width, 0))
        right -= each.width + gap
    image.alpha_composite(stamp, ((drawn[-1].width - stamp.width) // 2, drawn[-1].height + gap))
    return image


def _lines(title: str, mood: Mood, width: int, height: int) -> Image.Image:
    for share in (0.11, 0.085, 0.065, 0.05):
        pen = Pen(fonts=Fonts.named(), size=round(share * min(width, height)), ink=mood.ink)
        rows = break_lines(title, columns=max(4, int(width * 0.8 / pen.measure("n"))))
        if len(rows) <= 4 and max(map(pen.measure, rows)) <= width * 0.86:
            break
    drawn = [Image.fromarray(pen.line(row)) for row in rows]
    image = Image.new("RGBA", (max(each.width for each in drawn), sum(each.height for each in drawn)))
    top = 0
    for each in drawn:
        image.alpha_composite(each, ((image.width - each.width) // 2, top))
        top += each.height
    return image
