"""A prepared data set: JSONL shards with an index of byte offsets, so that any record is one seek away and nothing is held in memory.

`dataset.json` is written last and names every shard with its SHA-256; a folder without it is unfinished. The offsets are a NumPy array of
uint64 (n + 1) that is mapped, not read. The bytes of media stand one after the other in a `.media` file beside, with offsets of their own.
"""

from __future__ import annotations

import bisect
import functools
import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from miaobi.core.artifact import file_sha256
from miaobi.core.errors import DataError, unknown
from miaobi.core.types import Record
from miaobi.data.records import from_line

MANIFEST = "dataset.json"
FORMAT = 2  # 1 without media: what older versions read too
SPLITS = ("train", "val", "test")
SplitName = Literal["train", "val", "test"]


class _Shard:
    """One file of lines and its offsets; both are mapped on first use, also after being sent to another process."""

    def __init__(self, path: Path, records: int, *, media: bool = False) -> None:
        self.path = path
        self.records = records
        self.media = media

    @functools.cached_property
    def offsets(self) -> NDArray[np.uint64]:
        offsets: NDArray[np.uint64] = np.load(self.path.with_suffix(".offsets.npy"), mmap_mode="r", allow_pickle=False)
        return offsets

    @functools.cached_property
    def lines(self) -> mmap.mmap:
        with self.path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    @functools.cached_property
    def blob_offsets(self) -> NDArray[np.uint64]:
        offsets: NDArray[np.uint64] = np.load(self.path.with_suffix(".media.npy"), mmap_mode="r", allow_pickle=False)
        return offsets

    @functools.cached_property
    def blobs(self) -> mmap.mmap:
        with self.path.with_suffix(".media").open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def record(self, row: int, common: Sequence[Mapping[str, Any]]) -> Record:
        line = self.lines[int(self.offsets[row]) : int(self.offsets[row + 1])]
        blob = self.blobs[int(self.blob_offsets[row]) : int(self.blob_offsets[row + 1])] if self.media else b""
        return from_line(line, common, blob)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "records": self.records, "media": self.media}


class Split(Sequence[Record]):
    """The records of one side, by number: `split[3]`, `len(split)`, iteration, slices. It may be sent to data workers."""

    def __init__(self, name: str, shards: Sequence[_Shard], common: Sequence[Mapping[str, Any]]) -> None:
        self.name = name
        self._shards = shards
        self._common = [{**meta, "split": name} for meta in common]
        self._starts = [0]
        for shard in shards:
            self._starts.append(self._starts[-1] + shard.records)

    @classmethod
    def at(cls, described: Mapping[str, Any]) -> Split:
        """The split that `described` describes."""
        shards = [_Shard(Path(path), records, media=media) for path, records, media in described["shards"]]
        return cls(described["name"], shards, described["common"])

    def described(self) -> dict[str, Any]:
        """Plain values that say where it lies, for another process of this machine."""
        shards = [[str(shard.path.absolute()), shard.records, shard.media] for shard in self._shards]
        return {"name": self.name, "shards": shards, "common": self._common}

    def __len__(self) -> int:
        return self._starts[-1]

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has {len(self)} records")
        number = bisect.bisect_right(self._starts, index) - 1
        return self._shards[number].record(index - self._starts[number], self._common)

    def __iter__(self) -> Iterator[Record]:
        for shard in self._shards:
            for row in range(shard.records):
                yield shard.record(row, self._common)


class Dataset:
    """A prepared data set on disk. `sha256` is over the records of all splits, so it names the data in models' manifests."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.name = str(manifest["name"])
        self.sha256 = str(manifest["sha256"])
        self.plan = str(manifest["plan"])
        self.licences: tuple[str, ...] = tuple(manifest["licences"])
        self._common = [{"source": source["name"], "licence": source["licence"]} for source in manifest["sources"]]
        self._files: Mapping[str, Mapping[str, Any]] = manifest["files"]
        self._shards = {
            split: [_Shard(folder / shard["file"], int(shard["records"]), media="media" in shard) for shard in shards]
            for split, shards in manifest["splits"].items()
        }
        tokenizer = folder / "tokenizer.json"
        self.tokenizer: Path | None = tokenizer if tokenizer.is_file() else None

    @classmethod
    def open(cls, folder: Path, *, verify: bool = False) -> Dataset:
        """The data set in `folder`; `verify=True` also reads and hashes every file.

        Raises:
            DataError: no folder, unfinished, damaged, or of a newer format.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise DataError("there is no finished data set in {folder}. Make it with: miaobi prepare", folder=folder)
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            number = int(manifest["format"])
            if number > FORMAT:
                raise DataError(
                    "data set {folder} has format {number}; this miaobi reads up to {known}", folder=folder, number=number, known=FORMAT
                )
            dataset = cls(folder, manifest)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError("data set {folder}: {manifest} is damaged ({error})", folder=folder, manifest=MANIFEST, error=error) from None
        dataset._check(verify)
        return dataset

    def _check(self, verify: bool) -> None:
        for name, entry in self._files.items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != entry["bytes"] or (verify and file_sha256(path) != entry["sha256"]):
                raise DataError("data set {folder}: {name} is missing or damaged. Prepare it again", folder=self.folder, name=name)

    def split(self, name: SplitName) -> Split:
        """One side of the data.

        Raises:
            UsageError: no such split.
        """
        if name not in self._shards:
            raise unknown("split", name, self._shards)
        return Split(name, self._shards[name], self._common)

    @functools.cached_property
    def card(self) -> Mapping[str, Any]:
        """What the data is: counts, lengths, licences, what was dropped and why."""
        card: Mapping[str, Any] = json.loads((self.folder / "card.json").read_text(encoding="utf-8"))
        return card
