"""Films in sources: files of their own, and rows that name a file beside them.

A film is kept as the bytes that were found; the step `clip` decodes it. GIF and WebP may be pictures or films: they are films where a
source says so (`fields: {video: video}`), and then what does not move is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from miaobi.core.errors import DataError
from miaobi.core.recipe import Source
from miaobi.core.types import Media, Modality
from miaobi.data.readers.beside import beside
from miaobi.data.readers.encoding import open_bytes
from miaobi.data.readers.formats import Piece, Row
from miaobi.data.records import Dropped
from miaobi.data.videos import mime_of

VIDEO = "video"
MOST_BYTES = 256 << 20  # of a film in a corpus: longer ones are cut first


def read_clip(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    """One row: the file's bytes, and the folder that it lies in as its class."""
    folder = Path(piece.name).parent.name
    yield "1", {VIDEO: _media(_bytes(piece.file), piece.name), **({"class": folder} if folder else {})}


def clips_in(row: Mapping[str, Any], source: Source, piece: Piece) -> list[Media | Dropped] | None:
    """The films of a row, one a record; None for a row of something else."""
    if isinstance(row.get(VIDEO), Media | Dropped):
        return [row[VIDEO]]
    named = source.fields.get(VIDEO)
    if named is None:
        return None
    picture = row.get("image")
    if isinstance(picture, Media):  # a GIF or WebP, which its suffix calls a picture
        return [_media(picture.data, picture.name)]
    if isinstance(picture, Dropped):
        return [picture]
    value = row.get(named)
    if isinstance(value, bytes):
        return [_media(value, "")]
    return [_file(value, piece)] if isinstance(value, str) else [Dropped("no_film", f"nothing in '{named}'")]


def _media(data: bytes, name: str) -> Media | Dropped:
    """The bytes as a film, by what they begin with and not by what the file is called."""
    mime = mime_of(data)
    if not data:
        return Dropped("empty", name)
    return Media(modality=Modality.VIDEO, mime=mime, data=data, name=name) if mime else Dropped("not_a_film", name)


def _bytes(path: Path) -> bytes:
    with open_bytes(path) as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise DataError("the film {path} has more than {most} bytes; cut it into clips first", path=path, most=MOST_BYTES)
    return data


def _file(name: str, piece: Piece) -> Media | Dropped:
    """The film that a row names, beside the file that it stands in and nowhere else."""
    return beside(name, piece, _media, _bytes)
