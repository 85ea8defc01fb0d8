"""The pictures that a person gives with a prompt: a start picture and a mask, from whatever they come in, as parts of the request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.core.errors import DataError, MiaobiError, UsageError
from miaobi.core.families import Family
from miaobi.core.types import Media, Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    Picture = str | Path | bytes | Media | Image | NDArray[Any]


def media(kind: Family, given: Mapping[str, Picture | Sequence[Picture] | None]) -> tuple[Media, ...]:
    """The given pictures as parts of those names, in a fixed order, checked for being pictures; None is not given, a list is several.

    Files and bytes stay as they are, so that their hash in the label is that of the file; arrays and Pillow's images become PNG.

    Raises:
        UsageError: the family takes no such part, a mask without a picture or of another size, no such file, or something else altogether.
        DataError: a picture that cannot be read.
    """
    found: dict[str, list[Media]] = {}
    for name in sorted(name for name, value in given.items() if value is not None):
        if name not in kind.inputs:
            taken = ", ".join(sorted(kind.inputs)) or "–"
            raise UsageError("family '{family}' takes no {name}. It takes: {taken}", family=kind.name, name=name, taken=taken)
        value: Any = given[name]
        found[name] = [_part(one, name) for one in (value if isinstance(value, list | tuple) else [value])]
    sizes = {name: {_size(part) for part in parts} for name, parts in found.items()}
    if "mask" in sizes and "image" not in sizes:
        raise UsageError("a mask says what to paint anew in a picture; give the picture too")
    if "mask" in sizes and sizes["mask"] != sizes["image"]:
        raise UsageError(
            "the mask has {mask} pixels and the picture {image}; they must be of one size",
            mask=_listed(sizes["mask"]),
            image=_listed(sizes["image"]),
        )
    return tuple(part for parts in found.values() for part in parts)


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


def _part(value: Picture, name: str) -> Media:
    import dataclasses

    from miaobi.data.pictures import mime_of

    if isinstance(value, Media):
        return dataclasses.replace(value, name=name)
    data = value if isinstance(value, bytes) else _read(Path(value)) if isinstance(value, str | Path) else _encode(value, name)
    return Media(modality=Modality.IMAGE, mime=mime_of(data), data=data, name=name)


def _read(path: Path) -> bytes:
    from miaobi.data.pictures import DEFAULT_LIMITS

    try:
        size, limit = path.stat().st_size, DEFAULT_LIMITS.num_bytes
        if size > limit:
            raise DataError("{path} has {size:,} bytes; pictures up to {limit:,} are read", path=path, size=size, limit=limit)
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError("there is no file at {path}", path=path) from None
    except IsADirectoryError:
        raise UsageError("{path} is a folder, not a file", path=path) from None
    except (OSError, ValueError) as error:  # no permission, a name that is too long, a null character
        raise UsageError("{path} cannot be read ({problem})", path=path, problem=error) from None


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
