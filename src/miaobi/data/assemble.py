"""The last pass over a corpus: lines go to the shards of their side, dropped ones to `dropped.jsonl`, and everything is counted."""

from __future__ import annotations

import hashlib
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
from miaobi.data.dataset import FORMAT, MANIFEST, SPLITS, Split, _Shard
from miaobi.data.duplicates import KEPT, NEAR, Marks, Part, Parts, side_of
from miaobi.data.plan import Plan
from miaobi.data.statistics import Statistics
from miaobi.data.worker import dropped_path

SHARD_BYTES = 64 << 20
DROPPED = "dropped.jsonl"


class _Writer:
    """Lines into shards of one side, each with its offsets."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder, self._split = folder, split
        self._file: IO[bytes] | None = None
        self._offsets = array("Q")
        self.shards: list[dict[str, Any]] = []

    def write(self, line: bytes) -> None:
        if self._file is None:
            name = f"{self._split}-{len(self.shards):05d}.jsonl"
            self.shards.append({"file": name, "records": 0})
            self._file, self._offsets = (self._folder / name).open("wb"), array("Q", [0])
        self._file.write(line)
        self._offsets.append(self._offsets[-1] + len(line))
        self.shards[-1]["records"] += 1
        if self._offsets[-1] >= SHARD_BYTES:
            self.close()

    def close(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        path = self._folder / self.shards[-1]["file"]
        np.save(path.with_suffix(".offsets.npy"), np.frombuffer(self._offsets, dtype=np.uint64))


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
    statistics = Statistics(len(plan.sources))
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
            _part(part, parts, marks, start, sides, writers, dropped_file, dropped, statistics)
            on_progress("write", stop, parts.num_records)
    for writer in writers:
        writer.close()
    shards = {split: writer.shards for split, writer in zip(SPLITS, writers, strict=True)}
    if plan.section.tokenizer is not None:
        on_progress("tokenizer", 0, None)
        train = Split("train", [_Shard(folder / shard["file"], shard["records"]) for shard in shards["train"]], [{} for _ in plan.sources])
        tokenizers.train(plan.section.tokenizer, train, statistics.characters["train"], folder / "tokenizer.json")
    on_progress("card", 0, None)
    _licences(plan, folder)
    manifest = _manifest(plan, folder, shards, name)
    card.write(folder, plan, statistics, manifest, dropped=dropped, read=read)
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
) -> None:
    """The lines of one part, each to its place."""
    fates = marks.fate[start : start + part.num_records].tolist()
    with part.lines.open("rb") as file:
        for row, (line, fate, side) in enumerate(zip(file, fates, sides.tolist(), strict=True)):
            values = json.loads(line)
            if fate == KEPT:
                writers[side].write(line)
                statistics.add(SPLITS[side], values)
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
        if path.suffix in (".jsonl", ".npy") or path.name == "tokenizer.json"
    }
    hashes = [[split, files[shard["file"]]["sha256"]] for split in SPLITS for shard in shards[split]]
    return {
        "format": FORMAT,
        "name": name,
        "plan": plan.fingerprint,
        "sha256": hashlib.sha256(canonical_json(hashes)).hexdigest(),
        "licences": sorted({str(source["licence"]) for source in plan.sources if source["licence"]}),
        "sources": [{key: source[key] for key in ("name", "licence", "sha256")} for source in plan.sources],
        "splits": shards,
        "files": files,
    }
