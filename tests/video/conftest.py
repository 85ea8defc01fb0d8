"""Small films: a disc or a square that goes to and fro, down or across."""

from __future__ import annotations

import numpy as np
import pytest

from miaobi.core.types import Media, Modality, Record
from miaobi.data import pictures, videos


def drawn(shape: str, *, size: int = 16) -> np.ndarray:
    """A red disc or a green square on nothing, (size, size, 4)."""
    y, x = np.mgrid[: 2 * size : 2, : 2 * size : 2] - size + 1
    inside = (np.hypot(x, y) if shape == "disc" else np.maximum(abs(x), abs(y))) < 0.6 * size
    frame = np.zeros((size, size, 4), np.uint8)
    frame[inside] = (220, 40, 40, 255) if shape == "disc" else (40, 180, 60, 255)
    return frame


def film(shape: str, *, down: bool, count: int = 4) -> Media:
    """The shape going two pixels to and fro."""
    steps = np.rint(np.sin(2 * np.pi * np.arange(count) / count) * 2).astype(int)
    frames = np.stack([np.roll(drawn(shape), step, axis=0 if down else 1) for step in steps])
    return Media(modality=Modality.VIDEO, mime="image/webp", data=videos.encode(videos.Clip(frames, 6.0), "image/webp"))


@pytest.fixture(scope="session")
def films() -> list[Record]:
    """Discs go down, squares across."""
    names = {"disc": "圆", "square": "方"}
    return [
        Record(
            id=f"{shape}-{number}",
            parts=(film(shape, down=shape == "disc"),),
            meta={"caption": {"zh": [names[shape]], "en": [shape]}, "concept": f"{shape} {number}"},
        )
        for shape in names
        for number in range(3)
    ]


@pytest.fixture(scope="session")
def picture() -> Media:
    """A disc as PNG."""
    return Media(modality=Modality.IMAGE, mime="image/png", data=pictures.encode(drawn("disc")), name="image")
