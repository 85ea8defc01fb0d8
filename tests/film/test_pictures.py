"""What is on the frames: the camera, transitions, letters."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from miaobi.apps.common import camera
from miaobi.apps.common.fonts import Fonts
from miaobi.apps.common.lettering import Overlay, Pen, broken, fitted, paragraph
from miaobi.apps.common.timeline import Move, Transition
from miaobi.apps.common.transitions import between
from miaobi.core.errors import UsageError

FRAME = (80, 60)
RED, BLUE = (np.full((60, 80, 3), ink, np.uint8) for ink in ((200, 0, 0), (0, 0, 200)))
PEN = Pen(fonts=Fonts.named(), size=20, edge=1)


@pytest.mark.parametrize("kind", ["zoom-in", "zoom-out", "pan-left", "pan-right", "pan-up", "pan-down"])
def test_the_camera_stays_on_the_canvas_and_never_jumps(kind: str) -> None:
    move = Move.model_validate({"kind": kind, "amount": 0.3})
    width, height = camera.canvas_size(move, FRAME)
    boxes = [camera.window(move, step / 50, FRAME) for step in range(51)]
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width + 1e-6
        assert 0 <= top < bottom <= height + 1e-6
        assert (right - left) / (bottom - top) == pytest.approx(80 / 60, rel=0.02)
    steps = np.abs(np.diff(np.array(boxes), axis=0)).max(axis=1)
    assert steps.max() < 2.0
    assert steps[0] < steps[25]  # it starts gently


def test_a_zoom_goes_in_and_a_pan_goes_to_its_side() -> None:
    first, last = (camera.window(Move(kind="zoom-in", amount=0.5), share, FRAME) for share in (0, 1))
    assert first[2] - first[0] == pytest.approx(120)
    assert last[2] - last[0] == pytest.approx(80)
    assert camera.window(Move(kind="pan-right"), 1, FRAME)[0] > camera.window(Move(kind="pan-right"), 0, FRAME)[0]
    assert camera.window(Move(kind="pan-up"), 1, FRAME)[1] < camera.window(Move(kind="pan-up"), 0, FRAME)[1]


def test_pictures_of_other_shapes_fill_the_frame() -> None:
    tall = np.full((120, 40, 4), (10, 200, 30, 255), np.uint8)
    covered = np.array(camera.lay_out(tall, FRAME, filling="cover", scale=1, background="#000000"))
    contained = np.array(camera.lay_out(tall, FRAME, filling="contain", scale=0.5, background="#ffffff"))
    blurred = np.array(camera.lay_out(tall, FRAME, filling="blur", scale=1, background="#000000"))
    assert (covered == (10, 200, 30)).all()
    assert tuple(contained[2, 2]) == (255, 255, 255)
    assert tuple(contained[30, 40]) == (10, 200, 30)
    assert (contained[:, 40] == (10, 200, 30)).all(axis=-1).sum() == 30  # half of the frame's height
    assert tuple(blurred[30, 40]) == (10, 200, 30)
    assert 90 < blurred[30, 4, 1] < 150  # the margin is the picture itself, darker


@pytest.mark.parametrize("kind", ["fade", "dissolve", "wipe", "slide"])
@pytest.mark.parametrize("towards", ["left", "right", "up", "down"])
def test_transitions_begin_with_one_scene_and_end_with_the_other(kind: str, towards: str) -> None:
    move = Transition.model_validate({"kind": kind, "towards": towards})
    black = np.zeros_like(RED)
    frames = [between(RED, BLUE, move, share=share, background=black) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    blueness = [float(frame[..., 2].mean()) for frame in frames]
    assert np.array_equal(frames[0], RED)
    assert np.array_equal(frames[-1], BLUE)
    assert blueness == sorted(blueness)
    if kind == "fade":
        assert not frames[2].any()
    else:
        assert 80 < blueness[2] < 120


def test_wipes_go_where_they_say() -> None:
    frame = between(RED, BLUE, Transition(kind="wipe", towards="right"), share=0.5, background=RED)
    assert tuple(frame[30, 5]) == (0, 0, 200)
    assert tuple(frame[30, 75]) == (200, 0, 0)
    frame = between(RED, BLUE, Transition(kind="slide", towards="up"), share=0.25, background=RED)
    assert tuple(frame[58, 40]) == (0, 0, 200)
    assert tuple(frame[5, 40]) == (200, 0, 0)


def test_lines_fit_and_no_line_begins_with_a_comma() -> None:
    text = "海上生明月，天涯共此时。情人怨遥夜，竟夕起相思。灭烛怜光满，披衣觉露滋。"
    for width in (90, 130, 200):
        lines = broken(text, PEN, width)
        assert "".join(lines) == text
        assert all(PEN.measure(line) <= width for line in lines)
        assert not any(line[0] in "，。" for line in lines)
    assert broken("A wide WINDOW of words", PEN, 120) != ["A wide WINDOW of words"]
    assert " ".join(broken("A wide WINDOW of words", PEN, 120)) == "A wide WINDOW of words"


def test_letters_get_smaller_until_they_fit_and_are_cut_only_then() -> None:
    lines, pen = fitted("春眠不觉晓处处闻啼鸟" * 4, PEN, 120, 60)
    assert pen.size < PEN.size
    assert paragraph(lines, pen).shape[0] <= 60 + pen.size
    lines, pen = fitted("春眠不觉晓" * 200, PEN, 100, 30)
    assert lines[-1].endswith("…")


def test_our_font_has_the_letters_of_verse_and_others_are_looked_for() -> None:
    own = Fonts.named()
    assert own.missing("中秋月夜，Hello 3.5℃「」—…") == ""
    drawn = PEN.line("月")
    assert drawn[..., 3].max() == 255
    assert drawn.shape[0] == PEN.height
    assert own.missing("\U0010fffe") == "\U0010fffe"
    with pytest.raises(UsageError, match="unknown font"):
        Fonts.named("no such font")


def test_columns_are_upright() -> None:
    column = PEN.column("望月，")
    assert column.shape[0] > 2.5 * column.shape[1]
    ink = column[..., 3].sum(axis=1)
    assert ink[: PEN.size].sum() > 0
    assert ink[-PEN.size :].sum() > 0


def test_an_overlay_covers_what_is_behind_by_its_opacity() -> None:
    pixels = np.zeros((10, 10, 4), np.uint8)
    pixels[2:8, 2:8] = (255, 255, 255, 255)
    frame = RED.copy()
    Overlay.of(pixels, 5, -4, FRAME).onto(frame)  # partly outside
    assert tuple(frame[8, 1]) == (255, 255, 255)
    assert tuple(frame[6, 1]) == (200, 0, 0)
    half = RED.copy()
    Overlay.of(pixels, 5, 5, FRAME).onto(half, 0.5)
    assert abs(int(half[10, 10, 1]) - 128) <= 2


def test_a_transparent_picture_keeps_its_background() -> None:
    moon = np.zeros((32, 32, 4), np.uint8)
    moon[8:24, 8:24] = (250, 220, 90, 255)
    laid = camera.lay_out(moon, FRAME, filling="contain", scale=1, background="#101828")
    assert isinstance(laid, Image.Image)
    assert laid.getpixel((2, 2)) == (16, 24, 40)
    assert laid.getpixel((40, 30)) == (250, 220, 90)
