"""What a person gives with a prompt: a picture and a mask, a sound, a tune, a film, from whatever they come in, as parts of the request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.core.artifact import read_bytes
from miaobi.core.errors import DataError, MiaobiError, UsageError
from miaobi.core.families import Family
from miaobi.core.types import Media, Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from miaobi.data.sounds import Sound

    Picture = str | Path | bytes | Media | Image | NDArray[Any]
    Given = Picture | Sound

MODALITIES = {"sound": Modality.AUDIO, "music": Modality.MUSIC, "video": Modality.VIDEO}  # what goes by these names; all else is a picture
NAMES = ("image", "mask", "style_image", *MODALITIES)  # what families of ours take


def media(kind: Family, given: Mapping[str, Given | Sequence[Given] | None]) -> tuple[Media, ...]:
    """What is given as parts of those names, in a fixed order, checked for being what it should; None is not given, a list is several.

    Files and bytes stay as they are, so that their hash in the label is that of the file; arrays and Pillow's images become PNG, a `Sound`
    becomes WAV.

    Raises:
        UsageError: the family takes no such part, a mask without a picture or of another size, no such file, or something else altogether.
        DataError: a picture, sound, score or film that cannot be read.
    """
    found: dict[str, list[Media]] = {}
    for name in sorted(name for name, value in given.items() if value is not None):
        if name not in kind.inputs:
            taken = ", ".join(sorted(kind.inputs)) or "–"
            raise UsageError("family '{family}' takes no {name}. It takes: {taken}", family=kind.name, name=name, taken=taken)
        value: Any = given[name]
        found[name] = [_part(one, name) for one in (value if isinstance(value, list | tuple) else [value])]
    for name in MODALITIES.keys() & found.keys():
        for part in found[name]:
            _check(part)
    sizes = {name: {_size(part) for part in parts} for name, parts in found.items() if name not in MODALITIES}
    if "mask" in sizes and "image" not in sizes:
        raise UsageError("a mask says what to paint anew in a picture; give the picture too")
    if "mask" in sizes and sizes["mask"] != sizes["image"]:
        raise UsageError(
            "the mask has {mask} pixels and the picture {image}; they must be of one size",
            mask=_listed(sizes["mask"]),
            image=_listed(sizes["image"]),
        )
    return tuple(part for parts in found.values() for part in parts)


def _check(part: Media) -> None:
    """Decode a sound, or look at the first bytes of a score or a film: its model reads the rest."""
    from miaobi.trust.media import modality_of

    try:
        if part.modality is Modality.AUDIO:
            from miaobi.data.sounds import decode

            decode(part.data)
        elif not part.mime or (part.modality is Modality.VIDEO and modality_of(part.mime) is not Modality.VIDEO):
            raise DataError("it is of no known kind")
    except DataError as error:
        raise DataError("the {name} cannot be read: {problem}", name=part.name, problem=error) from None


def _size(part: Media) -> tuple[int, int]:
    """Width and height, after the whole picture was decoded."""
    from miaobi.data.pictures import decode

    try:
        height, width, _ = decode(part.data).shape
    except MiaobiError as error:
        raise DataError("the {name} cannot be read: {problem}", name=part.name, problem=error) from None
    return width, height


def _listed(sizes: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"{width} × {height}" for width, height in sorted(sizes))


def _other(value: Any, name: str) -> Media:
    """A sound, a score or a film by what it begins with; a score in ABC by the name of its file."""
    from miaobi.data.sounds import Sound, encode
    from miaobi.trust import containers, media

    if isinstance(value, Sound):
        value = encode(value)
    if not isinstance(value, str | Path | bytes):
        raise UsageError("the {name} is {type}; wanted: a path or bytes", name=name, type=type(value).__name__)
    data = value if isinstance(value, bytes) else _read(Path(value))
    abc = not isinstance(value, bytes) and Path(value).suffix.lower() == ".abc"
    mime = "text/vnd.abc" if abc else media.mime_of(data) or containers.mime_of(data)
    return Media(modality=MODALITIES[name], mime=mime, data=data, name=name)


def _part(value: Given, name: str) -> Media:
    import dataclasses

    from miaobi.data.pictures import mime_of

    if isinstance(value, Media):
        return dataclasses.replace(value, name=name)
    if name in MODALITIES:
        return _other(value, name)
    data = value if isinstance(value, bytes) else _read(Path(value)) if isinstance(value, str | Path) else _encode(value, name)
    return Media(modality=Modality.IMAGE, mime=mime_of(data), data=data, name=name)


def _read(path: Path) -> bytes:
    from miaobi.data.pictures import DEFAULT_LIMITS

    return read_bytes(path, limit=DEFAULT_LIMITS.num_bytes)


def _encode(value: object, name: str) -> bytes:
    """An array or a Pillow image as PNG."""
    import numpy as np
    from PIL import Image

    from miaobi.data.pictures import encode

    array = np.asarray(value.convert("RGBA") if isinstance(value, Image.Image) else value)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))
    if array.dtype != np.uint8 or not shaped or not array.size:
        raise UsageError(
            "the {name} is {type} {shape} of {dtype}; wanted: a path, bytes, a Pillow image, or a uint8 array (height, width[, 3 or 4])",
            name=name,
            type=type(value).__name__,
            shape=array.shape,
            dtype=array.dtype,
        )
    return encode(array)
