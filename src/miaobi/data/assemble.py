"""The last pass over a corpus: lines go to the shards of their side, dropped ones to `dropped.jsonl`, and everything is counted."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from miaobi.core.artifact import file_sha256, write_text
from miaobi.core.types import canonical_json
from miaobi.data import card, tokenizers
from miaobi.data.contact import Contact
from miaobi.data.dataset import FORMAT, MANIFEST, SPLITS, Split, _Shard
from miaobi.data.duplicates import KEPT, NEAR, Marks, Part, Parts, side_of
from miaobi.data.holdout import HELD, NOT_HELD
from miaobi.data.plan import Plan
from miaobi.data.records import line_of, num_media_bytes
from miaobi.data.statistics import Statistics
from miaobi.data.worker import dropped_path

SHARD_BYTES = 64 << 20
MEDIA_BYTES = 1 << 30
TEST = SPLITS.index("test")
DROPPED = "dropped.jsonl"


class _Writer:
    """Lines and the bytes of their media into shards of one side, each with its offsets."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder, self._split = folder, split
        self._file: IO[bytes] | None = None
        self._blobs: IO[bytes] | None = None
        self._offsets, self._blob_offsets = array("Q"), array("Q")
        self.shards: list[dict[str, Any]] = []

    def write(self, line: bytes, blob: bytes) -> None:
        if self._file is None:
            name = f"{self._split}-{len(self.shards):05d}.jsonl"
            self.shards.append({"file": name, "records": 0})
            self._file, self._offsets, self._blob_offsets = (self._folder / name).open("wb"), array("Q", [0]), array("Q", [0])
        self._file.write(line)
        if blob:
            self._blobs = self._blobs or self._path.with_suffix(".media").open("wb")
            self._blobs.write(blob)
        self._offsets.append(self._offsets[-1] + len(line))
        self._blob_offsets.append(self._blob_offsets[-1] + len(blob))
        self.shards[-1]["records"] += 1
        if self._offsets[-1] >= SHARD_BYTES or self._blob_offsets[-1] >= MEDIA_BYTES:
            self.close()

    @property
    def _path(self) -> Path:
        return self._folder / str(self.shards[-1]["file"])

    def close(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        np.save(self._path.with_suffix(".offsets.npy"), np.frombuffer(self._offsets, dtype=np.uint64))
        if self._blobs is not None:
            self._blobs.close()
            self._blobs = None
            self.shards[-1]["media"] = self._path.with_suffix(".media").name
            np.save(self._path.with_suffix(".media.npy"), np.frombuffer(self._blob_offsets, dtype=np.uint64))


def assemble(
    plan: Plan,
    parts: Parts,
    marks: Marks,
    units: Path,
    folder: Path,
    *,
    name: str,
    dropped: Counter[str],
    read: int,
    on_progress: Callable[[str, int, int | None], None],
) -> None:
    """Write the whole data set to `folder`; `dataset.json` comes last."""
    statistics, contact = Statistics(len(plan.sources)), Contact()
    writers = [_Writer(folder, split) for split in SPLITS]
    dropped = Counter(dropped)
    with (folder / DROPPED).open("wb") as dropped_file:
        for unit in range(len(plan.units)):
            if dropped_path(units, unit).is_file():
                with dropped_path(units, unit).open("rb") as file:
                    shutil.copyfileobj(file, dropped_file, 1 << 20)
        for number, part in enumerate(parts):
            start = parts.starts[number]
            stop = start + part.num_records
            sides = side_of(marks.side[start:stop], val=plan.section.split.val, test=plan.section.split.test, seed=plan.section.split.seed)
            sides[marks.held[start:stop] != NOT_HELD] = TEST
            _part(part, parts, marks, start, sides, writers, dropped_file, dropped, statistics, contact)
            on_progress("write", stop, parts.num_records)
    for writer in writers:
        writer.close()
    shards = {split: writer.shards for split, writer in zip(SPLITS, writers, strict=True)}
    if plan.section.tokenizer is not None:
        on_progress("tokenizer", 0, None)
        opened = [_Shard(folder / shard["file"], shard["records"], media="media" in shard) for shard in shards["train"]]
        train = Split("train", opened, [{} for _ in plan.sources])
        tokenizers.train(plan.section.tokenizer, train, statistics.characters["train"], folder / "tokenizer.json")
    on_progress("card", 0, None)
    _licences(plan, folder)
    manifest = _manifest(plan, folder, shards, name)
    card.write(folder, plan, statistics, manifest, contact, dropped=dropped, read=read)
    write_text(folder / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1) + "\n")


def _part(
    part: Part,
    parts: Parts,
    marks: Marks,
    start: int,
    sides: np.ndarray[Any, np.dtype[np.uint8]],
    writers: Sequence[_Writer],
    dropped_file: IO[bytes],
    dropped: Counter[str],
    statistics: Statistics,
    contact: Contact,
) -> None:
    """The lines of one part, each to its place, and the bytes of their media with them."""
    fates = marks.fate[start : start + part.num_records].tolist()
    held = marks.held[start : start + part.num_records].tolist()
    with part.lines.open("rb") as file, _blobs_of(part) as blobs:
        for row, (line, fate, side) in enumerate(zip(file, fates, sides.tolist(), strict=True)):
            values = json.loads(line)
            blob = blobs.read(num_media_bytes(values))
            if fate == KEPT:
                if held[row] != NOT_HELD:
                    values["meta"]["held"] = HELD[held[row]]
                    line = line_of(values)
                writers[side].write(line, blob)
                statistics.add(SPLITS[side], values)
                contact.add(int(marks.side[start + row]), values, blob)
                continue
            original = json.loads(parts.line(int(marks.original[start + row])))["id"]
            reason = "near_duplicate" if fate == NEAR else "duplicate"
            dropped[f"dedup {reason}"] += 1
            entry = {
                "id": values["id"],
                "step": "dedup",
                "reason": reason,
                "detail": original,
                **{key: values[key] for key in ("text", "meta", "source")},
            }
            dropped_file.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n")


def _blobs_of(part: Part) -> IO[bytes]:
    """The bytes of a part's media; none in a part of texts."""
    path = part.lines.with_suffix(".media")
    return path.open("rb") if path.is_file() else io.BytesIO()


def _licences(plan: Plan, folder: Path) -> None:
    """Copy the licence texts of the sources."""
    for number, paths in enumerate(plan.licence_files):
        for path in paths:
            target = folder / "licences" / f"{number:02d}-{path.name}"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)


def _manifest(plan: Plan, folder: Path, shards: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What `dataset.json` says; `sha256` is over the hashes of the shards in order."""
    files = {
        path.relative_to(folder).as_posix(): {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".jsonl", ".npy", ".media") or path.name == "tokenizer.json"
    }
    hashes = [
        [split, *(files[shard[key]]["sha256"] for key in ("file", "media") if key in shard)] for split in SPLITS for shard in shards[split]
    ]
    return {
        "format": FORMAT if any("media" in shard for side in shards.values() for shard in side) else 1,
        "name": name,
        "plan": plan.fingerprint,
        "sha256": hashlib.sha256(canonical_json(hashes)).hexdigest(),
        "licences": sorted({str(source["licence"]) for source in (*plan.sources, *plan.tables) if source["licence"]}),
        "sources": [{key: source[key] for key in ("name", "licence", "sha256")} for source in plan.sources],
        "splits": shards,
        "files": files,
    }
