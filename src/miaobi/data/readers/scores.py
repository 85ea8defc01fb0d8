"""Scores in sources: MIDI, MusicXML (also zipped) and ABC files become rows with a MIDI file and what is known of the piece.

An ABC file holds many tunes: each is a row, and one that cannot be read is dropped by its number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from miaobi.core.errors import DataError
from miaobi.core.types import Media, Modality
from miaobi.data import abc, musicxml, scores
from miaobi.data.readers.encoding import encoding_of, open_bytes, whole
from miaobi.data.readers.formats import Piece, Row
from miaobi.data.records import Dropped


def read_midi(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    """One row: the file as it is."""
    data = _bytes(piece.file)
    yield "1", _row(scores.read_midi(data), piece.name, data=data)


def read_musicxml(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    """One row: the score as MIDI."""
    yield "1", _row(musicxml.read(_bytes(piece.file)), piece.name)


def read_abc(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    """A row a tune, by the tune's number in its file."""
    for number, tune in abc.tunes(whole(piece.file, encoding_of(piece.file, encoding))):
        if isinstance(tune, DataError):
            yield number, Dropped("unreadable_tune", tune.template.format(**tune.values))
        else:
            yield number, _row(tune, piece.name)


def _bytes(path: Path) -> bytes:
    with open_bytes(path) as file:
        return file.read(scores.MOST_BYTES + 1)


def _row(score: scores.Score, name: str, *, data: bytes = b"") -> Mapping[str, Any]:
    media = Media(modality=Modality.MUSIC, mime=scores.MIME, data=data or scores.write_midi(score), name=name)
    about = {"title": score.title, "kind": score.kind, "key": str(score.key or ""), "metre": "{}/{}".format(*score.metre)}
    return {"score": media, **{key: value for key, value in about.items() if value}}
