"""The animator that ships moves a picture on arrival: without torch, at the picture's size, as a loop that closes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

import miaobi
from miaobi.core.types import Media
from miaobi.data import pictures, videos

SCRIPT = """
import sys
import miaobi
[loop] = miaobi.load("animator").generate("圆", image=sys.argv[1], seed=1, steps=2)
assert loop.parts[0].mime == "image/webp"
print(sorted({"torch", "av", "scipy"} & set(sys.modules)))
"""


def ball(size: int = 96) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    frame = np.zeros((size, size, 4), np.uint8)
    frame[np.hypot(x, y) < size * 0.35] = (230, 160, 40, 255)
    frame[np.hypot(x + size * 0.1, y + size * 0.1) < size * 0.06] = (30, 30, 30, 255)
    return frame


def test_it_moves_a_picture_smoothly_and_comes_round() -> None:
    [content] = miaobi.load("animator").generate("", image=ball(), seed=3)
    [media] = content.parts
    assert isinstance(media, Media)
    clip = videos.decode(media.data)
    assert clip.frames.shape == (48, 96, 96, 4)
    assert abs(clip.seconds - 3) < 0.1
    assert (clip.frames[0] == ball()).all()
    seen = np.stack([pictures.over(frame) for frame in clip.frames]).astype(float)
    steps = np.abs(seen - np.roll(seen, 1, axis=0)).mean(axis=(1, 2, 3))
    assert np.abs(seen - seen[:1]).mean() > 1.0, "a person sees it move: below 0.5 a film counts as still"
    assert steps[0] < 2 * steps.mean(), "the last frame leads to the first"
    assert steps.max() < 4 * steps.mean(), "nothing jumps"


def test_it_needs_neither_torch_nor_a_codec(tmp_path: Path) -> None:
    path = tmp_path / "ball.png"
    path.write_bytes(pictures.encode(ball()))
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_it_is_small_and_whole() -> None:
    from miaobi.core.artifact import open_artifact
    from miaobi.core.shelf import find

    artifact = open_artifact(find("animator"), verify=True)
    assert artifact.family == "video"
    assert sum(file["bytes"] for file in artifact.files.values()) <= 15 << 20
