"""What `prepare` is going to do: sources found, files hashed and cut into units of work. Equal plans give equal data sets, to the byte.

The fingerprint is over contents and options, not over paths, times or the number of cores; it decides whether a broken-off run goes on.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from miaobi.core.artifact import file_sha256
from miaobi.core.errors import UsageError
from miaobi.core.recipe import Data
from miaobi.core.types import canonical_json
from miaobi.data import readers
from miaobi.data.duplicates import banding
from miaobi.data.readers.formats import Piece
from miaobi.data.steps import Chosen, chain, choose
from miaobi.data.steps.dedup import Dedup

FORMAT = 1  # counts up when the same plan would give other bytes
UNIT_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Units are lists of pieces; a worker takes one at a time. `sources` describes each source for the card."""

    section: Data
    units: Sequence[Sequence[Piece]]
    explicit: Sequence[bool]
    sources: Sequence[Mapping[str, Any]]
    licence_files: Sequence[Sequence[Path]]
    fingerprint: str

    @property
    def steps(self) -> list[Chosen]:
        """The chosen steps with their options."""
        return choose(self.section.steps)

    @property
    def exact(self) -> bool:
        """Whether equal records are dropped."""
        return any(isinstance(step.options, Dedup) and step.options.method == "exact" for step in self.steps)

    @property
    def near(self) -> Dedup | None:
        """The options by which nearly equal records are dropped."""
        return next((step.options for step in self.steps if isinstance(step.options, Dedup) and step.options.method == "minhash"), None)

    @property
    def group(self) -> Dedup | None:
        """The options by which alike records are kept on one side of the split; None when nothing is held out and nothing dropped."""
        return self.near or (Dedup() if self.section.split.val + self.section.split.test > 0 else None)

    @property
    def num_bands(self) -> int:
        """Columns of band keys that every record leaves."""
        return banding(self.group.group, self.group.permutations)[0] if self.group else 0


def make(section: Data, *, cache: Path | None, offline: bool, on_progress: Callable[[str, int, int | None], None]) -> Plan:
    """Find and hash the files of all sources.

    Raises:
        UsageError: no source, unknown steps or options, shares that leave nothing to train on.
        DataError: a source cannot be found, fetched or read.
    """
    sources = section.sources()
    if not sources:
        raise UsageError(
            "the recipe's data section names no source. Write, say, `source: corpus.txt` or `source: npm:chinese-poetry@2.0.1`"
        )
    if section.split.val + section.split.test >= 1:
        raise UsageError(
            "data.split holds out {share} of the records, which leaves nothing to train on", share=section.split.val + section.split.test
        )
    chosen = choose(section.steps)
    chain(chosen)  # so that options which contradict each other are found before hours of reading
    pieces: list[Piece] = []
    described, explicit, licences, hashes = [], [], [], []
    for number, source in enumerate(sources):
        located = readers.locate(source, cache=cache, offline=offline)
        for done, (name, file) in enumerate(located.files):
            found, sha256 = readers.cut(Piece(source=number, name=name, file=file))
            pieces.extend(found)
            hashes.append([number, name, sha256])
            on_progress("find", done + 1, len(located.files))
        digest = hashlib.sha256(canonical_json([entry[1:] for entry in hashes if entry[0] == number])).hexdigest()
        described.append(
            {
                "name": located.name,
                "licence": located.licence,
                "meta": dict(source.meta),
                "files": len(located.files),
                "bytes": sum(piece.weight for piece in pieces if piece.source == number),
                "sha256": digest,
                "skipped_files": list(located.skipped),
            }
        )
        explicit.append(located.explicit)
        licences.append(tuple(located.licence_files))
    pieces = [replace(piece, file=piece.file.absolute()) for piece in pieces]
    return Plan(
        section=section,
        units=_units(pieces),
        explicit=explicit,
        sources=described,
        licence_files=licences,
        fingerprint=_fingerprint(section, hashes + [[-1, path, file_sha256(Path(path).expanduser())] for path in _files_of(chosen)]),
    )


def _files_of(chosen: Sequence[Chosen]) -> list[str]:
    """Files that steps read, such as word lists: their contents decide, too."""
    return [path for step in chosen for path in getattr(step.options, "files", ())]


def _fingerprint(section: Data, hashes: Sequence[Sequence[Any]]) -> str:
    """SHA-256 over everything that decides a byte of the data set."""
    versions = {name: importlib.metadata.version(name) for name in ("opencc", "tokenizers")}
    return hashlib.sha256(canonical_json([FORMAT, section.model_dump(mode="json"), hashes, versions])).hexdigest()


def _units(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Neighbouring small pieces together, so that a unit is worth the way to a worker."""
    units: list[list[Piece]] = []
    weight = UNIT_BYTES
    for piece in pieces:
        if weight >= UNIT_BYTES:
            units.append([])
            weight = 0
        units[-1].append(piece)
        weight += piece.weight
    return units


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain values, for a worker process."""
    units = [[[p.source, p.name, str(p.file), p.start, p.stop, p.row, p.weight] for p in unit] for unit in plan.units]
    return {
        "fingerprint": plan.fingerprint,
        "section": plan.section.model_dump(mode="json"),
        "explicit": list(plan.explicit),
        "sources": list(plan.sources),
        "licence_files": [[str(path) for path in paths] for paths in plan.licence_files],
        "units": units,
    }


def from_json(values: Mapping[str, Any]) -> Plan:
    """The plan that `to_json` wrote."""
    units = [
        [
            Piece(source=s, name=name, file=Path(file), start=start, stop=stop, row=row, weight=weight)
            for s, name, file, start, stop, row, weight in unit
        ]
        for unit in values["units"]
    ]
    return Plan(
        section=Data.model_validate(values["section"]),
        units=units,
        explicit=values["explicit"],
        sources=values["sources"],
        licence_files=[[Path(path) for path in paths] for paths in values["licence_files"]],
        fingerprint=values["fingerprint"],
    )
