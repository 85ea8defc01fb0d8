"""How each file format becomes rows: a row is its name within the file and its values; one that cannot be read is a `Dropped`.

Lines are streamed (jsonl, csv, txt), parquet goes by batches; json, md and html are read whole and therefore bounded.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miaobi.core.errors import DataError, MissingExtra, UsageError
from miaobi.data.readers.encoding import LINE_BYTES, encoding_of, explain_read_errors, is_broken, lines, open_bytes, whole
from miaobi.data.records import Dropped

Row = tuple[str, Mapping[str, Any] | Dropped]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A file, or a stretch of one that can be read by itself: bytes `start` to `stop` of a jsonl, row groups of a parquet."""

    source: int
    name: str  # relative, with forward slashes: it becomes part of the records' ids
    file: Path
    start: int = 0
    stop: int | None = None
    row: int = 1
    weight: int = 0  # bytes, for progress and for balancing


def read_jsonl(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    """One JSON value a line. A line that is no object, or is cut off, is dropped by its number."""
    with open_bytes(piece.file) as stream:
        for number, line in lines(stream, encoding, start=piece.start, stop=piece.stop, first=piece.row, where=piece.name):
            if isinstance(line, Dropped):
                yield str(number), line
            elif is_broken(line):
                yield str(number), Dropped("mis_encoded", f"not {encoding}")
            elif line.strip():
                yield str(number), _json_object(line)


def _json_object(line: str) -> Mapping[str, Any] | Dropped:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Dropped("not_json", str(error)[:200])
    if isinstance(value, str):
        return {"text": value}
    return value if isinstance(value, dict) else Dropped("not_an_object", type(value).__name__)


def read_json(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    """A list of objects (or strings), one object with such a list in it, or one object."""
    try:
        value = json.loads(whole(piece.file, encoding))
    except (ValueError, RecursionError) as error:
        raise DataError("{path} is not JSON: {error}", path=piece.file, error=str(error)[:200]) from None
    if isinstance(value, dict) and isinstance(value.get("prefix"), str) and isinstance(value.get("icons"), dict):
        from miaobi.data.readers.pictures import read_icons

        yield from read_icons(piece, value)
        return
    if isinstance(value, dict):
        lists = [inner for inner in value.values() if isinstance(inner, list) and inner and all(isinstance(row, dict) for row in inner)]
        value = lists[0] if len(lists) == 1 and text not in value else [value]
    if not isinstance(value, list):
        raise DataError("{path} holds neither a list nor an object", path=piece.file)
    for number, row in enumerate(value):
        row = {"text": row} if isinstance(row, str) else row
        yield str(number), row if isinstance(row, dict) else Dropped("not_an_object", type(row).__name__)


def read_csv(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    """Rows under a header. `.tsv` has tabs; otherwise the header's commonest of , ; tab and | separates."""
    csv.field_size_limit(LINE_BYTES)
    with open_bytes(piece.file) as stream:
        decoded = ("" if isinstance(line, Dropped) else line for _, line in lines(stream, encoding, where=piece.name))
        header = next(decoded, "")
        tabs = ".tsv" in piece.file.suffixes
        delimiter = "\t" if tabs else max(",;\t|", key=header.count)
        table = csv.DictReader(itertools.chain([header], decoded), delimiter=delimiter, restkey="")
        try:
            for row in table:
                yield str(table.line_num), _csv_row(row, encoding)
        except csv.Error as error:
            raise DataError(
                "{path} is not {kind} (line {line}: {error})", path=piece.file, kind="CSV", line=table.line_num, error=error
            ) from None


def _csv_row(row: dict[str, Any], encoding: str) -> Mapping[str, Any] | Dropped:
    if "" in row and isinstance(row[""], list):
        return Dropped("too_many_fields", str(len(row[""])))
    if None in row.values():
        return Dropped("too_few_fields", ", ".join(key for key, value in row.items() if value is None))
    if any(is_broken(value) for value in row.values()):
        return Dropped("mis_encoded", f"not {encoding}")
    return row


def read_txt(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    """Paragraphs between empty lines; `fields: {text: line}` makes every line a record, `{text: file}` the whole file."""
    if text == "file":
        yield "1", {"file": whole(piece.file, encoding)}
        return
    paragraph: list[str] = []
    begin = size = 0
    with open_bytes(piece.file) as stream:
        for number, line in itertools.chain(lines(stream, encoding, where=piece.name), [(0, "")]):
            if isinstance(line, Dropped):
                yield str(number), line
                continue
            bare = line.rstrip("\r\n")
            if text == "line":
                if bare.strip():
                    yield str(number), _text_row("line", bare, encoding)
                continue
            if bare.strip() and size < LINE_BYTES:
                begin = begin or number
                paragraph.append(bare)
                size += len(bare)
            elif paragraph:
                yield str(begin), _text_row("paragraph", "\n".join(paragraph), encoding)
                paragraph, begin, size = [], 0, 0


def _text_row(key: str, value: str, encoding: str) -> Mapping[str, Any] | Dropped:
    return Dropped("mis_encoded", f"not {encoding}") if is_broken(value) else {key: value}


def read_md(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    """The whole file; YAML front matter becomes keys, the first heading the title."""
    import yaml

    content, values = whole(piece.file, encoding), {}
    if match := re.match(r"---\n(.*?)\n(?:---|\.\.\.)(?:\n|$)", content, re.DOTALL):
        try:
            front = yaml.safe_load(match[1])
        except yaml.YAMLError as error:
            raise DataError("{path}: the front matter is not YAML ({error})", path=piece.file, error=str(error).splitlines()[0]) from None
        if isinstance(front, dict):
            values, content = {str(key): value for key, value in front.items()}, content[match.end() :]
    if "title" not in values and (heading := re.search(r"^#\s+(.+?)\s*#*$", content, re.MULTILINE)):
        values["title"] = heading[1]
    yield "1", {**values, "text": content.strip()}


def read_html(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    """The readable text of a page and its title."""
    from miaobi.data.readers.html import page_encoding, page_text

    encoding = encoding or page_encoding(piece.file)
    title, body = page_text(whole(piece.file, encoding))
    yield "1", {"title": title, "text": body}


def read_parquet(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    """Rows of the row groups `start` to `stop`."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra(str(piece.file), "data", "pyarrow") from None
    number = piece.row
    try:
        with explain_read_errors(piece.file), parquet.ParquetFile(piece.file) as table:
            groups = list(range(piece.start, table.num_row_groups if piece.stop is None else piece.stop))
            flat = all(column.physical_type != "BYTE_ARRAY" or column.logical_type.type == "STRING" for column in _columns(table))
            for batch in table.iter_batches(batch_size=1024 if flat else 32, row_groups=groups):  # pictures are large
                for row in batch.to_pylist():
                    yield str(number), row
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError("{path} is not a readable parquet file: {error}", path=piece.file, error=str(error).splitlines()[0]) from None


def _columns(table: Any) -> list[Any]:
    return [table.schema.column(number) for number in range(len(table.schema))]


def _read_picture(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    from miaobi.data.readers.pictures import read_picture

    yield from read_picture(piece, encoding, text)


def _read_score(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    from miaobi.data.readers import scores

    suffix = piece.file.suffix.lower()
    reader = scores.read_abc if suffix == ".abc" else scores.read_midi if suffix in (".mid", ".midi") else scores.read_musicxml
    yield from reader(piece, encoding, text)


def _read_clip(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    from miaobi.data.readers.videos import read_clip

    yield from read_clip(piece, encoding, text)


def _read_sound(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    from miaobi.data.readers.sounds import read_sound

    yield from read_sound(piece, encoding, text)


@dataclass(frozen=True, slots=True)
class Format:
    """A file format: its reader, the key that holds the text by default, and whether a file can be cut into pieces."""

    read: Callable[[Piece, str, str], Iterator[Row]]
    text: str = "text"
    by_line: bool = True
    picture: bool = False


_PICTURE = Format(_read_picture, by_line=False, picture=True)
FORMATS = {
    ".jsonl": Format(read_jsonl),
    ".ndjson": Format(read_jsonl),
    ".json": Format(read_json, by_line=False),
    ".csv": Format(read_csv),
    ".tsv": Format(read_csv),
    ".txt": Format(read_txt, "paragraph"),
    ".text": Format(read_txt, "paragraph"),
    ".md": Format(read_md, by_line=False),
    ".markdown": Format(read_md, by_line=False),
    ".html": Format(read_html, by_line=False),
    ".htm": Format(read_html, by_line=False),
    ".xhtml": Format(read_html, by_line=False),
    ".parquet": Format(read_parquet, by_line=False),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".svg"), _PICTURE),
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".webm"), Format(_read_clip, by_line=False, picture=True)),
    **dict.fromkeys((".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a"), Format(_read_sound, by_line=False, picture=True)),
    **dict.fromkeys((".mid", ".midi", ".abc", ".mxl", ".musicxml"), Format(_read_score, by_line=False)),
}


def format_of(path: Path) -> Format | None:
    """The format by suffix, a `.gz` or `.zst` after it aside; None when there is none."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".zst"):
        suffixes.pop()
    return FORMATS.get(suffixes[-1]) if suffixes else None


def rows(piece: Piece, *, encoding: str = "", text: str = "") -> Iterator[Row]:
    """The rows of a piece.

    Raises:
        DataError: the file as a whole cannot be read.
        UsageError: nobody knows its format.
    """
    kind = format_of(piece.file)
    if kind is None:
        raise UsageError(
            "{path}: unknown format '{suffix}'. Known: {known}", path=piece.file, suffix=piece.file.suffix, known=" ".join(FORMATS)
        )
    from miaobi.data.readers.sounds import is_ljspeech, read_ljspeech

    if is_ljspeech(piece.file):
        yield from read_ljspeech(piece, encoding, text)
        return
    if kind.by_line:
        encoding = encoding_of(piece.file, encoding)
    yield from kind.read(piece, encoding, text or kind.text)
