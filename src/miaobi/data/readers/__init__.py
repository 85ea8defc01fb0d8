"""Sources become records: files, folders, globs, archives and packages of registries, through one function, `read`.

`locate` finds the files of a source, `cut` parts them into pieces that can be read alone (so all cores can), `records` reads one piece.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from miaobi.core.errors import DataError, MiaobiError, UsageError, unknown
from miaobi.core.home import home
from miaobi.core.recipe import Source
from miaobi.core.types import Media, Record
from miaobi.data import conversations
from miaobi.data.readers import packages
from miaobi.data.readers.encoding import COMPRESSED, explain_read_errors
from miaobi.data.readers.formats import FORMATS, Piece, format_of, rows
from miaobi.data.readers.pictures import ICONS, METADATA, captions, is_caption, pictures_in
from miaobi.data.readers.sounds import sound_record, sounds_in
from miaobi.data.readers.videos import clips_in
from miaobi.data.records import Dropped

_PLAIN = (str, int, float, bool)
PIECE_BYTES = 16 << 20
METADATA_BYTES = 64 << 10
EVERYTHING = "**/*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """The files of a source: names relative to its root, and what is known of it."""

    files: Sequence[tuple[str, Path]]
    companions: Sequence[tuple[str, Path]]  # files that rows of the others name: pictures of metadata, the emoji of an icon set
    pictures: bool
    skipped: Sequence[str]  # files whose format nobody knows, or of the other kind: texts among pictures, pictures among texts
    name: str
    licence: str
    licence_files: Sequence[Path]
    explicit: bool  # one file, named: then its damage is an error and not a dropped file


def read(
    source: Source, *, cache: Path | None = None, offline: bool = False, on_dropped: Callable[[Dropped], None] | None = None
) -> Iterator[Record]:
    """Every record of a source, in the order of its files' names.

    Rows that cannot be read go to `on_dropped`; without it the first of them is an error, so that nothing is lost silently.

    Raises:
        DataError: no such file, nothing in it, damage, no permission, no network, or a row without the text field.
        UsageError: an unknown format, encoding or package name.
    """
    located = locate(source, cache=cache, offline=offline)
    common = {"source": located.name, "licence": located.licence, **source.meta}
    found = False
    for name, file in located.files:
        for row in records(Piece(source=0, name=name, file=file), source):
            if isinstance(row, Record):
                found = True
                yield Record(id=row.id, parts=row.parts, meta={**row.meta, **common})
            elif on_dropped is not None:
                on_dropped(row)
            else:
                raise DataError("{place} cannot be used: {reason} {detail}", place=row.id, reason=row.reason, detail=row.detail)
    if not found:
        raise DataError("{path} holds no record", path=source.path)


def locate(source: Source, *, cache: Path | None = None, offline: bool = False) -> Located:
    """The files of a source, fetched or unpacked first where need be.

    Raises:
        DataError, UsageError: see `read`.
    """
    cache = cache or home() / "cache"
    scheme = packages.scheme_of(source.path)
    if scheme:
        split = source.files if scheme == "hf" and source.files != EVERYTHING else "train"
        package = packages.fetch(source.path, cache, offline=offline, split=split)
        name = f"{scheme}:{package.name}{'==' if scheme == 'pypi' else '@'}{package.version}"
        pattern = EVERYTHING if scheme == "hf" else source.files
        return _in_folder(package.folder, pattern, source, name=name, licence=package.licence)
    path = Path(source.path).expanduser()
    with explain_read_errors(path):
        if path.is_file():
            if path.suffix in (".zip", ".tar", ".tgz") or path.suffixes[-2:] == [".tar", ".gz"]:
                return _in_folder(_unpacked(path, cache), source.files, source, name=source.path)
            return _one_file(path, source)
        if path.is_dir():
            return _in_folder(path, source.files, source, name=source.path)
    if any(character in source.path for character in "*?["):
        root = Path(path.anchor or ".")  # Path.glob takes relative patterns only
        matched = [match for match in sorted(root.glob(str(path.relative_to(path.anchor)))) if match.is_file() and match.name[0] != "."]
        return _several(matched, [match.as_posix() for match in matched], source, name=source.path)
    near = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else [], n=1)
    if near:
        raise DataError("there is nothing at {path}. Did you mean '{near}'?", path=source.path, near=near[0])
    raise DataError("there is nothing at {path}", path=source.path)


def _one_file(path: Path, source: Source) -> Located:
    if format_of(path) is None:
        suffix = "".join(path.suffixes[-2:] if path.suffix in COMPRESSED else path.suffixes[-1:])
        raise UsageError("{path}: unknown format '{suffix}'. Known: {known}", path=path, suffix=suffix, known=" ".join(FORMATS))
    pictures, companions = _is_picture(path), _companions([(path.name, path)], [])
    return Located(
        files=[(path.name, path)],
        companions=companions,
        pictures=pictures or bool(companions) or bool(source.shape),
        skipped=(),
        name=source.path,
        licence=source.licence,
        licence_files=(),
        explicit=True,
    )


def _is_picture(path: Path) -> bool:
    kind = format_of(path)
    return kind is not None and kind.picture


def _unpacked(path: Path, cache: Path) -> Path:
    """An archive's content in the cache, under the hash of the archive."""
    from miaobi.core.artifact import file_sha256, new_folder

    folder = cache / "archives" / file_sha256(path)[:32]
    if not folder.is_dir():
        with new_folder(folder) as fresh:
            packages.unpack(path, fresh / "content")
    return folder / "content"


def _in_folder(folder: Path, pattern: str, source: Source, *, name: str, licence: str = "") -> Located:
    """The files under `folder` that match, hidden ones aside."""
    try:
        matched = sorted(folder.glob(pattern))
    except (ValueError, NotImplementedError) as error:
        raise UsageError("data.source.files '{pattern}' is no glob: {error}", pattern=pattern, error=error) from None
    matched = [path for path in matched if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    names = [path.relative_to(folder).as_posix() for path in matched]
    return _several(matched, names, source, name=name, licence=licence, licences=packages.licence_files(folder), pattern=pattern)


def _several(
    paths: Sequence[Path],
    names: Sequence[str],
    source: Source,
    *,
    name: str,
    licence: str = "",
    licences: Sequence[Path] = (),
    pattern: str = "",
) -> Located:
    files = [(shown, path) for shown, path in zip(names, paths, strict=True) if format_of(path)]
    if pattern == EVERYTHING and any(path.name == ICONS for _, path in files):
        files = [(shown, path) for shown, path in files if path.name == ICONS]  # the other files of a package of icons describe it
    drawn = [(shown, path) for shown, path in files if _is_picture(path)]
    companions = _companions(files, drawn)
    if companions:
        listed = {path for _, path in companions}
        files = [(shown, path) for shown, path in files if path.name in (*METADATA, ICONS) or (_is_picture(path) and path not in listed)]
    elif drawn and len(drawn) < len(files):  # one kind a source: the one that has more files
        files = drawn if 2 * len(drawn) > len(files) else [(shown, path) for shown, path in files if not _is_picture(path)]
    used = {path for _, path in (*files, *companions)}
    skipped = [shown for shown, path in zip(names, paths, strict=True) if path not in used]
    if not files:
        raise DataError(
            "{path} {pattern} holds no file of a known format ({num_skipped} others). Known: {known}",
            path=source.path,
            pattern=pattern,
            num_skipped=len(skipped),
            known=" ".join(FORMATS),
        )
    return Located(
        files=files,
        companions=companions,
        pictures=bool(companions) or bool(source.shape) or any(_is_picture(path) for _, path in files),
        skipped=skipped,
        name=name,
        licence=source.licence or licence,
        licence_files=licences,
        explicit=False,
    )


def _companions(files: Sequence[tuple[str, Path]], drawn: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """The pictures beside or below a `metadata` file, and the `chars.json` beside an icon set: their contents decide, too."""
    described = [path.parent for _, path in files if path.name in METADATA]
    found = [(shown, path) for shown, path in drawn if any(path.is_relative_to(folder) for folder in described)]
    for shown, path in files:
        if path.name == ICONS and path.with_name("chars.json").is_file():
            found.append((shown + "/chars.json", path.with_name("chars.json")))
    return found


def cut(piece: Piece) -> tuple[list[Piece], str]:
    """Parts of a file that can be read by themselves, and the SHA-256 of the file; both in one pass over it.

    A jsonl is cut after line ends every 16 MiB, a parquet by row groups; all else stays whole.
    """
    digest = hashlib.sha256()
    by_line = _is_plain_jsonl(piece.file)
    piece_bytes = METADATA_BYTES if piece.file.name in METADATA else PIECE_BYTES  # a line of metadata stands for a picture
    cuts, line, next_cut, position = [(0, 1)], 1, piece_bytes, 0
    with explain_read_errors(piece.file), piece.file.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            if by_line:
                while (end := block.find(b"\n", max(0, next_cut - position - 1))) >= 0 and position + len(block) >= next_cut:
                    cuts.append((position + end + 1, line + block.count(b"\n", 0, end + 1)))
                    next_cut = cuts[-1][0] + piece_bytes
                line += block.count(b"\n")
            position += len(block)
    if piece.file.suffix.lower() == ".parquet":
        return _row_groups(piece, position), digest.hexdigest()
    stops = [start for start, _ in cuts[1:]] + [position]
    whole = len(cuts) == 1
    parts = [
        Piece(
            source=piece.source, name=piece.name, file=piece.file, start=start, stop=None if whole else stop, row=row, weight=stop - start
        )
        for (start, row), stop in zip(cuts, stops, strict=True)
        if stop > start or whole
    ]
    return parts, digest.hexdigest()


def _is_plain_jsonl(file: Path) -> bool:
    """Whether line ends can be found without decoding: not in compressed files, nor in UTF-16."""
    if file.suffix.lower() not in (".jsonl", ".ndjson"):
        return False
    with explain_read_errors(file), file.open("rb") as stream:
        head = stream.read(1 << 12)
    return b"\0" not in head and not head.startswith((b"\xff\xfe", b"\xfe\xff"))


def _row_groups(piece: Piece, size: int) -> list[Piece]:
    """One piece a row group; a damaged file stays one piece, whose reading then says so."""
    from miaobi.core.errors import MissingExtra

    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MissingExtra(str(piece.file), "data", "pyarrow") from None
    try:
        with parquet.ParquetFile(piece.file) as table:
            counts = [table.metadata.row_group(number).num_rows for number in range(table.num_row_groups)]
    except (ArrowException, OSError):
        counts = []
    if len(counts) < 2:
        return [Piece(source=piece.source, name=piece.name, file=piece.file, weight=size)]
    firsts = [1 + sum(counts[:number]) for number in range(len(counts))]
    return [
        Piece(source=piece.source, name=piece.name, file=piece.file, start=number, stop=number + 1, row=row, weight=size // len(counts))
        for number, row in enumerate(firsts)
    ]


def records(piece: Piece, source: Source, *, explicit: bool = True) -> Iterator[Record | Dropped]:
    """The records of a piece; rows that cannot be read as `Dropped`. Damage to the whole file is raised when `explicit`, else dropped too.

    Raises:
        DataError: the file cannot be read (when `explicit`).
    """
    text_key, kind = source.fields.get("text", ""), format_of(piece.file)
    key = text_key or (kind.text if kind else "text")
    if kind is not None and kind.text == "paragraph" and key not in ("paragraph", "line", "file"):
        raise UsageError("a txt file has the text fields paragraph, line and file, not '{key}'", key=key)
    file = _of_file(piece, source.fields)
    try:
        for number, row in rows(piece, encoding=source.encoding, text=text_key):
            place = f"{piece.name}#{number}"
            if isinstance(row, Dropped):
                yield Dropped(row.reason, row.detail, place)
                continue
            row = {**row, **file} if file else row
            sound = sounds_in(row, source, piece)
            if sound is not None:
                yield sound_record(sound, row, place, source.fields)
                continue
            found = [row["score"]] if isinstance(row.get("score"), Media) else clips_in(row, source, piece)
            found = pictures_in(row, source, piece) if found is None else found
            if found is None:
                yield conversations.record_of(row, place, source.fields) or _record(row, place, key, source.fields)
            else:
                yield from _picture_records(found, row, place, source.fields)
    except DataError as error:
        if explicit:
            raise
        yield Dropped("unreadable_file", _english(error), piece.name)


def _of_file(piece: Piece, fields: Mapping[str, str]) -> dict[str, str]:
    """Columns that every row has when `fields` asks for them: `@file`, `@stem` and `@folder`, from the file's name."""
    path = PurePosixPath(piece.name)
    known = {"@file": piece.name, "@stem": path.stem, "@folder": path.parent.name}
    for name in fields.values():
        if name.startswith("@") and name not in known:
            raise unknown("column of a file", name, known)
    return {name: known[name] for name in fields.values() if name in known}


def _picture_records(
    found: Sequence[Media | Dropped], row: Mapping[str, Any], place: str, fields: Mapping[str, str]
) -> Iterator[Record | Dropped]:
    """A record a picture, with the row's captions and meta."""
    if fields:
        meta = {
            name: row[column]
            for name, column in fields.items()
            if name not in ("image", "video", "id") and not is_caption(name) and row.get(column) is not None
        }
    else:
        meta = {name: value for name, value in row.items() if not is_caption(name) and name != "id" and isinstance(value, _PLAIN)}
    described = captions(row, fields)
    wanted = row.get(fields.get("id", "id"))
    name = str(wanted) if isinstance(wanted, str | int) and wanted != "" else place
    for number, picture in enumerate(found):
        shown = name if len(found) == 1 else f"{name}.{number}"
        if isinstance(picture, Dropped):
            yield Dropped(picture.reason, picture.detail, shown)
        else:
            yield Record(id=shown, parts=(picture,), meta={**meta, **({"caption": described} if described else {})})


def _english(error: MiaobiError) -> str:
    """The message in English whatever the language, since it is written to a file that must not depend on it."""
    return error.template.format(**{name: value for name, value in error.values.items() if name != "path"} | {"path": "the file"})


def _record(row: Mapping[str, Any], place: str, key: str, fields: Mapping[str, str]) -> Record | Dropped:
    """A row as a record: `fields` says which key is the text and which are meta; without it all plain values are meta."""
    value = row.get(key)
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        near = difflib.get_close_matches(key, [str(name) for name in row], n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        return Dropped("no_text", f"no text in '{key}'{hint} It has: {', '.join(map(str, row))}"[:300], place)
    if not value.strip():
        return Dropped("empty", "", place)
    if fields:
        meta = {
            name: row[name_in_row]
            for name, name_in_row in fields.items()
            if name not in ("text", "id") and row.get(name_in_row) is not None
        }
    else:
        meta = {str(name): inner for name, inner in row.items() if name not in (key, "id") and isinstance(inner, _PLAIN)}
    wanted = row.get(fields.get("id", "id"))
    return Record(id=str(wanted) if isinstance(wanted, str | int) and wanted != "" else place, parts=(value,), meta=meta)
