"""Timelines become films: what is seen, heard and labelled, the same every time, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")

from miaobi.apps.common.film import render
from miaobi.apps.common.script import Script
from miaobi.cli.main import main
from miaobi.core.apps import Desk
from miaobi.core.errors import MiaobiError, UsageError
from miaobi.data import loudness, sounds, videos
from miaobi.trust import label
from miaobi.trust.verify import verify

Write = Callable[[str], Script]
FILM = """scenes:
- picture: red.png
  seconds: 3
- picture: blue.png
  seconds: 2
  transition: {kind: dissolve, seconds: 0.5}
  narration: {file: voice.wav, subtitle: 月}
music: {file: tune.wav, fade_in: 0, fade_out: 0.5}
ending: cut
"""


def test_a_film_shows_its_scenes_says_its_words_and_tells_who_made_it(write: Write, desk: Desk, folder: Path) -> None:
    ticks: list[tuple[str, int, int | None]] = []
    watched = Desk(load=desk.load, tick=lambda phase, done, total, detail="": ticks.append((phase, done, total)))
    film = render(write(FILM), folder / "out" / "film.mp4", watched)
    clip = videos.decode(film.path)
    assert (len(clip.frames), clip.fps, clip.size) == (36, 8.0, (96, 64))  # 4.5 s
    assert np.abs(clip.frames[6, 40, 10].astype(int) - (200, 0, 0)).max() < 12
    assert np.abs(clip.frames[34, 20, 10].astype(int) - (0, 0, 200)).max() < 12
    mixed = clip.frames[22, 20, 10]
    assert 30 < mixed[0] < 170
    assert 30 < mixed[2] < 170
    assert clip.sound is not None
    assert loudness.integrated(clip.sound) == pytest.approx(-16, abs=0.7)
    assert [path.name for path in film.subtitles] == ["film.srt", "film.vtt"]
    assert "月" in film.subtitles[0].read_text(encoding="utf-8")
    assert ticks[-1] == ("rendering", 36, 36)
    verdict = verify(film.path)
    assert verdict.good
    assert verdict.label is not None
    assert set(verdict.label.options["files"]) == {"red.png", "blue.png", "voice.wav", "tune.wav"}
    assert "AI生成" in verdict.label.mark


def test_the_mark_is_seen_for_two_seconds_or_more_and_goes(write: Write, desk: Desk, folder: Path) -> None:
    marked = videos.decode(render(write(FILM), folder / "a.mp4", desk).path).frames
    plain = videos.decode(render(write("mark: none\n" + FILM), folder / "b.mp4", desk).path).frames
    gap = np.abs(marked[:, :16, 48:].astype(int) - plain[:, :16, 48:]).max(axis=(1, 2, 3))
    assert (gap[:20] > 60).all()  # 2.5 s at 8 frames a second
    assert (gap[22:] < 30).all()
    assert label.read(folder / "b.mp4").mark == ""


def test_words_are_in_the_pictures_only_when_wanted(write: Write, desk: Desk, folder: Path) -> None:
    burnt = videos.decode(render(write(FILM), folder / "a.mp4", desk).path).frames[28]
    kept = videos.decode(render(write("subtitles: {burn: false, files: [srt]}\n" + FILM), folder / "b.mp4", desk).path).frames[28]
    assert burnt[45:].max() > 200  # white letters
    assert kept[45:, :, :2].max() < 60
    assert not (folder / "b.vtt").exists()


def test_the_same_timeline_gives_the_same_bytes(write: Write, desk: Desk, folder: Path) -> None:
    script = write(FILM.replace("3\n", "2\n", 1) + "effects: [{effect: bell, at: 0.5, seconds: 1}]\n")
    first, second = (render(script, folder / name, desk, created="2026-01-01T00:00:00Z").path.read_bytes() for name in ("a.mp4", "b.mp4"))
    assert first == second


def test_clips_run_at_their_speed_and_repeat_or_stay(write: Write, desk: Desk, folder: Path) -> None:
    text = "mark: none\nending: cut\nscenes:\n- clip: loop.webp\n  seconds: 2\n  fit: contain\n  {}\n"
    places = {}
    for name, more in (("round", "repeat: true"), ("stay", "repeat: false"), ("slow", "speed: 0.5")):
        frames = videos.decode(render(write(text.format(more)), folder / f"{name}.mp4", desk).path).frames
        green = frames[:, 32, :, 1].astype(float) * (frames[:, 32, :, 0] < 80)
        places[name] = (green * np.arange(96)).sum(axis=1) / np.maximum(1, green.sum(axis=1))  # where the green bar is
    assert places["round"][1] == pytest.approx(places["round"][9], abs=1)
    assert places["stay"][15] == pytest.approx(places["stay"][7], abs=1)
    assert places["slow"][14] == pytest.approx(places["round"][7], abs=1.5)


def test_a_film_is_made_again_from_its_label(write: Write, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("mark: none\nscenes:\n- picture: red.png\n  seconds: 1\n")
    assert main(["render", "film.yaml", "--out", "film.mp4", "-q"]) == 0
    assert main(["replay", "film.mp4", "-q"]) == 0
    (folder / "red.png").write_bytes((folder / "blue.png").read_bytes())
    assert main(["replay", "film.mp4", "-q"]) == 2
    assert "another red.png" in capsys.readouterr().err


def test_nothing_is_left_when_the_disk_is_full(write: Write, desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, out = write(FILM), folder / "new" / "film.mp4"

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(MiaobiError, match="disk is full"):
            render(script, out, desk)
    assert list(out.parent.iterdir()) == []


def test_nothing_is_left_when_it_is_interrupted_and_the_old_film_stays(write: Write, desk: Desk, folder: Path) -> None:
    out = folder / "new" / "film.mp4"
    out.parent.mkdir()
    out.write_bytes(b"old")

    def stop(phase: str, done: int, total: int | None, detail: str = "") -> None:
        if phase == "rendering" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(write(FILM), out, Desk(load=desk.load, tick=stop))
    assert [path.name for path in out.parent.iterdir()] == ["film.mp4"]
    assert out.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["film.avi", "film", "film.png"])
def test_another_ending_is_refused_before_anything_is_done(write: Write, desk: Desk, folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match="film format"):
        render(write("scenes:\n- picture: nowhere.png\n"), folder / name, desk)


def test_the_command_prints_its_files_and_the_draft_is_small(write: Write, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("size: [200, 120]\nscenes:\n- card: {text: 月, writing: vertical, reveal: by-line}\n  seconds: 1\n")
    assert main(["render", "film.yaml", "--draft", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["film"] == "film.mp4"
    assert told["size"] == [100, 60]
    assert videos.probe(folder / "film.mp4").width == 100
    assert label.read(folder / "film.mp4").options["draft"] is True
    assert main(["render", "nowhere.yaml"]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "line", "told"),
    [
        ("- picture: nowhere.png\n", 7, "'scenes.1.picture': there is no file at"),
        ("- narration: {model: narrator, text: 后, voice: hihg}\n", 7, "'scenes.1.narration': unknown voice 'hihg'"),
        (
            "- narration: {model: narrator, text: 后, options: {sped: 2}}\n",
            7,
            "'scenes.1.narration': options of narrator: unknown key 'sped'",
        ),
        ("subtitles: {cues: nowhere.srt}\n", 7, "'subtitles.cues': there is no file at"),
    ],
)
def test_what_is_wrong_is_told_before_a_model_takes_its_time(write: Write, folder: Path, wrong: str, line: int, told: str) -> None:
    def load(name: str) -> Any:
        return SimpleNamespace(card=SimpleNamespace(name=name), generate=lambda prompt, **options: pytest.fail("something was made"))

    script = write("scenes:\n- narration: {model: narrator, text: 先}\n  picture: red.png\n  seconds: 9\n" + wrong)
    with pytest.raises(MiaobiError) as caught:
        render(script, folder / "film.mp4", Desk(load=load))
    assert f"line {line}: {told}" in str(caught.value)
    assert not (folder / "film.mp4.parts").exists()


def test_a_silent_film_has_no_sound(write: Write, desk: Desk, folder: Path) -> None:
    path = render(write("scenes:\n- card: a\n  seconds: 0.5\n"), folder / "film.webm", desk).path
    assert not videos.probe(path).has_sound
    with pytest.raises(MiaobiError):
        sounds.decode(path.read_bytes())
