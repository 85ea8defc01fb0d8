"""Pictures whose label is in the file: what their pixels hash to, their label put in and read back, their format changed.

The hash is over decoded pixels, so that a label, a comment or a stronger compression does not change it: the frames as RGBA, eight bits a
channel, where what is fully transparent counts as black, since nobody sees its colour.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from miaobi.core.errors import DataError, UsageError
from miaobi.core.types import NOTHING
from miaobi.trust import containers, xmp

Pixels = NDArray[np.uint8]  # (height, width, 4), RGBA with straight alpha
MAX_PIXELS = 50_000_000  # of all frames together
JPEG_QUALITY = 95
_LOSSLESS: Mapping[str, Mapping[str, Any]] = {"image/webp": {"lossless": True}, "image/tiff": {"compression": "tiff_adobe_deflate"}}
_PILLOW = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP", "image/gif": "GIF", "image/tiff": "TIFF"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedPicture:
    """What a picture file says about itself, nothing judged. `count` is the number of implicit labels in it; one is right."""

    mime: str
    sha256: str
    pixels: Pixels = field(repr=False, compare=False)
    implicit: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    label: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    source_type: str = ""
    count: int = 0


def read(data: bytes) -> MarkedPicture:
    """The labels and the pixels (of the first frame) of a picture file.

    Raises:
        DataError: no picture of a format that can be labelled, damaged, cut off, or beyond the limits.
    """
    found = xmp.decode(containers.packets(data))
    return MarkedPicture(
        mime=containers.mime_of(data),
        sha256=sha256(data),
        pixels=decode(data),
        implicit=found.implicit,
        label=found.label,
        source_type=found.source_type,
        count=found.count,
    )


def embed(data: bytes, implicit: Mapping[str, str], label: Mapping[str, Any]) -> bytes:
    """The same picture, every compressed pixel as it was, with these labels in place of any that it had."""
    return containers.replace(data, xmp.encode(implicit, label))


def sha256(data: bytes) -> str:
    """SHA-256 over number of frames, width, height and the pixels of every frame."""
    digest, count, size = hashlib.sha256(), 0, (0, 0)
    for frame in _frames(data):
        digest.update(frame.tobytes())
        count, size = count + 1, (frame.shape[1], frame.shape[0])
    digest.update(b"%d frames of %d x %d" % (count, *size))
    return digest.hexdigest()


def decode(data: bytes) -> Pixels:
    """The first frame as (height, width, 4)."""
    return next(_frames(data))


def encode(pixels: Pixels, mime: str) -> bytes:
    """A picture file without a label. All formats but JPEG, which lays the picture over white, and GIF keep every pixel."""
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    if mime == "image/jpeg":
        white = Image.new("RGBA", image.size, "white")
        Image.alpha_composite(white, image).convert("RGB").save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        image.save(buffer, _PILLOW[mime], **_LOSSLESS.get(mime, {}))
    return buffer.getvalue()


def recode(data: bytes, mime: str) -> bytes:
    """The picture in another format; the same bytes where it is of that format already.

    Raises:
        UsageError: it moves, and only its own format keeps that.
    """
    own = containers.mime_of(data)
    if own == mime:
        return data
    if moves(data):
        raise UsageError("this picture moves; write it as {own}, not as {wanted}", own=own, wanted=mime)
    return encode(decode(data), mime)


def moves(data: bytes) -> bool:
    """Whether the picture has more than one frame."""
    frames = _frames(data)
    return next(frames, None) is not None and next(frames, None) is not None


def _frames(data: bytes) -> Iterator[Pixels]:
    """Every frame as (height, width, 4); at least one.

    Raises:
        DataError: as `read`.
    """
    mime = containers.mime_of(data)
    if not mime:
        raise DataError("this is no picture of a kind that can be labelled; known: {known}", known=", ".join(containers.SUFFIXES))
    left = MAX_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of sizes; what matters is checked here
        try:
            image = Image.open(io.BytesIO(data), formats=(_PILLOW[mime],))
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                left -= image.width * image.height
                if left < 0:
                    raise DataError("the picture has more than {limit:,} pixels", limit=MAX_PIXELS)
                pixels = np.array(image.convert("RGBA"))
                pixels[pixels[..., 3] == 0] = 0
                yield pixels
        except DataError:
            raise
        except Exception as error:  # a decoder raises anything over damaged bytes
            raise containers.damaged(str(error) or type(error).__name__) from None
