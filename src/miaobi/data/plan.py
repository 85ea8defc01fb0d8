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
from miaobi.core.errors import DataError, UsageError
from miaobi.core.home import home
from miaobi.core.recipe import Data
from miaobi.core.types import canonical_json
from miaobi.data import readers
from miaobi.data.duplicates import FIRST_BAND, banding
from miaobi.data.holdout import num_keys
from miaobi.data.readers.formats import Piece
from miaobi.data.steps import Chosen, chain, choose, packages_of
from miaobi.data.steps.dedup import Dedup

FORMAT = 1  # counts up when the same plan would give other bytes
UNIT_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Units are lists of pieces; a worker takes one at a time. `sources` and `tables` (what steps read) are described for the card."""

    section: Data
    units: Sequence[Sequence[Piece]]
    explicit: Sequence[bool]
    sources: Sequence[Mapping[str, Any]]
    tables: Sequence[Mapping[str, str]]
    licence_files: Sequence[Sequence[Path]]
    pictures: bool
    places: Mapping[str, Path]
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
    def within(self) -> str:
        """The field of meta whose values part equal records."""
        return next((step.options.within for step in self.steps if isinstance(step.options, Dedup) and step.options.method == "exact"), "")

    @property
    def near(self) -> Dedup | None:
        """The options by which nearly equal records are dropped."""
        return next((step.options for step in self.steps if isinstance(step.options, Dedup) and step.options.method != "exact"), None)

    @property
    def group(self) -> Dedup | None:
        """The options by which alike records are kept on one side of the split; None when nothing is held out and nothing dropped."""
        split = self.section.split
        held = split.val + split.test + split.hold + split.pairs > 0
        return self.near or (Dedup(method="picture" if self.pictures else "exact") if held else None)

    @property
    def num_columns(self) -> int:
        """Numbers that every record leaves: its key and place, its bands, and the keys of the fields that the split goes by."""
        bands = banding(self.group.group, self.group.permutations)[0] if self.group else 0
        return FIRST_BAND + bands + num_keys(self.section.split)


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
    places, tables = _tables_of(chosen, cache=cache, offline=offline)
    chain(chosen, places)  # so that options which contradict each other are found before hours of reading
    pieces: list[Piece] = []
    described, explicit, licences, hashes = [], [], [], []
    pictures = any(isinstance(step.options, Dedup) and step.options.method == "picture" for step in chosen)
    for number, source in enumerate(sources):
        located = readers.locate(source, cache=cache, offline=offline)
        for done, (name, file) in enumerate(located.files):
            found, sha256 = readers.cut(Piece(source=number, name=name, file=file))
            pieces.extend(found)
            hashes.append([number, name, sha256])
            on_progress("find", done + 1, len(located.files))
        hashes += [[number, name, file_sha256(file)] for name, file in located.companions]
        pieces = _weighted(pieces, number, sum(file.stat().st_size for _, file in located.companions))
        pictures = pictures or located.pictures
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
    hashes += [[-2, table["name"], table["sha256"]] for table in tables]
    licences += [tuple(readers.packages.licence_files(place)) for place in places.values()]
    versions = ("opencc", "tokenizers", *(("pillow", "resvg-py") if pictures else ()))
    return Plan(
        section=section,
        units=_units(pieces),
        explicit=explicit,
        sources=described,
        tables=tables,
        licence_files=licences,
        pictures=pictures,
        places=places,
        fingerprint=_fingerprint(
            section, hashes + [[-1, path, file_sha256(Path(path).expanduser())] for path in _files_of(chosen)], versions
        ),
    )


def _weighted(pieces: Sequence[Piece], source: int, more: int) -> list[Piece]:
    """The pieces with the bytes of a source's companions shared out among those of the source."""
    own = sum(piece.weight for piece in pieces if piece.source == source)
    if not more or not own:
        return list(pieces)
    return [replace(piece, weight=piece.weight * (own + more) // own) if piece.source == source else piece for piece in pieces]


def _tables_of(chosen: Sequence[Chosen], *, cache: Path | None, offline: bool) -> tuple[dict[str, Path], list[dict[str, str]]]:
    """Where the packages and folders lie that steps read, such as tables of names, and what they are."""
    places: dict[str, Path] = {}
    tables: list[dict[str, str]] = []
    for path in packages_of(chosen):
        if readers.packages.scheme_of(path):
            package = readers.packages.fetch(path, cache or home() / "cache", offline=offline)
            places[path] = package.folder
            tables.append({"name": path, "licence": package.licence, "sha256": package.integrity})
            continue
        places[path] = Path(path).expanduser()
        if not places[path].is_dir():
            raise DataError("there is no folder {path}, which a step of data.steps reads", path=path)
        files = [
            (file.relative_to(places[path]).as_posix(), file_sha256(file)) for file in sorted(places[path].rglob("*")) if file.is_file()
        ]
        tables.append({"name": path, "licence": "", "sha256": hashlib.sha256(canonical_json(files)).hexdigest()})
    return places, tables


def _files_of(chosen: Sequence[Chosen]) -> list[str]:
    """Files that steps read, such as word lists: their contents decide, too."""
    return [path for step in chosen for path in getattr(step.options, "files", ())]


def _fingerprint(section: Data, hashes: Sequence[Sequence[Any]], packages: Sequence[str]) -> str:
    """SHA-256 over everything that decides a byte of the data set."""
    versions = {name: _version(name) for name in packages}
    return hashlib.sha256(canonical_json([FORMAT, section.model_dump(mode="json"), hashes, versions])).hexdigest()


def _version(package: str) -> str:
    """The version of an installed package; empty for one of an extra that is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


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
        "tables": list(plan.tables),
        "licence_files": [[str(path) for path in paths] for paths in plan.licence_files],
        "pictures": plan.pictures,
        "places": {name: str(path) for name, path in plan.places.items()},
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
        tables=values["tables"],
        licence_files=[[Path(path) for path in paths] for paths in values["licence_files"]],
        pictures=values["pictures"],
        places={name: Path(path) for name, path in values["places"].items()},
        fingerprint=values["fingerprint"],
    )
