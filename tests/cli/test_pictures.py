"""`miaobi generate`, `show`, `verify` and `replay` with a model of pictures."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from miaobi.cli.main import INTERRUPTED, main
from miaobi.trust import label, mark, pictures, watermark


def out_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command prints; it must succeed."""
    assert main(words) == 0
    return capsys.readouterr().out


def test_one_picture_several_and_a_folder(daub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert out_of(capsys, "generate", "daub", "a cat", "--out", "cat.png").split() == ["cat.png"]
    assert label.read(Path("cat.png")).prompt == "a cat"
    printed = out_of(capsys, "generate", "daub", "a cat", "--n", "2", "--out", "cat.webp", "--seed", "3").split()
    assert printed == ["cat-1.webp", "cat-2.webp"]
    assert [label.read(Path(name)).index for name in printed] == [0, 1]
    printed = out_of(capsys, "generate", "daub", "a cat", "--n", "3", "--out", "cats/").split()
    assert printed == ["cats/01.png", "cats/02.png", "cats/03.png", "cats/contact.png"]
    assert sorted(path.name for path in Path("cats").iterdir()) == ["01.png", "02.png", "03.png", "contact.png"]
    hashes = [label.read(Path(name)).content_sha256 for name in printed[:3]]
    sheet = label.read(Path("cats/contact.png"))
    assert sheet.parents == tuple(f"picture:{one}" for one in hashes)
    assert sheet.notes["pictures"] == 3
    for name in printed:
        assert main(["verify", name]) == 0
    assert main(["replay", "cats/contact.png"]) == 2


def test_without_out_the_file_is_named_by_prompt_and_seed(daub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert out_of(capsys, "generate", "daub", "一只 猫/../x", "--seed", "7") == "一只-猫-x-7.png\n"
    assert out_of(capsys, "generate", "daub", "一只 猫/../x", "--seed", "7") == "一只-猫-x-7.2.png\n"
    assert out_of(capsys, "generate", "daub", "--seed", "7", "--n", "2").split() == ["daub-7-1.png", "daub-7-2.png"]
    assert Path("一只-猫-x-7.png").read_bytes().replace(b"Z", b"") != b""
    assert label.read(Path("一只-猫-x-7.png")).content_sha256 == label.read(Path("一只-猫-x-7.2.png")).content_sha256


def test_nothing_is_overwritten_and_that_is_said_before_drawing(daub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("cats").mkdir()
    Path("cats/02.png").write_bytes(b"mine")
    Path("file").write_bytes(b"mine")
    for out, words in (
        ("cats/", "cats/02.png exists already"),
        ("file/cat.png", "file"),
        ("cat.bmp", "Known: .gif, .jpeg"),
        ("cat", "Write cat.png for a file, cat/ for a folder"),
        ("poem.md", "unknown file ending '.md'"),
    ):
        assert main(["generate", "daub", "--n", "2", "--out", out, "--stop", "0/1", "--seed", "0"]) in (1, 2)
        assert words in capsys.readouterr().err
    assert Path("cats/02.png").read_bytes() == b"mine"
    assert sorted(path.name for path in Path("cats").iterdir()) == ["02.png"]
    if os.getuid():
        Path("cats").chmod(0o500)
        assert main(["generate", "daub", "--out", "cats/x.png"]) == 1


def test_ctrl_c_keeps_what_was_finished(daub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "daub", "--n", "3", "--seed", "5", "--stop", "6/2", "--out", "cats/"]) == INTERRUPTED
    assert "written: cats/01.png" in capsys.readouterr().err
    assert [path.name for path in Path("cats").iterdir()] == ["01.png"]
    assert main(["verify", "cats/01.png"]) == 0


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".gif", ".tiff"])
@pytest.mark.parametrize("more", [(), ("--mark", "zh"), ("--watermark", "image", "--size", "128"), ("--clear",)])
def test_show_verify_and_replay(daub: Path, suffix: str, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    name = f"cat{suffix}"
    out_of(capsys, "generate", "daub", "一只猫", "--n", "2", "--seed", "9", *more, "--out", name)
    name = f"cat-2{suffix}"
    shown = json.loads(out_of(capsys, "show", name, "--json"))
    assert (shown["kind"], shown["prompt"], shown["seed"], shown["index"]) == ("content", "一只猫", 9, 1)
    verdict = json.loads(out_of(capsys, "verify", name, "--json"))
    assert verdict["good"]
    assert verdict["replayable"] is False or verdict["intact"]
    assert verdict["visible"] == ("AI生成 bottom-right" if "zh" in more else "")
    if "image" in more:
        assert verdict["watermark"]["found"] or suffix == ".gif"  # 256 colours wear it off
        assert f"dwt-svd-1:{watermark.payload_of(shown['source'], shown['request_sha256'], 1):016x}" == shown["watermark"]
    replayed = json.loads(out_of(capsys, "replay", name, "--json", "--out", "again.png"))
    assert replayed["identical"]
    assert pictures.sha256(Path("again.png").read_bytes()) == shown["content_sha256"]
    assert "pixel for pixel" in out_of(capsys, "replay", name)


def test_a_changed_pixel_is_found_and_a_changed_label_too(daub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out_of(capsys, "generate", "daub", "--seed", "1", "--out", "cat.png")
    data = Path("cat.png").read_bytes()
    marked = pictures.read(data)
    pixels = marked.pixels.copy()
    pixels[3, 3, 0] ^= 1
    Path("cat.png").write_bytes(pictures.embed(pictures.encode(pixels, "image/png"), marked.implicit, marked.label))
    assert main(["verify", "cat.png"]) == 1
    assert "the pixels were CHANGED" in capsys.readouterr().out
    assert main(["replay", "cat.png"]) == 0  # the label is whole, so the content can be made again
    Path("bare.png").write_bytes(pictures.encode(pixels, "image/png"))
    assert main(["verify", "bare.png"]) == 1
    assert "no label was found" in capsys.readouterr().out
    assert main(["show", "bare.png"]) == 2
    Path("cut.png").write_bytes(data[:-30])
    assert main(["verify", "cut.png"]) == 3
    assert "cut.png: the picture is damaged or cut off" in capsys.readouterr().err
    Path("text.png").write_text("no picture", encoding="utf-8")
    assert main(["show", "text.png"]) == 3


def test_a_start_picture_and_a_mask(daub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = Image.fromarray(np.full((20, 30, 3), 90, np.uint8))
    start.save("start.jpg")
    half = np.zeros((20, 30), np.uint8)
    half[:, 15:] = 255
    Image.fromarray(half).save("mask.png")
    words = ("generate", "daub", "x", "--image", "start.jpg", "--mask", "mask.png", "--seed", "2", "--steps", "9", "--out", "out.png")
    out_of(capsys, *words)
    made = pictures.decode(Path("out.png").read_bytes())
    assert made.shape == (20, 30, 4)
    assert (abs(made[:, :15, :3].astype(int) - 90) <= 1).all()
    assert (made[:, 15:, :3] != 90).any()
    assert [parent.partition(":")[0] for parent in label.read(Path("out.png")).parents] == ["image", "mask"]
    assert main(["verify", "out.png"]) == 0
    assert main(["replay", "out.png"]) == 2
    assert "--image" in capsys.readouterr().err
    assert main(["replay", "out.png", "--image", "mask.png", "--mask", "mask.png"]) == 2
    assert main(["replay", "out.png", "--image", "start.jpg", "--mask", "mask.png"]) == 0


def test_bad_start_pictures(daub: Path, polly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (8, 8)).save("small.png")
    Image.new("RGB", (9, 8)).save("other.png")
    Path("text.png").write_text("no picture", encoding="utf-8")
    Path("empty.png").write_bytes(b"")
    Path("cut.png").write_bytes(Path("small.png").read_bytes()[:20])
    for words, code, message in (
        (("--image", "none.png"), 2, "there is no file at none.png"),
        (("--image", "."), 2, "is a folder"),
        (("--image", "text.png"), 3, "the image cannot be read"),
        (("--image", "empty.png"), 3, "the image cannot be read"),
        (("--image", "cut.png"), 3, "the image cannot be read"),
        (("--mask", "small.png"), 2, "give the picture too"),
        (("--image", "small.png", "--mask", "other.png"), 2, "the mask has 9 × 8 pixels and the picture 8 × 8"),
        (("--mark", "fr"), 2, "fr"),
        (("--steps", "many"), 2, "'steps' is 'many': a whole number is wanted"),
        (("--steps", "1000000000"), 2, "it should be at most 100"),
    ):
        assert main(["generate", "daub", *words]) == code
        assert message in capsys.readouterr().err
    assert main(["generate", "polly", "--image", "small.png"]) == 2
    assert "unknown option '--image'" in capsys.readouterr().err
    assert not list(Path().glob("daub*.png"))


def test_json_names_the_files(daub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = json.loads(out_of(capsys, "generate", "daub", "--n", "2", "--out", "cats/", "--json"))
    assert [row["file"] for row in value["contents"]] == ["cats/01.png", "cats/02.png"]
    assert value["contact"] == "cats/contact.png"
    assert value["contents"][0]["aigc"]["Label"] == "1"


def test_the_mark_is_as_high_as_the_standard_asks(daub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out_of(capsys, "generate", "daub", "--size", "256", "--mark", "zh", "--seed", "1", "--out", "cat.png")
    assert mark.letter_height(256, 256, "zh") >= 0.05 * 256
    assert label.read(Path("cat.png")).mark == "AI生成 bottom-right"


def test_the_bar_counts_the_steps_of_everything_that_was_asked(daub: Path) -> None:
    import miaobi
    from miaobi.cli.draw import Order, _draw_prompt
    from miaobi.cli.keeping import Keeping
    from miaobi.cli.targets import Files
    from miaobi.trust.containers import SUFFIXES

    order = Order(prompts=["one", "two"], n=3, batched=False, seed=1, options={"steps": 4})
    ticks: list[tuple[str, int, int | None]] = []
    targets = Files("out/", count=order.count, name="x", suffixes=SUFFIXES, contact=True)

    def tick(phase: str, done: int, total: int | None, detail: str = "") -> None:
        ticks.append((phase, done, total))

    for number in range(2):
        _draw_prompt(miaobi.load("daub"), order, number, targets, [], tick, Keeping(None))
    assert ticks == [("drawing", done, 24) for done in range(1, 25)]
    assert len(list(Path("out").iterdir())) == 6


def test_a_picture_that_moves_is_a_gif(daub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("generate", "daub", "x", "--film", "--seed", "1")
    assert out_of(capsys, *words, "--n", "2", "--out", "films/").split() == ["films/01.gif", "films/02.gif", "films/contact.png"]
    assert out_of(capsys, *words) == "x-1.gif\n"
    assert out_of(capsys, *words) == "x-1.2.gif\n"
    assert Image.open("x-1.gif").n_frames == 2
    for name in ("films/01.gif", "x-1.gif"):
        assert main(["verify", name]) == 0
        assert main(["replay", name]) == 0
    assert main([*words, "--out", "x.png"]) == 2
    assert "this picture moves; write it as image/gif" in capsys.readouterr().err
    assert main([*words, "--mark", "zh"]) == 2
    assert "cannot be marked" in capsys.readouterr().err
    assert not Path("x.png").exists()
    assert main(["generate", "daub", "--n", "2", "--out", "films/"]) == 2
    assert "films/01.gif exists already" in capsys.readouterr().err


def test_a_huge_file_is_refused_without_reading_it(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Path("huge.png").open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(1 << 33)  # a sparse file
    assert main(["verify", "huge.png"]) == 3
    assert "8,589,934,592 bytes; files up to 268,435,456 are read" in capsys.readouterr().err
