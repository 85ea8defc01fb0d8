"""The library as a folder that needs no database to be read: `library.jsonl` beside `files/`. It is the export, the import and the backup.

One line is one content with everything that was said of it; choices, which belong to two contents, stand with the chosen one. A folder is
written under another name and renamed when it is whole. What is read is not trusted: labels, hashes and judgements are checked, and an
import changes nothing when a line is wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from miaobi.core.artifact import explain_os_errors, new_folder, write_bytes
from miaobi.core.errors import ArtifactError, DataError, UsageError
from miaobi.core.types import Modality
from miaobi.library import words
from miaobi.library.preferences import Preference, preferences
from miaobi.library.store import EVERYTHING, Kept, Library, Query, id_of, searched
from miaobi.library.tables import ChoiceRow, CommentRow, ContentRow, EditRow, ParentRow, PartRow, RatingRow, TagRow
from miaobi.trust import label as labels
from miaobi.trust.media import suffix_of

ROWS, FILES, PREFERENCES = "library.jsonl", "files", "preferences.jsonl"
FORMAT = "miaobi.library/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How much went out or came in."""

    contents: int
    files: int
    known: int = 0


def export(library: Library, folder: Path, *, query: Query = EVERYTHING) -> Moved:
    """Write contents that fit, their files and all judgements to a new folder.

    Raises:
        UsageError: the folder is there already.
        DataError: a file of the library is lost or damaged.
    """
    _refuse(folder)
    contents, files = 0, set()
    with new_folder(folder) as new, (new / ROWS).open("w", encoding="utf-8", newline="\n") as lines:
        choices = _choices(library)
        for kept in library.each(query):
            for stored in kept.media:
                path = new / FILES / (stored.sha256 + suffix_of(stored.mime))
                if stored.sha256 not in files:
                    path.parent.mkdir(exist_ok=True)
                    write_bytes(path, library.part(stored).data)
                    files.add(stored.sha256)
            lines.write(json.dumps(as_dict(kept, choices.get(kept.id, ())), ensure_ascii=False) + "\n")
            contents += 1
    return Moved(contents=contents, files=len(files))


def export_preferences(library: Library, folder: Path, *, kinds: tuple[str, ...], query: Query = EVERYTHING) -> int:
    """Write `preferences.jsonl` (`prompt`, `chosen`, `rejected` and what is known beside) to a new folder, with the files that it names.

    Raises:
        UsageError: the folder is there already, or an unknown kind.
        DataError: nobody has preferred anything yet, or a file is lost.
    """
    _refuse(folder)
    found = list(preferences(library, kinds=kinds, query=query))
    if not found:
        raise DataError("nothing was preferred yet: rate, choose or edit contents first (miaobi library rate, choose, edit)")
    with new_folder(folder) as new, (new / PREFERENCES).open("w", encoding="utf-8", newline="\n") as lines:
        for preference in found:
            lines.write(json.dumps(_with_files(library, preference, new), ensure_ascii=False) + "\n")
    return len(found)


def _with_files(library: Library, preference: Preference, folder: Path) -> dict[str, Any]:
    """A preference whose media lie in the folder, by their names there."""
    row = preference.as_dict()
    if preference.modality == Modality.TEXT:
        return row
    for key in ("chosen", "rejected"):
        with library.database.reading() as session:
            mime = session.scalar(sa.select(PartRow.mime).where(PartRow.sha256 == row[key]).limit(1)) or ""
        path = folder / FILES / (row[key] + suffix_of(mime))
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            write_bytes(path, library.files.get(row[key]))
        row[key] = str(path.relative_to(folder).as_posix())
    return row


def as_dict(kept: Kept, rejected: tuple[Mapping[str, Any], ...] | list[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """A content as plain values; `rejected` are the choices that it won."""
    return {
        "format": FORMAT,
        "id": kept.id,
        "modality": str(kept.modality),
        "origin": kept.origin,
        "kept": kept.kept,
        "label": labels.to_dict(kept.label),
        "parts": [part if isinstance(part, str) else {**asdict(part), "modality": str(part.modality)} for part in kept.parts],
        "tags": list(kept.tags),
        "ratings": [asdict(said) for said in kept.ratings],
        "edits": [asdict(said) for said in kept.edits],
        "comments": [asdict(said) for said in kept.comments],
        "chosen_over": [dict(choice) for choice in rejected],
        "parents": [dict(parent) for parent in kept.made_from],
    }


def import_(library: Library, folder: Path) -> Moved:
    """Take in what `export` wrote; contents that are here already stay as they are.

    Raises:
        UsageError: no such folder.
        DataError: a line or a file is damaged; nothing was taken in.
    """
    rows = list(_read(folder))
    files = {media["sha256"]: _file(folder, media) for row in rows for media in _media(row)}
    for path in files.values():
        library.files.put(path.read_bytes())
    known = 0
    with library.database.writing() as session:
        numbers: dict[str, int] = {}
        for row in rows:
            there = session.scalar(sa.select(ContentRow.number).where(ContentRow.id == row["id"]))
            known += there is not None
            if there is None:
                new = _row(row)
                session.add(new)
                session.flush()
                words.index(session, new.number, searched(new))
                numbers[row["id"]] = new.number
        for row in rows:
            if row["id"] not in numbers:
                continue
            for choice in row["chosen_over"]:
                other = session.scalar(sa.select(ContentRow.number).where(ContentRow.id == choice["rejected"]))
                if other is not None:
                    session.add(ChoiceRow(chosen=numbers[row["id"]], rejected=other, by=choice["by"], at=choice["at"]))
    return Moved(contents=len(rows) - known, files=len(files), known=known)


def _read(folder: Path) -> Iterator[dict[str, Any]]:
    """The checked lines of an exported folder."""
    path = folder / ROWS
    if not path.is_file():
        raise UsageError("{folder} holds no exported library ({name} is missing)", folder=folder, name=ROWS)
    with explain_os_errors(path), path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield _checked(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError, ArtifactError, RecursionError) as error:
                raise DataError("{path}, line {line}: this is no content of a library ({problem})", path=path, line=number,
                                problem=error) from None  # fmt: skip


def _checked(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose values are of the right types; its id is that of its label, and its modality is known."""
    if row["format"] != FORMAT:
        raise ValueError(f"format {row['format']!r}")
    label = labels.from_dict(row["label"])
    if row["id"] != id_of(label):
        raise ValueError("its id is not that of its label")
    Modality(row["modality"])
    for media in _media(row):
        Modality(media["modality"])
        if len(bytes.fromhex(media["sha256"])) != 32 or not isinstance(media["bytes"], int):
            raise ValueError("media")
    strings = [row["origin"], row["kept"], *_texts(row), *row["tags"]]
    said = [*row["ratings"], *row["edits"], *row["comments"]]
    strings += [text for each in said for text in (each["by"], each["at"])]
    strings += [each["value"] for each in (*row["edits"], *row["comments"])]
    strings += [choice[key] for choice in row["chosen_over"] for key in ("rejected", "by", "at")]
    strings += [parent[key] for parent in row["parents"] for key in ("role", "sha256")]
    strings += [media[key] for media in _media(row) for key in ("mime", "name")]
    for text in strings:
        if not isinstance(text, str) or "\0" in text:
            raise ValueError("a value is no text")
        text.encode()  # half of a surrogate pair is none either
    if not all(type(each["value"]) is int and 1 <= each["value"] <= 5 for each in row["ratings"]):
        raise ValueError("a rating is not from 1 to 5")
    return row


def _file(folder: Path, media: Mapping[str, Any]) -> Path:
    """A file of the folder that is what the row says."""
    found = next(iter(sorted((folder / FILES).glob(f"{media['sha256']}.*"))), None)
    if found is None or hashlib.sha256(found.read_bytes()).hexdigest() != media["sha256"]:
        raise DataError("{folder}: the file {sha256} is missing or damaged; nothing was taken in", folder=folder, sha256=media["sha256"])
    return found


def _texts(row: Mapping[str, Any]) -> list[str]:
    return [part for part in row["parts"] if isinstance(part, str)]


def _media(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [part for part in row["parts"] if not isinstance(part, str)]


def _part(position: int, part: str | Mapping[str, Any]) -> PartRow:
    if isinstance(part, str):
        data = part.encode()
        sha256 = hashlib.sha256(data).hexdigest()
        return PartRow(position=position, text=part, modality="text", mime="text/plain", name="", sha256=sha256, bytes=len(data))
    return PartRow(position=position, text=None, **{key: part[key] for key in ("modality", "mime", "name", "sha256", "bytes")})


def _row(row: Mapping[str, Any]) -> ContentRow:
    label, parts = labels.from_dict(row["label"]), [_part(place, part) for place, part in enumerate(row["parts"])]
    return ContentRow(
        id=row["id"],
        modality=row["modality"],
        family=label.family,
        model=label.model,
        prompt=label.prompt,
        content_sha256=label.content_sha256,
        label=dict(row["label"]),
        origin=row["origin"],
        kept=row["kept"],
        parts=parts,
        parents=[ParentRow(position=place, role=each["role"], sha256=each["sha256"]) for place, each in enumerate(row["parents"])],
        tags=[TagRow(name=name) for name in dict.fromkeys(row["tags"])],
        ratings=[RatingRow(value=each["value"], by=each["by"], at=each["at"]) for each in row["ratings"]],
        edits=[EditRow(after=each["value"], by=each["by"], at=each["at"]) for each in row["edits"]],
        comments=[CommentRow(text=each["value"], by=each["by"], at=each["at"]) for each in row["comments"]],
    )


def _choices(library: Library) -> dict[str, list[Mapping[str, Any]]]:
    """Of every chosen content, what it was chosen over."""
    better, worse = sa.orm.aliased(ContentRow), sa.orm.aliased(ContentRow)
    wanted = sa.select(better.id, worse.id, ChoiceRow.by, ChoiceRow.at).select_from(ChoiceRow)
    wanted = wanted.join(better, better.number == ChoiceRow.chosen).join(worse, worse.number == ChoiceRow.rejected)
    found: dict[str, list[Mapping[str, Any]]] = {}
    with library.database.reading() as session:
        for chosen, rejected, by, at in session.execute(wanted.order_by(ChoiceRow.number)):
            found.setdefault(chosen, []).append({"rejected": rejected, "by": by, "at": at})
    return found


def _refuse(folder: Path) -> None:
    if folder.exists():
        raise UsageError("{folder} is there already; name a new folder", folder=folder)
