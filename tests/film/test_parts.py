"""A film that was interrupted goes on where it was, and becomes the very film of an unbroken run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")

from miaobi import api
from miaobi.apps.common.film import Film, render
from miaobi.apps.common.parts import Parts
from miaobi.apps.common.script import Script
from miaobi.core.apps import Desk, LoadedModel
from miaobi.core.errors import Busy
from miaobi.core.types import Content
from miaobi.data import sounds, videos
from miaobi.data.sounds import Sound
from miaobi.data.videos import Writer

Write = Callable[[str], Script]
PIECE = 16  # frames: eight seconds at two frames a second
FILM = """size: [96, 64]
fps: 2
scenes:
- picture: red.png
  caption: abc
  effects: [{effect: bell, seconds: 1}]
  seconds: 3
- clip: long.mp4
  transition: {kind: dissolve, seconds: 0.5}
  seconds: 9
- clip: loop.webp
  seconds: 6
  move: zoom-in
"""


class Stop(KeyboardInterrupt):
    """A person's Ctrl-C."""


class Counted:
    """A model, and a count of what it made."""

    def __init__(self, model: LoadedModel, watched: Watched) -> None:
        self.model, self.watched, self.card, self.stream = model, watched, model.card, model.stream

    def generate(self, prompt: str = "", *, n: int = 1, seed: int | None = None, **options: Any) -> list[Content]:
        self.watched.made += 1
        return self.model.generate(prompt, n=n, seed=seed, **options)


class Watched:
    """A desk that counts what its models make, and stops the work at a frame."""

    def __init__(self, *, at: int = -1) -> None:
        self.at, self.made, self.told, self.drawn = at, 0, list[str](), list[int]()
        self.desk = Desk(load=self._load, tick=self._tick, news=lambda template, **values: self.told.append(template))

    def _load(self, name: str) -> LoadedModel:
        return Counted(api.load(name), self)

    def _tick(self, phase: str, done: int, total: int | None, detail: str = "") -> None:
        if phase == "rendering":
            self.drawn.append(done)
            if done == self.at:
                raise Stop


@pytest.fixture
def clip(folder: Path) -> None:
    """long.mp4: seven seconds, no two frames alike; shorter than its scene."""
    with Writer(folder / "long.mp4", size=(64, 48), fps=12) as writer:
        for number in range(84):
            writer.add(np.full((48, 64, 3), (3 * number, 255 - 3 * number, 40), np.uint8))


def rendered(script: Script, out: Path, watched: Watched) -> Film:
    return render(script, out, watched.desk, created="2026-01-01T00:00:00Z")


def test_what_was_interrupted_goes_on_and_becomes_the_same_film(write: Write, folder: Path, clip: None) -> None:
    script, whole, first, second, third = write(FILM), *(Watched(at=at) for at in (-1, PIECE + 4, 2 * PIECE + 2, -1))
    expected = rendered(script, folder / "whole.mp4", whole).path.read_bytes()
    out = folder / "out" / "whole.mp4"
    for watched in (first, second):
        with pytest.raises(Stop):
            rendered(script, out, watched)
        assert [path.name for path in out.parent.iterdir()] == ["whole.mp4.parts"]
        assert "kept in" in watched.told[-1]
    assert rendered(script, out, third).path.read_bytes() == expected
    assert [watched.drawn[0] for watched in (first, second, third)] == [0, PIECE, 2 * PIECE]
    assert [watched.made for watched in (whole, first, second, third)] == [1, 1, 0, 0], "what models made is kept"
    assert "going on" in third.told[0]
    assert [path.name for path in out.parent.iterdir()] == ["whole.mp4"]


def test_a_film_that_is_another_now_begins_anew(write: Write, folder: Path) -> None:
    text, out = "size: [96, 64]\nfps: 2\nscenes:\n- picture: red.png\n  seconds: 11\n", folder / "film.mp4"
    with pytest.raises(Stop):
        rendered(write(text), out, Watched(at=PIECE + 1))
    again = Watched()
    frames = videos.decode(rendered(write(text.replace("red", "blue")), out, again).path).frames
    assert again.drawn[0] == 0
    assert np.abs(frames[12, 40, 10].astype(int) - (0, 0, 200)).max() < 12


def test_two_do_not_make_one_film_at_a_time(write: Write, folder: Path) -> None:
    desk = Watched().desk
    with Parts.of(folder / "film.mp4", desk), pytest.raises(Busy, match="another process"):
        render(write("scenes:\n- card: a\n"), folder / "film.mp4", desk)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_writer_goes_on_behind_its_last_whole_piece(folder: Path, suffix: str) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (2 * PIECE + 9, 4, 6, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    sound = Sound(np.sin(np.arange(48000 * 21) / 30).astype(np.float32) / 3, 48000)
    parts = folder / "pieces"
    parts.mkdir()

    def written(name: str, parts: Path | None, stop: int) -> tuple[Path, int]:
        target = folder / f"{name}{suffix}"
        with Writer(target, size=(48, 32), fps=2, parts=parts) as writer:
            begun = writer.num_frames
            for frame in frames[begun:stop]:
                writer.add(frame)
            if stop < len(frames):
                raise Stop
            writer.add_sound(sound)
        return target, begun

    whole, _ = written("whole", None, len(frames))
    with pytest.raises(Stop):
        written("again", parts, PIECE + 7)
    again, begun = written("again", parts, len(frames))
    assert begun == PIECE
    assert again.read_bytes() == whole.read_bytes()
    clip = videos.decode(again)
    assert len(clip.frames) == len(frames)
    gaps = np.abs(clip.frames.astype(int) - frames).mean(axis=(1, 2, 3))
    assert gaps.max() < 20, "every frame is in its place, at the joints, too"
    assert sounds.decode(again.read_bytes()).seconds == pytest.approx(len(frames) / 2, abs=0.05)


@pytest.mark.slow
def test_a_film_survives_kill_9(write: Write, folder: Path) -> None:
    write("size: [640, 360]\nfps: 24\nscenes:\n- picture: red.png\n  seconds: 40\n  move: zoom-in\n  narration: {file: voice.wav}\n")
    command = [
        sys.executable,
        "-c",
        "import sys; from miaobi.cli.main import main; sys.exit(main())",
        "render",
        "film.yaml",
        "--out",
        "film.mp4",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(folder.glob("film.mp4.parts/frames/pictures-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "film.mp4").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"MIAOBI_LANG": "en"})
    assert "frames are there already" in done.stderr
    assert videos.probe(folder / "film.mp4").num_frames == 960
