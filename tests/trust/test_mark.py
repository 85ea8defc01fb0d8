"""The visible mark measures what the standard asks, and can be read on any background."""

from __future__ import annotations

import numpy as np
import pytest

from miaobi.core.errors import UsageError
from miaobi.trust import mark
from miaobi.trust.mark import CORNERS, WORDS, draw, letter_height


def runs(filled: np.ndarray) -> list[tuple[int, int]]:
    """Starts and ends of the stretches that are True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], filled.astype(int), [0]])))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2])]


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (256, 512), (512, 300), (1024, 1024), (2000, 400)])
@pytest.mark.parametrize("language", WORDS)
def test_every_letter_is_five_percent_high(size: tuple[int, int], language: str) -> None:
    """Measured in the picture: the ink of each letter, taken column by column, the hyphen aside."""
    width, height = size
    marked = draw(np.zeros((height, width, 4), np.uint8), language)
    ink = marked[..., 0] > 100
    letters = [ink[:, start:end] for start, end in runs(ink.any(axis=0))]
    heights = [int(np.ptp(np.flatnonzero(letter.any(axis=1)))) + 1 for letter in letters]
    tall = [one for one in heights if one > max(heights) / 3]  # the hyphen is lower than any letter
    assert min(tall) >= 0.05 * min(size)
    assert len(tall) >= (3 if width >= 128 else 1)  # in the smallest picture letters touch
    assert letter_height(width, height, language) >= 0.05 * min(size)


@pytest.mark.parametrize("shade", [0, 60, 128, 200, 255])
@pytest.mark.parametrize("opacity", [0, 128, 255])
def test_letters_stand_out_on_every_background(shade: int, opacity: int) -> None:
    """The luminance contrast of WCAG 2 between letters and plate, the picture lying on white, grey or black paper."""
    before = np.full((256, 256, 4), shade, np.uint8)
    before[..., 3] = opacity
    marked = draw(before, "zh").astype(float)
    for paper in (0, 128, 255):
        seen = marked[..., 0] * marked[..., 3] / 255 + paper * (1 - marked[..., 3] / 255)
        plate = seen[-1, -1]
        letters = seen[-30:, -80:].max()
        light, dark = (((value / 255 + 0.055) / 1.055) ** 2.4 + 0.05 for value in (letters, plate))
        assert light / dark > 4.5


@pytest.mark.parametrize("corner", CORNERS)
def test_only_the_corner_changes(corner: str) -> None:
    before = np.random.default_rng(0).integers(0, 256, (200, 300, 4), np.uint8)
    rows, columns = np.nonzero((draw(before, "en", corner=corner) != before).any(axis=-1))
    top, left = corner.startswith("top"), corner.endswith("left")
    assert (rows.min() == 0) == top
    assert (rows.max() == 199) == (not top)
    assert (columns.min() == 0) == left
    assert (columns.max() == 299) == (not left)
    assert len(rows) < 0.1 * 200 * 300


def test_the_smallest_pictures() -> None:
    for shape in ((1, 1), (3, 400), (400, 3), (16, 16)):
        assert draw(np.zeros((*shape, 4), np.uint8), "en").shape == (*shape, 4)


def test_the_words_and_places_are_known_by_name() -> None:
    for language in WORDS:
        for corner in CORNERS:
            assert mark.described(mark.describe(language, corner)) == (language, corner)
    assert mark.described("something else") is None
    assert mark.described("") is None
    for wrong in ({"language": "fr"}, {"language": "zh", "corner": "middle"}):
        with pytest.raises(UsageError, match="Known"):
            draw(np.zeros((9, 9, 4), np.uint8), **wrong)


def test_both_words_hold_what_the_standard_asks_for() -> None:
    assert WORDS["zh"] == "AI生成"
    assert "AI" in WORDS["en"]
