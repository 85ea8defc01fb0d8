"""Folders of films and loops in rows become records of one shape; what stands still or is no film is dropped with its reason."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from miaobi.core.recipe import Data
from miaobi.core.types import Media
from miaobi.data import pictures, videos
from miaobi.data.prepare import prepare
from miaobi.data.videos import Clip


def moving(count: int, *, size: tuple[int, int] = (40, 30)) -> Clip:
    frames = np.full((count, size[1], size[0], 4), 255, np.uint8)
    for number, frame in enumerate(frames):
        frame[8:20, number % 20 : number % 20 + 12, :3] = (200, 30, 40)
    return Clip(frames, 24.0)


def section(folder: Path, **more: object) -> Data:
    return Data.model_validate({"source": {"path": str(folder), **more}, "steps": [{"clip": {"size": 16, "frames": 8}}]})


def test_a_folder_of_films(tmp_path: Path) -> None:
    pytest.importorskip("av")
    for kind in ("cats", "dogs"):
        (tmp_path / "films" / kind).mkdir(parents=True)
    (tmp_path / "films" / "cats" / "a.mp4").write_bytes(videos.encode(moving(24)))
    (tmp_path / "films" / "dogs" / "b.webm").write_bytes(videos.encode(moving(30), "video/webm"))
    (tmp_path / "films" / "dogs" / "c.mp4").write_bytes(b"no film at all")
    (tmp_path / "films" / "dogs" / "d.mp4").write_bytes(videos.encode(Clip(np.repeat(moving(1).frames, 9, axis=0), 24.0)))
    data = prepare(section(tmp_path / "films"), tmp_path / "data", workers=1)
    records = list(data.split("train"))
    assert sorted(record.meta["class"] for record in records) == ["cats", "dogs"]
    for record in records:
        [media] = record.parts
        assert isinstance(media, Media)
        clip = videos.decode(media.data)
        assert (media.modality, media.mime, clip.frames.shape[:3]) == ("video", "image/webp", (8, 16, 16))
        assert clip.seconds == pytest.approx(1.0, abs=0.3)  # the whole film, as fast as it was
        assert record.meta["licence"] == ""
    dropped = [json.loads(line) for line in (tmp_path / "data" / "dropped.jsonl").read_text().splitlines()]
    assert Counter(line["reason"] for line in dropped) == {"not_a_film": 1, "still": 1}


def test_loops_are_films_where_the_source_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "loops"
    folder.mkdir()
    (folder / "1f431.webp").write_bytes(videos.encode(moving(12), "image/webp"))
    (folder / "1f436.webp").write_bytes(pictures.encode(moving(1).frames[0], "image/webp"))
    fields = {"video": "video", "name": "@stem"}
    data = prepare(section(folder, fields=fields), tmp_path / "data", workers=1)
    [record] = data.split("train")
    assert record.meta["name"] == "1f431"
    assert isinstance(record.parts[0], Media)
    frames = videos.decode(record.parts[0].data).frames
    assert frames.shape == (8, 16, 16, 4)
    assert (frames[:, 0, :, 3] == 0).all()  # wide films have clear margins


def test_rows_that_name_a_film(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "a.gif").write_bytes(videos.encode(moving(12), "image/gif"))
    (tmp_path / "secret.gif").write_bytes(videos.encode(moving(12), "image/gif"))
    rows = [{"file_name": name, "caption_en": "a red box"} for name in ("a.gif", "../secret.gif", "missing.gif")]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    fields = {"video": "file_name", "caption_en": "caption_en"}
    data = prepare(section(folder, fields=fields), tmp_path / "data", workers=1)
    [record] = data.split("train")
    assert record.meta["caption"] == {"en": ["a red box"]}
    reasons = {json.loads(line)["reason"] for line in (tmp_path / "data" / "dropped.jsonl").read_text().splitlines()}
    assert reasons == {"outside_of_folder", "unreadable_file"}


def test_a_stretch_from_the_middle(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "a.webp").write_bytes(videos.encode(moving(20), "image/webp"))
    steps = [{"clip": {"size": 30, "frames": 4, "seconds": 4 / 24, "fit": "cover"}}]
    data = prepare(
        Data.model_validate({"source": {"path": str(folder), "fields": {"video": "video"}}, "steps": steps}), tmp_path / "data", workers=1
    )
    [record] = data.split("train")
    assert isinstance(record.parts[0], Media)
    frames = videos.decode(record.parts[0].data).frames
    left = [int((frame[14, :, 1] < 128).argmax()) for frame in frames]
    assert left == [3, 4, 5, 6]  # frames 8 to 11 of 20, five pixels cut off on either side
