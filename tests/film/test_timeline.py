"""Timelines are read with the lines of their keys: whatever is wrong is told by line and field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from miaobi.apps.common.script import Script
from miaobi.apps.common.timeline import Timeline
from miaobi.core.errors import MiaobiError, UsageError

Write = Callable[[str], Script]


def test_short_forms_stand_for_whole_mappings(write: Write) -> None:
    timeline = write(
        "size: portrait\nscenes:\n- picture: moon.png\n  move: zoom-in\n  narration: 你好\nmusic: tune.wav\nmark: zh\n"
    ).timeline
    scene = timeline.scenes[0]
    assert timeline.size == (720, 1280)
    assert scene.picture is not None
    assert scene.picture.file == "moon.png"
    assert scene.move.kind == "zoom-in"
    assert scene.narration is not None
    assert (scene.narration.text, scene.narration.usual_model()) == ("你好", "narrator")
    assert timeline.music is not None
    assert timeline.music.file == "tune.wav"
    assert timeline.mark.language == "zh"


@pytest.mark.parametrize(
    ("text", "line", "field", "problem"),
    [
        ("scenes:\n- pictur: moon.png\n", 4, "scenes.0.pictur", "Did you mean 'picture'"),
        ("scenes:\n- card: hi\n  seconds: -1\n", 5, "scenes.0.seconds", "more than 0"),
        ("scenes:\n- card: hi\n- background: blau\n", 5, "scenes.1.background", "unknown colour"),
        ("scenes:\n- picture: {file: a.png, prompt: x}\n", 4, "scenes.0.picture", "go with `model`"),
        ("scenes:\n- picture: a.png\n  card: hi\n", 4, "scenes.0", "one of `picture`, `clip` and `card`"),
        ("scenes:\n- card: hi\n  move: {kind: zoom-in, focus: [2, 0]}\n", 5, "scenes.0.move.focus", "between 0 and 1"),
        ("scenes:\n- card: hi\nmusic: {volume: 3}\n", 5, "music", "one of `file` and `model`"),
        ("scenes:\n- card: hi\nending: wipe\n", 0, "", "`ending` is `cut` or `fade`"),
        ("size: [95, 64]\nscenes:\n- card: hi\n", 1, "size", "even numbers"),
        ("size: wide\nscenes:\n- card: hi\n", 1, "size", "landscape, portrait, square"),
        ("scenes: []\n", 3, "scenes", "at least 1"),
        ("scenes:\n- card: hi\n  card: ho\n", 5, "card", "stands twice"),
        ("scenes:\n- &a {card: hi}\n- *a\n", 5, "", "aliases"),
    ],
)
def test_mistakes_are_told_by_line_and_field(write: Write, text: str, line: int, field: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        write(text)
    message = str(caught.value)
    assert problem in message
    assert f"'{field}'" in message or not field
    assert f"line {line}" in message or not line


@pytest.mark.parametrize("text", ["", "- a\n", "scenes: [\n", "a: \x00\n", "scenes: !!python/object:os.system {}\n"])
def test_what_is_no_timeline_is_refused(folder: Path, text: str) -> None:
    (folder / "film.yaml").write_text(text)
    with pytest.raises(MiaobiError):
        Script.load(folder / "film.yaml")


def test_a_missing_timeline_is_told(folder: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        Script.load(folder / "nowhere.yaml")


def test_a_timeline_made_by_a_program_reads_back(folder: Path) -> None:
    timeline = Timeline.model_validate({"scenes": [{"card": {"text": "月"}, "move": {"kind": "pan-left"}}], "music": {"file": "tune.wav"}})
    script = Script.of(timeline, folder)
    (folder / "film.yaml").write_text(script.text, encoding="utf-8")
    assert Script.load(folder / "film.yaml").timeline == timeline


def test_values_are_frozen() -> None:
    timeline = Timeline.model_validate({"scenes": [{"card": {"text": "月"}}]})
    with pytest.raises(ValidationError):
        timeline.fps = 30  # type: ignore[misc]
