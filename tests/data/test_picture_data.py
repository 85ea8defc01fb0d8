"""Pictures through the whole preparation: into shards with their bytes, the same after a kill, compared by what they look like."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.conftest import dropped

from miaobi.core.errors import DataError
from miaobi.core.recipe import Data
from miaobi.core.types import Media, Modality
from miaobi.data import assemble
from miaobi.data import plan as planning
from miaobi.data.dataset import Dataset
from miaobi.data.looks import look, marks
from miaobi.data.pictures import decode, encode, resize
from miaobi.data.prepare import prepare

STYLES = ("red", "green", "blue", "grey")


def drawing(seed: int, size: int = 24) -> Any:
    """A picture of rectangles: those of different seeds do not look alike."""
    rng = np.random.default_rng(seed)
    pixels = np.full((size, size, 4), 255, np.uint8)
    for _ in range(12):
        top, left = rng.integers(0, size - 4, 2)
        height, width = rng.integers(3, size // 2, 2)
        pixels[top : top + height, left : left + width, :3] = rng.integers(0, 256, 3)
    return pixels


def folder_of(root: Path, number: int = 40) -> Path:
    """A folder with `metadata.jsonl`: every picture has captions in both languages."""
    root.mkdir(parents=True)
    lines = []
    for index in range(number):
        (root / f"{index:03d}.png").write_bytes(encode(drawing(index)))
        lines.append({"file_name": f"{index:03d}.png", "text": [f"图{index}", f"picture {index}"], "style": STYLES[index % 4]})
    (root / "metadata.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return root


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_records_come_back_with_their_bytes(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    root = folder_of(tmp_path / "pictures")
    dataset = make(source=str(root), steps=[{"picture": 24}], split={"val": 0.2, "test": 0.2})
    records = [record for name in ("train", "val", "test") for record in dataset.split(name)]  # type: ignore[arg-type]
    assert len(records) == 40
    assert all(len(dataset.split(name)) for name in ("train", "val", "test"))  # type: ignore[arg-type]
    for record in records:
        [part] = record.parts
        assert isinstance(part, Media)
        assert (part.modality, part.mime) == (Modality.IMAGE, "image/png")
        index = int(part.name.removesuffix(".png"))
        assert (decode(part.data) == drawing(index)).all()
        assert record.meta["caption"] == {"en": [f"picture {index}"], "zh": [f"图{index}"]}
        assert record.meta["style"] == STYLES[index % 4]
        assert record.text == ""
    sent = pickle.loads(pickle.dumps(dataset.split("train")))
    assert sent[3].parts == dataset.split("train")[3].parts


def test_many_shards(tmp_path: Path, make: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_of(tmp_path / "pictures")
    whole = make(source=str(root))
    monkeypatch.setattr(assemble, "MEDIA_BYTES", 1000)
    cut = make(source=str(root))
    assert len(list(cut.folder.glob("train-*.media"))) > 5
    assert [record.parts for record in cut.split("train")] == [record.parts for record in whole.split("train")]
    assert cut.split("train")[39].parts == whole.split("train")[-1].parts
    assert Dataset.open(cut.folder, verify=True).sha256 == cut.sha256


def test_the_hash_is_over_the_bytes_too(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    root = folder_of(tmp_path / "pictures", 6)
    before = make(source=str(root))
    (root / "003.png").write_bytes(encode(255 - drawing(3)[..., :3]))
    after = make(source=str(root))
    assert before.plan != after.plan
    assert before.sha256 != after.sha256
    media = after.folder / "train-00000.media"
    media.write_bytes(media.read_bytes()[:-1] + b"!")
    with pytest.raises(DataError, match=r"train-00000\.media"):
        Dataset.open(after.folder, verify=True)


def test_texts_keep_their_bytes(make: Callable[..., Dataset]) -> None:
    """What a data set of texts is must not change under the models that name it by its hash."""
    dataset = make(["床前明月光，疑是地上霜。", "白日依山尽，黄河入海流。"], steps=["normalise"], split={"val": 0.5})
    assert dataset.sha256 == "b0b2f165cc4663101a40b1bc1214e0493409d105542d3363fdc7d7d23c77562b"
    assert not list(dataset.folder.glob("*.media*"))
    assert "pictures" not in dataset.card
    assert "by" not in dataset.card["split"]


RUN = """
import os, signal, sys
from pathlib import Path
from miaobi.core.recipe import Data
from miaobi.data import plan
from miaobi.data.prepare import prepare
sys.modules["matplotlib"] = None
plan.UNIT_BYTES = 1500
phase, at, seen = sys.argv[3], int(sys.argv[4]), 0
def on_progress(now, done, total):
    global seen
    seen += now == phase
    if now == phase and seen > at:
        os.kill(os.getpid(), signal.SIGKILL)
prepare(Data.model_validate_json(sys.argv[1]), Path(sys.argv[2]), name="test", workers=2, on_progress=on_progress)
"""


def run(section: Data, folder: Path, phase: str = "", at: int = 0) -> int:
    """Prepare in a process of its own, which kills itself in a phase."""
    command = [sys.executable, "-c", RUN, section.model_dump_json(), str(folder), phase, str(at)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=False).returncode


@pytest.mark.parametrize(("phase", "at"), [("read", 4), ("write", 1)])
def test_killed_and_resumed_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str, at: int) -> None:
    root = tmp_path / "pictures"
    for index in range(30):
        path = root / STYLES[index % 4] / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(drawing(index % 25, 48)) if index % 7 else b"broken")
    values = {"source": str(root), "steps": [{"picture": 16}, {"dedup": "picture"}], "split": {"val": 0.2}}
    section = Data.model_validate(values)
    monkeypatch.setattr(planning, "UNIT_BYTES", 1500)
    whole = contents(prepare(section, tmp_path / "whole", name="test", workers=1).folder)
    assert run(section, tmp_path / "killed", phase, at) == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    assert run(section, tmp_path / "killed") == 0
    assert contents(tmp_path / "killed") == whole
    assert whole["train-00000.media"]


def test_alike_pictures_are_one_or_on_one_side(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    """Another size and another file format is the same picture; the same picture in two folders is too, unless the class parts them."""
    root = tmp_path / "pictures"
    (root / "a").mkdir(parents=True)
    (root / "b").mkdir()
    for index in range(20):
        (root / "a" / f"{index}.png").write_bytes(encode(drawing(index, 48)))
    (root / "a" / "other.webp").write_bytes(encode(resize(drawing(5, 48), (96, 96)), "image/webp"))
    (root / "b" / "copy.png").write_bytes(encode(drawing(7, 48)))
    near = make(source=str(root), steps=[{"dedup": "picture"}])
    assert {(entry["id"], entry["reason"], entry["detail"]) for entry in dropped(near)} == {
        ("a/other.webp#1", "near_duplicate", "a/5.png#1"),
        ("b/copy.png#1", "near_duplicate", "a/7.png#1"),
    }
    parted = make(source=str(root), steps=[{"dedup": {"method": "picture", "within": "class"}}])
    assert {entry["id"] for entry in dropped(parted)} == {"a/other.webp#1"}
    exact = make(source=str(root), steps=[{"dedup": {"method": "exact", "within": "class"}}], split={"val": 0.5})
    assert not dropped(exact)
    side = {record.id: record.meta["split"] for name in ("train", "val") for record in exact.split(name)}  # type: ignore[arg-type]
    assert side["a/other.webp#1"] == side["a/5.png#1"]
    assert side["b/copy.png#1"] == side["a/7.png#1"]
    assert set(side.values()) == {"train", "val"}
    assert {entry["reason"] for entry in dropped(make(source=str(root), steps=[{"dedup": "exact"}]))} == {"duplicate"}


def test_marks_tell_colours_and_shapes_apart() -> None:
    def alike(first: Any, second: Any) -> float:
        a, b = marks(look(first)), marks(look(second))
        return len(a & b) / len(a | b)

    icon = np.zeros((64, 64, 4), np.uint8)
    icon[16:48, 16:48] = (220, 30, 30, 255)
    blue = icon.copy()
    blue[16:48, 16:48, :3] = (30, 30, 220)
    white = icon.copy()
    white[16:48, 16:48, :3] = 255
    assert alike(icon, resize(icon, (128, 128))) > 0.95
    assert alike(icon, blue) < 0.85
    assert alike(icon, white) < 0.85
    assert len(marks(look(white))) > 1  # a white thing on nothing has an outline
    assert marks(look(np.zeros((8, 8, 4), np.uint8))) == {"blank"}
    assert max(alike(drawing(first), drawing(second)) for first in range(8) for second in range(first)) < 0.5


def test_dropped_pictures_have_reasons_and_no_bytes(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    for name, data in {
        "good.png": encode(drawing(1)),
        "cut.png": encode(drawing(2))[:60],
        "empty.png": b"",
        "text.png": b"this is text",
        "tiny.png": encode(drawing(3)[:2, :2]),
        "large.png": encode(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)),
        "clear.png": encode(np.zeros((16, 16, 4), np.uint8)),
        "plain.png": encode(np.full((16, 16, 3), 80, np.uint8)),
        "unsafe.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>',
    }.items():
        (root / name).write_bytes(data)
    dataset = make(source=str(root), steps=[{"picture": {"size": 8, "least": 4, "most": 1000}}])
    assert {entry["id"].partition(".")[0]: entry["reason"] for entry in dropped(dataset)} == {
        "cut": "unreadable",
        "empty": "empty",
        "text": "not_a_picture",
        "tiny": "too_small",
        "large": "too_large",
        "clear": "blank",
        "plain": "blank",
        "unsafe": "unreadable",
    }
    assert [record.id for record in dataset.split("train")] == ["good.png#1"]
    assert b"PNG" not in (dataset.folder / "dropped.jsonl").read_bytes()


def test_without_the_step_what_cannot_be_decoded_is_still_dropped(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    (root / "good.png").write_bytes(encode(drawing(1)))
    (root / "cut.png").write_bytes(encode(drawing(2))[:60])
    (root / "drawing.svg").write_bytes(b'<svg xmlns="http://www.w3.org/2000/svg"/>')
    assert {entry["reason"] for entry in dropped(make(source=str(root)))} == {"unreadable", "drawing"}


def test_the_step_lays_over_a_background_and_crops(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    (tmp_path / "icon.png").write_bytes(encode(np.pad(drawing(1), ((0, 0), (8, 8), (0, 0)))))
    for options, corner in (({"size": 16, "background": "#102030"}, [16, 32, 48, 255]), ({"size": 16}, [0, 0, 0, 0])):
        [record] = make(source=str(tmp_path / "icon.png"), steps=[{"picture": options}]).split("train")
        pixels = decode(record.parts[0].data)  # type: ignore[union-attr]
        assert pixels.shape == (16, 16, 4)
        assert pixels[0, 0].tolist() == corner
    [record] = make(source=str(tmp_path / "icon.png"), steps=[{"picture": {"size": 24, "fit": "cover"}}]).split("train")
    assert (decode(record.parts[0].data) == drawing(1)).all()  # type: ignore[union-attr]


def test_a_record_that_hangs_the_renderer_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resvg_py")
    from miaobi.data import pool

    monkeypatch.setattr(pool, "RECORD_SECONDS", 1.0)
    root = tmp_path / "drawings"
    root.mkdir()
    for name, body in {
        "a": '<circle cx="4" cy="4" r="3"/>',
        "b": f'<path d="M0 0{"C1 9 9 1 9 9S0 4 0 0" * 40_000}" fill="none" stroke="black"/>',  # one element, and a long time over it
        "c": '<rect x="1" y="2" width="5" height="3"/>',
    }.items():
        (root / f"{name}.svg").write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{body}</svg>')
    section = Data.model_validate({"source": str(root), "steps": [{"picture": 16}], "split": {"val": 0}})
    dataset = prepare(section, tmp_path / "out", name="test")
    assert [record.id for record in dataset.split("train")] == ["a.svg#1", "c.svg#1"]
    assert [(entry["id"], entry["reason"]) for entry in dropped(dataset)] == [("b.svg#1", "too_heavy")]


def test_the_card_counts_pictures_and_has_a_contact_sheet(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    dataset = make(source=str(folder_of(tmp_path / "pictures")), steps=[{"picture": 24}])
    pictures = dataset.card["pictures"]
    assert pictures["number"] == 40
    assert pictures["sizes"] == {"24x24": 40}
    assert pictures["captioned"] == {"en": 40, "zh": 40}
    assert pictures["rows"] == sorted(STYLES)
    assert dataset.card["meta"]["style"]["most"] == dict.fromkeys(sorted(STYLES), 10)
    sheet = decode((dataset.folder / "contact.png").read_bytes())
    assert sheet.shape[0] == 4 + 4 * 68
    page = (dataset.folder / "README.md").read_text(encoding="utf-8")
    assert "![contact sheet](contact.png)" in page
    assert "24x24 (40)" in page


def test_memory_does_not_grow_with_the_pictures(tmp_path: Path) -> None:
    """The bytes of media go from file to file; 40 MB of them leave a process of a few MB more than its start."""
    root = tmp_path / "pictures"
    root.mkdir()
    rng = np.random.default_rng(0)
    for index in range(64):
        (root / f"{index}.bmp").write_bytes(encode(rng.integers(0, 255, (460, 460, 3), dtype=np.uint8)))
    script = """
import resource, sys
from pathlib import Path
from miaobi.core.recipe import Data
from miaobi.data.prepare import prepare
sys.modules["matplotlib"] = None
section = Data.model_validate({"source": sys.argv[1], "split": {"val": 0.1}})
prepare(section, Path(sys.argv[2]), workers=1, on_progress=lambda phase, done, total: early.setdefault(phase, usage()))
""".replace("prepare(section", "early = {}\nusage = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\nprepare(section", 1)
    script += "print(usage() - early['compare'])\n"
    done = subprocess.run(
        [sys.executable, "-c", script, str(root), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert int(done.stdout) < 30_000  # KiB, of 40 MB of pictures
