"""One unit of work: its pieces read, its records through the steps, the kept ones and the dropped ones in files of their own.

`python -m miaobi.data.worker FOLDER SECONDS` is a worker process: unit numbers come in on stdin, answers go out on stdout, both as JSON
lines. It ends when stdin does, so workers never outlive a parent that was killed; and unlike `multiprocessing` it neither runs the caller's
main module again nor pickles.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from miaobi.core.artifact import explain_os_errors, write_text
from miaobi.core.errors import MiaobiError
from miaobi.core.types import Record
from miaobi.data import readers
from miaobi.data.duplicates import FIRST_BAND, Keys, content_key, letters, shingles, signer
from miaobi.data.guard import Guard, guarding, heavy, unguarded
from miaobi.data.holdout import group_keys
from miaobi.data.looks import examine, marks
from miaobi.data.plan import Plan, from_json
from miaobi.data.records import Dropped, Seen, blob_of, line_of, media_of, to_line
from miaobi.data.steps import chain

Chain = Callable[[Record], tuple[Record | Dropped, str]]
PART_RECORDS = 50_000
_BLOCK = 512
_BLOCK_LETTERS = 1 << 20


@dataclass(slots=True)
class Summary:
    """What became of a unit; its file is written last and says that the unit is done."""

    read: int = 0
    kept: int = 0
    parts: list[int] = field(default_factory=list)  # records in each part
    dropped: Counter[str] = field(default_factory=Counter)  # "step reason" -> records

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"read": self.read, "kept": self.kept, "parts": self.parts, "dropped": dict(self.dropped)}


def done_path(folder: Path, unit: int) -> Path:
    """The file whose presence says that a unit is done."""
    return folder / f"{unit:06d}.json"


def part_path(folder: Path, unit: int, part: int) -> Path:
    """Kept lines of a unit's part; its numbers lie beside it as `.npy`, the bytes of its media, if any, as `.media`."""
    return folder / f"{unit:06d}-{part:04d}.jsonl"


def dropped_path(folder: Path, unit: int) -> Path:
    """Dropped lines of a unit."""
    return folder / f"{unit:06d}.dropped.jsonl"


class _Parts:
    """Writes kept records to parts of at most `PART_RECORDS`, a block at a time, with their numbers."""

    def __init__(self, folder: Path, unit: int, plan: Plan) -> None:
        self._folder, self._unit = folder, unit
        self._sign = signer(plan.group) if plan.group else None
        self._ngram = plan.group.ngram if plan.group else 1
        self._split, self._within = plan.section.split, plan.within
        self._columns = plan.num_columns
        self._file: IO[bytes] | None = None
        self._blobs: IO[bytes] | None = None
        self._offset = self._waiting = 0
        self._sets: list[set[str]] = []
        self._rows: list[tuple[int, ...]] = []
        self._blocks: list[Keys] = []
        self.counts: list[int] = []

    def add(self, record: Record, source: int, seen: Seen | None = None) -> None:
        if self._file is None:
            self._file = part_path(self._folder, self._unit, len(self.counts)).open("wb")
            self._offset = 0
            self.counts.append(0)
        within = str(record.meta.get(self._within, "")) if self._within else ""
        line, text, blob = to_line(record, source, seen), letters(record.text), blob_of(record)
        self._file.write(line)
        if blob:
            self._blobs = self._blobs or part_path(self._folder, self._unit, len(self.counts) - 1).with_suffix(".media").open("wb")
            self._blobs.write(blob)
        self._rows.append((*content_key(text, blob, within), self._offset, len(record.text), *group_keys(record.meta, self._split)))
        self._sets.append((marks(seen.look) if seen and seen.look else shingles(text, self._ngram)) if self._sign else set())
        self._offset += len(line)
        self.counts[-1] += 1
        self._waiting += len(text)
        if len(self._rows) >= _BLOCK or self._waiting > _BLOCK_LETTERS:
            self._flush()
        if self.counts[-1] >= PART_RECORDS:
            self.close()

    def _flush(self) -> None:
        """Sign the records of a block together."""
        if not self._rows:
            return
        rows = np.array(self._rows, dtype=np.uint64)
        block = np.empty((len(rows), self._columns), dtype=np.uint64)
        block[:, :FIRST_BAND] = rows[:, :FIRST_BAND]
        if self._sign is not None:
            block[:, FIRST_BAND : self._columns + FIRST_BAND - rows.shape[1]] = self._sign(self._sets)
        block[:, self._columns + FIRST_BAND - rows.shape[1] :] = rows[:, FIRST_BAND:]  # the keys of the split's fields come last
        self._blocks.append(block)
        self._sets, self._rows, self._waiting = [], [], 0

    def close(self) -> None:
        """End the part: its lines are complete and its numbers lie beside them, column by column."""
        if self._file is None:
            return
        self._flush()
        self._file.close()
        if self._blobs is not None:
            self._blobs.close()
        self._file = self._blobs = None
        path = part_path(self._folder, self._unit, len(self.counts) - 1).with_suffix(".npy")
        np.save(path, np.asfortranarray(np.concatenate(self._blocks)))
        self._blocks = []


def run_unit(plan: Plan, unit: int, folder: Path, *, most: int | None = None, guard: Guard = unguarded) -> Summary:
    """Read, step and write unit number `unit`; at most `most` records are read. `guard` is around every record with media.

    A worker whose parent was killed goes on to the end of its unit while the next run does the same unit: each writes in a folder of its
    own, and the files are put in place when they are whole.

    Raises:
        DataError: a file that the recipe names cannot be read.
        MiaobiError: the disk is full.
    """
    with explain_os_errors(folder), tempfile.TemporaryDirectory(dir=folder, prefix=f"{unit:06d}.", ignore_cleanup_errors=True) as fresh:
        summary = _run(plan, unit, Path(fresh), too_heavy=heavy(folder, unit), most=most, guard=guard)
        for path in sorted(Path(fresh).iterdir()):
            path.replace(folder / path.name)
        write_text(done_path(folder, unit), json.dumps(summary.to_json()))
    return summary


def _run(plan: Plan, unit: int, folder: Path, *, too_heavy: Container[str], most: int | None, guard: Guard) -> Summary:
    """The records of a unit through the steps into files in `folder`."""
    summary, run, parts = Summary(), chain(plan.steps, plan.places), _Parts(folder, unit, plan)
    with dropped_path(folder, unit).open("wb") as dropped_file:
        for source, read in _read(plan, unit):
            if most is not None and summary.read >= most:
                break
            summary.read += 1
            result, step, seen = _become(read, run, too_heavy, guard)
            if isinstance(result, Record):
                parts.add(result, source, seen)
                summary.kept += 1
            else:
                summary.dropped[f"{step} {result.reason}"] += 1
                dropped_file.write(dropped_line(read, result, step, source))
    parts.close()
    summary.parts = parts.counts
    return summary


def _become(read: Record | Dropped, run: Chain, too_heavy: Container[str], guard: Guard) -> tuple[Record | Dropped, str, Seen | None]:
    """What the steps make of what was read, the step that dropped it, and what is to be seen of its media."""
    if isinstance(read, Dropped):
        return read, "read", None
    if not media_of(read):
        return *run(read), None
    if read.id in too_heavy:
        return Dropped("too_heavy", "it took too long or too much memory"), "read", None
    with guard(read.id):
        result, step = run(read)
        if isinstance(result, Dropped) or not media_of(result):
            return result, step, None
        seen = examine(result)
    return (seen, "read", None) if isinstance(seen, Dropped) else (result, step, seen)


def _read(plan: Plan, unit: int) -> Iterator[tuple[int, Record | Dropped]]:
    """Everything in a unit's pieces, with the number of its source."""
    sources = plan.section.sources()
    for piece in plan.units[unit]:
        source = sources[piece.source]
        for result in readers.records(piece, source, explicit=plan.explicit[piece.source]):
            if isinstance(result, Record) and source.meta:
                result = Record(id=result.id, parts=result.parts, meta={**result.meta, **source.meta})
            yield piece.source, result


def dropped_line(read: Record | Dropped, why: Dropped, step: str, source: int) -> bytes:
    """What the file of dropped records says of one; a row that was never read has no text."""
    values: dict[str, Any] = {"id": read.id, "step": step, "reason": why.reason, "detail": why.detail}
    if isinstance(read, Record):
        values |= {"text": read.text, "meta": dict(read.meta)}
    return line_of({**values, "source": source})


def main() -> None:
    """Answer unit numbers on stdin until it ends."""
    work, seconds = Path(sys.argv[1]), float(sys.argv[2])
    plan = from_json(json.loads((work / "plan.json").read_text(encoding="utf-8")))
    for line in sys.stdin:
        unit = int(line)
        try:
            guard = guarding(work / "units", unit, seconds)
            answer: dict[str, Any] = {"unit": unit, **run_unit(plan, unit, work / "units", guard=guard).to_json()}
        except MiaobiError as error:
            values = {name: str(value) for name, value in error.values.items()}
            answer = {"unit": unit, "error": type(error).__name__, "template": error.template, "values": values}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
