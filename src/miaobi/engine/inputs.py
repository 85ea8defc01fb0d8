"""The pictures that a person gives with a prompt: a start picture and a mask, from whatever they come in, as parts of the request."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.core.errors import DataError, MiaobiError, UsageError
from miaobi.core.families import Family
from miaobi.core.types import Media, Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    Picture = str | Path | bytes | Media | Image | NDArray[Any]


def media(kind: Family, *, image: Picture | None = None, mask: Picture | None = None) -> tuple[Media, ...]:
    """The given pictures as parts named "image" and "mask", in this order, checked for being pictures.

    Files and bytes stay as they are, so that their hash in the label is that of the file; arrays and Pillow's images become PNG.

    Raises:
        UsageError: the family takes no such part, a mask without a picture or of another size, no such file, or something else altogether.
        DataError: a picture that cannot be read.
    """
    from miaobi.data.pictures import decode

    given = {name: value for name, value in (("image", image), ("mask", mask)) if value is not None}
    _check_taken(kind, given)
    parts = {name: _part(value, name) for name, value in given.items()}
    sizes = {}
    for name, part in parts.items():
        try:
            sizes[name] = decode(part.data).shape[1::-1]
        except MiaobiError as error:
            raise DataError("the {name} cannot be read: {problem}", name=name, problem=error) from None
    if "mask" in sizes and "image" not in sizes:
        raise UsageError("a mask says what to paint anew in a picture; give the picture too")
    if "mask" in sizes and sizes["mask"] != sizes["image"]:
        raise UsageError(
            "the mask has {mask[0]} × {mask[1]} pixels and the picture {image[0]} × {image[1]}; they must be of one size",
            mask=sizes["mask"],
            image=sizes["image"],
        )
    return tuple(parts.values())


def _check_taken(kind: Family, names: Iterable[str]) -> None:
    for name in names:
        if name not in kind.inputs:
            taken = ", ".join(sorted(kind.inputs)) or "–"
            raise UsageError("family '{family}' takes no {name}. It takes: {taken}", family=kind.name, name=name, taken=taken)


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
