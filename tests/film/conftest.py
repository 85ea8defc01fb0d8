"""A folder with everything that a small film needs, and a desk with one model that draws."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from miaobi.apps.common.script import Script
from miaobi.core.apps import Desk
from miaobi.core.language import set_language
from miaobi.data import sounds, videos
from miaobi.data.sounds import Sound

RATE = 48_000


def tone(seconds: float, *, pitch: float = 330.0, level: float = 0.3) -> Sound:
    """A tone that is loud all the time."""
    times = np.arange(round(seconds * RATE)) / RATE
    return Sound((level * np.sin(2 * np.pi * pitch * times)).astype(np.float32), RATE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """red.png (opaque), moon.png (with transparency), voice.wav (1 s), tune.wav (2 s), loop.webp (8 frames)."""
    monkeypatch.chdir(tmp_path)
    set_language("en")
    Image.new("RGB", (80, 60), (200, 0, 0)).save("red.png")
    Image.new("RGB", (60, 80), (0, 0, 200)).save("blue.png")
    moon = np.zeros((32, 32, 4), np.uint8)
    moon[8:24, 8:24] = (250, 220, 90, 255)
    Image.fromarray(moon).save("moon.png")
    Path("voice.wav").write_bytes(sounds.encode(tone(1.0)))
    Path("tune.wav").write_bytes(sounds.encode(tone(2.0, pitch=880)))
    frames = np.zeros((8, 24, 24, 4), np.uint8)
    for number in range(8):
        frames[number, :, 3 * number : 3 * number + 3] = (0, 255, 0, 255)
    Path("loop.webp").write_bytes(videos.encode(videos.Clip(frames, 8.0), "image/webp"))
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Callable[[str], Script]:
    """The script of a timeline, which is small unless it says otherwise."""

    def written(text: str) -> Script:
        small = "" if "size:" in text else "size: [96, 64]\nfps: 8\n"
        (folder / "film.yaml").write_text(small + text, encoding="utf-8")
        return Script.load(folder / "film.yaml")

    return written


@pytest.fixture
def desk() -> Desk:
    """Models by name, as the command line gives them."""
    from miaobi import api

    return Desk(load=functools.cache(api.load))
