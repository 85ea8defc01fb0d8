"""Pictures in sources: files of their own, rows that name a file (the Hub's image folders), bytes in columns, rows of numbers, icon sets.

A picture is kept as the bytes that were found; the step `picture` decodes it. Names in metadata come from outside: one that leads out of
its folder is dropped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from miaobi.core.errors import DataError
from miaobi.core.recipe import Source
from miaobi.core.types import Media, Modality
from miaobi.data.pictures import DEFAULT_LIMITS, encode, mime_of
from miaobi.data.readers.beside import beside
from miaobi.data.readers.encoding import open_bytes
from miaobi.data.readers.formats import Piece, Row
from miaobi.data.records import Dropped

SVG = "image/svg+xml"
METADATA = ("metadata.jsonl", "metadata.csv")
ICONS = "icons.json"
_COLUMNS = ("image", "img", "picture")
_CAPTIONS = ("text", "caption", "captions", "caption_zh", "caption_en")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af]")


def read_picture(piece: Piece, encoding: str, text: str) -> Iterator[Row]:
    """One row: the file's bytes, and the folder that it lies in as its class."""
    folder = Path(piece.name).parent.name
    yield "1", {"image": _media(_bytes(piece.file), piece.name), **({"class": folder} if folder else {})}


def _bytes(path: Path) -> bytes:
    """A picture file, unless it is too large to be one."""
    with open_bytes(path) as file:
        data = file.read(DEFAULT_LIMITS.num_bytes + 1)
    if len(data) > DEFAULT_LIMITS.num_bytes:
        raise DataError("the picture {path} has more than {most} bytes", path=path, most=DEFAULT_LIMITS.num_bytes)
    return data


def _media(data: bytes, name: str) -> Media | Dropped:
    """The bytes as a picture, by what they begin with and not by what the file is called."""
    mime = mime_of(data) or (SVG if b"<svg" in data[:4096] or b"<\0s\0v\0g" in data[:4096] else "")
    if not data:
        return Dropped("empty", name)
    return Media(modality=Modality.IMAGE, mime=mime, data=data, name=name) if mime else Dropped("not_a_picture", name)


def read_icons(piece: Piece, value: Mapping[str, Any]) -> Iterator[Row]:
    """The icons of an Iconify set as SVG drawings; aliases that turn an icon are drawings of their own, mere other names are not.

    `chars.json` beside it says which emoji an icon is.
    """
    icons, emoji = value["icons"], _emoji(piece.file.with_name("chars.json"))
    aliases = value.get("aliases") or {}
    for name in [*icons, *(alias for alias, about in aliases.items() if {"hFlip", "vFlip", "rotate"} & set(about))]:
        icon = _resolved(name, icons, aliases)
        if icon is None or not isinstance(icon.get("body"), str):
            yield name, Dropped("no_body")
        elif not icon.get("hidden"):
            media = Media(modality=Modality.IMAGE, mime=SVG, data=_drawing(icon, value).encode(), name=name)
            row: dict[str, Any] = {"image": media, "name": name, "set": str(value["prefix"])}
            yield name, row | ({"emoji": emoji[name]} if name in emoji else {})


def _emoji(path: Path) -> dict[str, str]:
    """Icon names by the emoji that they draw; nothing when the set does not say."""
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): "".join(chr(int(code, 16)) for code in str(codes).split("-")) for codes, name in names.items()}
    except (OSError, ValueError, AttributeError, OverflowError):
        return {}


def _resolved(name: str, icons: Mapping[str, Any], aliases: Mapping[str, Any]) -> dict[str, Any] | None:
    """An icon with the turns of its aliases added up; None for an alias of nothing or of itself."""
    chain: list[Mapping[str, Any]] = []
    while name not in icons:
        if name not in aliases or len(chain) > 10:
            return None
        chain.append(aliases[name])
        name = str(aliases[name].get("parent"))
    icon = dict(icons[name])
    for alias in reversed(chain):
        icon["rotate"] = int(icon.get("rotate", 0)) + int(alias.get("rotate", 0))
        icon["hFlip"] = bool(icon.get("hFlip")) != bool(alias.get("hFlip"))
        icon["vFlip"] = bool(icon.get("vFlip")) != bool(alias.get("vFlip"))
    return icon


def _drawing(icon: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """An icon's body with the frame that Iconify leaves out, flipped and then turned by quarters."""
    left, top, width, height = (float(icon.get(key, defaults.get(key, usual))) for key, usual in _FRAME.items())
    x, y = left + width / 2, top + height / 2
    turns = int(icon.get("rotate", 0)) % 4
    flips = f"scale({-1 if icon.get('hFlip') else 1} {-1 if icon.get('vFlip') else 1})"
    body = str(icon["body"])
    if turns or "-1" in flips:
        body = f'<g transform="translate({x:g} {y:g}) rotate({90 * turns}) {flips} translate({-x:g} {-y:g})">{body}</g>'
    if turns % 2:
        left, top, width, height = x - height / 2, y - width / 2, height, width
    box = quoteattr(f"{left:g} {top:g} {width:g} {height:g}")
    return f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox={box}>{body}</svg>'


_FRAME = {"left": 0, "top": 0, "width": 16, "height": 16}


def pictures_in(row: Mapping[str, Any], source: Source, piece: Piece) -> list[Media | Dropped] | None:
    """The pictures of a row, one a record; None for a row of text.

    A column counts when `fields.image` names it, or without `fields` when it is called so and holds a picture.
    """
    if source.fields and "image" not in source.fields:
        return None if "text" in source.fields or not isinstance(row.get("image"), Media) else [row["image"]]
    named = source.fields.get("image", "")
    if not named and piece.file.name in METADATA and isinstance(row.get("file_name"), str):
        return [_file(row["file_name"], piece)]
    for column in [named] if named else _COLUMNS:
        found = _value(row.get(column), source.shape, piece, named=bool(named))
        if found is not None:
            return found
    return [Dropped("no_picture", f"nothing in '{named}'. It has: {', '.join(map(str, row))}"[:300])] if named else None


def _value(value: Any, shape: Sequence[int], piece: Piece, *, named: bool) -> list[Media | Dropped] | None:
    """A column's value as pictures."""
    if isinstance(value, Media | Dropped):
        return [value]
    if isinstance(value, Mapping) and ("bytes" in value or "path" in value):  # the Hub's image columns
        name = str(value.get("path") or "")
        return [_media(value["bytes"], name) if isinstance(value.get("bytes"), bytes) else _file(name, piece)]
    if isinstance(value, bytes) and (named or mime_of(value)):
        return [_media(value, "")]
    if shape and isinstance(value, list | tuple):
        return _grey(value, shape)
    return [_file(value, piece)] if named and isinstance(value, str) else None


def _file(name: str, piece: Piece) -> Media | Dropped:
    """The file that a row names, beside the file that it stands in."""
    return beside(name, piece, _media, _bytes)


def _grey(numbers: Sequence[Any], shape: Sequence[int]) -> list[Media | Dropped]:
    """Rows of numbers, 0 to 1 or 0 to 255, as grey pictures."""
    height, width = shape
    try:
        values = np.asarray(numbers, np.float64).ravel()
    except (ValueError, TypeError):
        return [Dropped("not_numbers")]
    if not values.size or values.size % (height * width) or not np.isfinite(values).all():
        return [Dropped("wrong_shape", f"{values.size} numbers are no pictures of {height} by {width}")]
    scale = 255 if values.max() <= 1 else 1
    pixels = np.clip(np.rint(values * scale), 0, 255).astype(np.uint8).reshape(-1, height, width)
    return [Media(modality=Modality.IMAGE, mime="image/png", data=encode(picture)) for picture in pixels]


def captions(row: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, list[str]]:
    """What a row says of its picture, by language: as the column's name says it (`caption_zh`), else by script."""
    found: dict[str, list[str]] = {}
    for name in _CAPTIONS:
        value = row.get(fields.get(name, "" if fields else name))
        by_language = value if isinstance(value, Mapping) else {name.partition("_")[2]: value}
        for language, texts in by_language.items():
            for text in texts if isinstance(texts, list | tuple) else [texts]:
                if isinstance(text, str) and text.strip():
                    found.setdefault(str(language) or ("zh" if _HAN.search(text) else "en"), []).append(text.strip())
    return {language: list(dict.fromkeys(found[language])) for language in sorted(found)}


def is_caption(name: str) -> bool:
    """Whether a column without `fields` describes the picture and is no meta."""
    return name in _CAPTIONS or name == "file_name"
