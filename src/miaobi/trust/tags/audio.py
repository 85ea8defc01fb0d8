"""MP3, FLAC, OGG by mutagen: user texts of ID3v2.4 (`TXXX`), Vorbis comments. The stream itself is not touched."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from miaobi.core.errors import MissingExtra
from miaobi.core.language import tr
from miaobi.trust import stored
from miaobi.trust.stored import Data, Span
from miaobi.trust.tags import NAMES, damaged

_UTF_8 = 3


def read(data: Data) -> Mapping[str, Sequence[str]]:
    """The texts of the two names, whatever the case of their letters: Vorbis comments have none."""
    with _mutagen(), stored.opened(data) as file:
        tags = _id3(file) if _is_mpeg(data) else _comments(file).tags
    found: dict[str, list[str]] = {}
    for name in NAMES:
        values = list(tags.getall(f"TXXX:{name}")) if _is_mpeg(data) else (tags or {}).get(name, [])
        texts = [str(text) for value in values for text in (value.text if _is_mpeg(data) else [value])]
        if texts:
            found[name] = texts
    return found


def write(data: Data, texts: Mapping[str, str], target: BinaryIO) -> None:
    """The same stream with the texts: copied first, then changed in place."""
    stored.write(data, [Span(0, len(data))], target)
    target.seek(0)
    with _mutagen():
        id3: Any = importlib.import_module("mutagen.id3")
        if _is_mpeg(data):
            tags = _id3(target)
            target.seek(0)
            for name, text in texts.items():
                tags.delall(f"TXXX:{name}")
                tags.add(id3.TXXX(encoding=_UTF_8, desc=name, text=[text]))
            tags.save(target, v1=0, padding=lambda info: 0)
        else:
            file = _comments(target)
            target.seek(0)
            if file.tags is None:
                file.add_tags()
            for name, text in texts.items():
                file.tags[name] = [text]
            file.save(target, padding=lambda info: 0)


def _is_mpeg(data: Data) -> bool:
    return data[:4] not in (b"fLaC", b"OggS")


def _id3(file: BinaryIO) -> Any:
    id3: Any = importlib.import_module("mutagen.id3")  # its types are half written
    try:
        return id3.ID3(file)
    except id3.ID3NoHeaderError:
        return id3.ID3()


def _comments(file: BinaryIO) -> Any:
    """The file as mutagen knows it: FLAC, or one of the codecs that OGG holds."""
    import mutagen
    from mutagen import flac, oggflac, oggopus, oggvorbis

    kinds = (flac.FLAC, oggopus.OggOpus, oggvorbis.OggVorbis, oggflac.OggFLAC)
    found = mutagen.File(file, options=kinds)
    if found is None:
        raise damaged("no stream of a known codec")
    return found


@contextmanager
def _mutagen() -> Iterator[None]:
    """mutagen at hand, and its complaints about damaged files in our words."""
    try:
        import mutagen
    except ImportError:
        raise MissingExtra(tr("labels in sound files"), "sound", "mutagen") from None
    try:
        yield
    except mutagen.MutagenError as error:
        raise damaged(str(error)[:120] or type(error).__name__) from None
