"""When everything happens, and what is refused since it cannot."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from miaobi.apps.common.materials import gather, picture_of, reduced
from miaobi.apps.common.parts import Parts
from miaobi.apps.common.plan import Plan, plan
from miaobi.apps.common.script import Script
from miaobi.core.apps import Desk
from miaobi.core.errors import DataError, MiaobiError, UsageError

Write = Callable[[str], Script]
SAID = "{file: voice.wav, subtitle: 海上生明月}"


def planned(script: Script, desk: Desk) -> Plan:
    return plan(script, gather(script, desk, Parts(script.folder)))


def test_a_scene_lasts_as_long_as_it_says_or_as_its_narration_or_clip(write: Write, desk: Desk) -> None:
    text = f"scenes:\n- card: a\n  seconds: 1.5\n- card: b\n  narration: {SAID}\n- clip: loop.webp\n- card: c\n"
    made = planned(write(text), desk)
    # a narration of 1 s begins after 0.3 s and leaves 0.6 s; a loop of 1 s goes round four times; nothing set is four seconds
    assert [span.frames / made.fps for span in made.spans] == pytest.approx([1.5, 1.875, 4, 4])
    assert made.seconds == pytest.approx(11.375)


def test_scenes_overlap_by_their_transition(write: Write, desk: Desk) -> None:
    made = planned(write("scenes:\n- card: a\n  seconds: 2\n- card: b\n  seconds: 2\n  transition: {kind: dissolve, seconds: 0.5}\n"), desk)
    assert [(span.start, span.end, span.overlap) for span in made.spans] == [(0, 16, 0), (12, 28, 4)]


def test_a_voice_ends_before_the_transition_out_of_its_scene(write: Write, desk: Desk) -> None:
    text = f"scenes:\n- card: a\n  narration: {SAID}\n- card: b\n  transition: {{kind: dissolve, seconds: 2}}\n  seconds: 3\n"
    made = planned(write(text), desk)
    assert made.voices[0].end <= made.spans[1].start / made.fps + 0.13


def test_words_are_shown_while_they_are_heard_and_one_after_the_other(write: Write, desk: Desk) -> None:
    text = f"scenes:\n- card: a\n  narration: {SAID}\n- card: b\n  narration: {{file: voice.wav, subtitle: x y}}\n"
    cues = planned(write(text), desk).cues
    assert [cue.text for cue in cues] == ["海上生明月", "x y"]
    assert cues[0].start == pytest.approx(0.3)
    assert cues[0].end <= cues[1].start
    assert 1.3 <= cues[0].end <= 1.75


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("scenes:\n- picture: nowhere.png\n", 4, "no file at"),
        ("scenes:\n- card: a\n- picture: voice.wav\n", 5, "no picture"),
        ("scenes:\n- clip: red.png\n", 4, "no film"),
        ("scenes:\n- card: a\nmusic: red.png\n", 5, "no sound"),
        ("scenes:\n- card: a\n  narration: {file: voice.wav}\n  seconds: 1\n", 6, "Leave `seconds` out"),
        ("scenes:\n- clip: loop.webp\n  begin: 9\n", 5, "lasts 1.00 s only"),
        ("scenes:\n- card: a\n  seconds: 1\n- card: b\n  transition: {kind: wipe, seconds: 2}\n", 7, "2.00 s together"),
        ("scenes:\n- card: a\nvoices:\n- {file: voice.wav, at: 0}\n- {file: voice.wav, at: 0.5}\n", 7, "before the one at voices.0"),
        ("scenes:\n- card: a\nvoices:\n- {file: voice.wav, at: 3.5}\n", 6, "ends at 4.50 s"),
        ("scenes:\n- card: a\n  effects: [{file: voice.wav, at: 5}]\n", 5, "when all is over"),
        (
            "scenes:\n- card: a\nsubtitles:\n  cues:\n  - {start: 1, end: 2, text: x}\n  - {start: 1.5, end: 3, text: y}\n",
            8,
            "others are still",
        ),
        ("scenes:\n- card: a\nsubtitles:\n  cues:\n  - {start: 2, end: 1, text: x}\n", 7, "before they begin"),
        ("scenes:\n- card: a\nsubtitles:\n  cues:\n  - {start: 9, end: 10, text: x}\n", 7, "after the film's end"),
        ("scenes:\n- card: a\n- picture: {model: nobody, prompt: x}\n", 5, "nobody"),
        ("scenes:\n- card: a\n  narration: {text: hello, model: nobody}\n", 5, "nobody"),
    ],
)
def test_what_cannot_be_is_told_by_line(write: Write, desk: Desk, text: str, line: int, problem: str) -> None:
    with pytest.raises(MiaobiError) as caught:
        planned(write(text), desk)
    assert problem in str(caught.value)
    assert f"line {line}: " in str(caught.value)
    assert isinstance(caught.value, UsageError | DataError)


def test_files_are_named_by_their_hashes_and_makers_kept(write: Write, desk: Desk) -> None:
    script = write("scenes:\n- picture: moon.png\n  effects: [bell]\n  seconds: 1\n")
    found = gather(script, desk, Parts(script.folder))
    assert set(found.used) == {"moon.png"}
    assert len(found.used["moon.png"]) == 64
    assert np.array_equal(picture_of(found.pictures["scenes", 0, "picture"], (96, 64))[16, 16], (250, 220, 90, 255))


def test_photographs_are_made_as_small_as_the_film_needs_them() -> None:
    photograph = np.full((600, 900, 4), (9, 8, 7, 255), np.uint8)
    small = reduced(photograph, (96, 64))
    assert small.shape == (150, 225, 3)
    assert (small == (9, 8, 7)).all()
    clear = photograph.copy()
    clear[0, 0, 3] = 0
    assert reduced(clear, (96, 64)) is clear
