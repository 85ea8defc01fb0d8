"""Sounds in sources: files of their own, rows that name a file (LJSpeech, the Hub's audio folders), bytes in columns.

A sound is kept as the bytes that were found; the step `sound` decodes it. What is said in it becomes the record's text. Names in metadata
come from outside: one that leads out of its folder is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from miaobi.core.errors import DataError
from miaobi.core.recipe import Source
from miaobi.core.types import Media, Modality, Part, Record
from miaobi.data.readers.beside import beside
from miaobi.data.readers.encoding import encoding_of, is_broken, lines, open_bytes
from miaobi.data.readers.formats import Piece, Row
from miaobi.data.records import Dropped
from miaobi.data.sounds import DEFAULT_LIMITS, MIMES, mime_of

SOUND = "sound"
WAVES = "wavs"  # the folder beside LJSpeech's `metadata.csv`
_COLUMNS = (SOUND, "audio", "speech", "wav")
_SAID = ("normalised", "normalized", "text", "transcript", "transcription", "sentence")
_PLAIN = (str, int, float, bool)


def read_sound(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    """One row: the file's bytes, and the folder that it lies in as its class."""
    folder = Path(piece.name).parent.name
    yield "1", {SOUND: _media(_bytes(piece.file), piece.name), **({"class": folder} if folder else {})}


def is_ljspeech(path: Path) -> bool:
    """Whether a `metadata.csv` is one of LJSpeech: no header, the sounds in `wavs/` beside it."""
    return path.name == "metadata.csv" and path.with_name(WAVES).is_dir()


def read_ljspeech(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    """Lines of `name|as written|as spoken`; the third may be missing."""
    encoding = encoding_of(piece.file, encoding)
    with open_bytes(piece.file) as stream:
        for number, line in lines(stream, encoding, where=piece.name):
            if isinstance(line, Dropped):
                yield str(number), line
                continue
            fields = line.strip("\r\n\ufeff").split("|")
            if is_broken(line):
                yield str(number), Dropped("mis_encoded", f"not {encoding}")
            elif len(fields) >= 2:
                yield str(number), _spoken(fields, piece)
            elif line.strip():
                yield str(number), Dropped("too_few_fields", "name|as written|as spoken")


def _spoken(fields: Sequence[str], piece: Piece) -> Mapping[str, Any]:
    """A line's sound by its name, with any ending, and what is said in it."""
    name, written = fields[0].strip(), fields[1].strip()
    endings = [""] if Path(name).suffix.lower() in MIMES else list(MIMES)
    found = next((one for ending in endings if (piece.file.parent / (one := f"{WAVES}/{name}{ending}")).is_file()), f"{WAVES}/{name}.wav")
    said = fields[2].strip() if len(fields) > 2 and fields[2].strip() else written
    return {SOUND: _file(found, piece), "id": name, "transcript": written, "normalised": said}


def sounds_in(row: Mapping[str, Any], source: Source, piece: Piece) -> Media | Dropped | None:
    """The sound of a row; None for a row of something else.

    A column counts when `fields.sound` names it, when metadata's `file_name` ends like a sound, or when it is called so and holds one.
    """
    if isinstance(row.get(SOUND), Media | Dropped):
        return row[SOUND]  # type: ignore[no-any-return]
    named = source.fields.get(SOUND, "")
    if source.fields and not named:
        return None
    listed = row.get("file_name")
    if not named and isinstance(listed, str) and Path(listed).suffix.lower() in MIMES:
        return _file(listed, piece)
    for column in [named] if named else _COLUMNS:
        found = _value(row.get(column), piece, named=bool(named))
        if found is not None:
            return found
    return Dropped("no_sound", f"nothing in '{named}'. It has: {', '.join(map(str, row))}"[:300]) if named else None


def sound_record(sound: Media | Dropped, row: Mapping[str, Any], place: str, fields: Mapping[str, str]) -> Record | Dropped:
    """The record of a row's sound: the sound, what is said in it as text, all else as meta."""
    wanted = row.get(fields.get("id", "id"))
    name = str(wanted) if isinstance(wanted, str | int) and wanted != "" else place
    if isinstance(sound, Dropped):
        return Dropped(sound.reason, sound.detail, name)
    columns = [fields["text"]] if "text" in fields else _SAID
    said, column = next(((row[key].strip(), key) for key in columns if isinstance(row.get(key), str) and row[key].strip()), ("", ""))
    if fields:
        chosen = {key: row[of] for key, of in fields.items() if key not in (SOUND, "id", "text") and row.get(of) is not None}
    else:
        unwanted = ("id", "file_name", column, *_COLUMNS)
        chosen = {key: value for key, value in row.items() if key not in unwanted and isinstance(value, _PLAIN)}
    parts: tuple[Part, ...] = (sound, said) if said else (sound,)
    return Record(id=name, parts=parts, meta=chosen)


def _value(value: Any, piece: Piece, *, named: bool) -> Media | Dropped | None:
    """A column's value as a sound."""
    if isinstance(value, Mapping) and ("bytes" in value or "path" in value):  # the Hub's audio columns
        name = str(value.get("path") or "")
        return _media(value["bytes"], name) if isinstance(value.get("bytes"), bytes) else _file(name, piece)
    if isinstance(value, bytes) and (named or mime_of(value)):
        return _media(value, "")
    return _file(value, piece) if named and isinstance(value, str) else None


def _media(data: bytes, name: str) -> Media | Dropped:
    """The bytes as a sound, by what they begin with and not by what the file is called."""
    if not data:
        return Dropped("empty", name)
    mime = mime_of(data)
    return Media(modality=Modality.AUDIO, mime=mime, data=data, name=name) if mime else Dropped("not_a_sound", name)


def _bytes(path: Path) -> bytes:
    with open_bytes(path) as file:
        data = file.read(DEFAULT_LIMITS.num_bytes + 1)
    if len(data) > DEFAULT_LIMITS.num_bytes:
        raise DataError("the sound {path} has more than {most} bytes", path=path, most=DEFAULT_LIMITS.num_bytes)
    return data


def _file(name: str, piece: Piece) -> Media | Dropped:
    """The sound that a row names, beside the file that it stands in and nowhere else."""
    return beside(name, piece, _media, _bytes)
