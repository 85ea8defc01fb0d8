"""The first frame of a clip: the picture that was given, or one that a painter makes of the words; and the request that evaluation makes.

The model learned from things on nothing. A picture whose border is all of one colour is taken for a thing on that ground, and the model is
shown it cut out; what moves is the picture itself, ground and all.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miaobi.core.artifact import open_artifact
from miaobi.core.errors import UsageError
from miaobi.core.families import family
from miaobi.core.shelf import find
from miaobi.core.types import Media, Modality, Piece, Record, Request
from miaobi.data.pictures import Pixels, decode, encode, fit, rgba
from miaobi.models.common.captions import LANGUAGES, captions_of
from miaobi.models.common.picture_codec import Floats, from_pixels, to_pixels
from miaobi.models.common.picture_request import pictures_in
from miaobi.models.video.codec import ClipCodec
from miaobi.models.video.schema import Config, Options

GROUND = 12  # steps of 255 that a ground's colour may vary by
LARGEST = 256  # pixels of the longer side, unless more are asked for


@dataclass(frozen=True, slots=True)
class First:
    """What a clip begins with."""

    pixels: Pixels | None = None  # (H, W, 4) as it is to be shown
    seen: Floats | None = None  # (1, channels, S, S) as the model sees it
    drawn_by: str = ""  # the hash of the painter that made it


def first_of(config: Config, request: Request, options: Options) -> First:
    """The first frame of a request; none for a model of frames that was given no picture.

    Raises:
        UsageError: the model moves pictures, none was given, and there is no painter to make one; or several were given.
        DataError: the picture cannot be read.
    """
    pictures = pictures_in(request)
    if len(pictures) > 1:
        raise UsageError("a clip has one first frame; {count} pictures were given", count=len(pictures))
    if pictures:
        return _shown(config, pictures[0], options)
    if config.space != "flow":
        return First()
    if not request.prompt.strip():
        raise UsageError("this model moves a picture: give it one (--image cat.png), or words that a painter makes one of")
    pixels, source = _painted(request, options.painter)
    return dataclasses.replace(_shown(config, pixels, options), drawn_by=source)


def _shown(config: Config, pixels: Pixels, options: Options) -> First:
    seen = from_pixels([fit(cut_out(pixels), config.size)], config.channels, background=config.background)
    if config.space != "flow":
        return First(pixels, seen)
    longer = max(pixels.shape[:2])
    size = options.size or min(longer, LARGEST)
    if size != longer:
        height, width = (max(1, round(side * size / longer)) for side in pixels.shape[:2])
        pixels = fit(pixels, (width, height), "stretch")
    return First(pixels, seen)


def _painted(request: Request, painter: str) -> tuple[Pixels, str]:
    """The picture that another model makes of the words, on nothing if it can, and that model's hash."""
    try:
        artifact = open_artifact(find(painter), verify=True)
    except UsageError as error:
        raise UsageError(
            "this model moves a picture, and none was given (--image cat.png); the model that should draw one is not here: {problem}",
            problem=error,
        ) from None
    kind = family(artifact.family)
    if Modality.IMAGE not in kind.outputs:
        raise UsageError("{painter} draws no pictures; name a model that does as option painter", painter=painter)
    light = kind.runtime_class() if any(name.startswith("onnx/") for name in artifact.files) else None
    model = (light or kind.model_class()).load(artifact.folder)
    known = kind.schemas()[1].model_fields
    asked = kind.schemas()[1].model_validate({"background": "transparent"} if "background" in known else {})
    wanted = Request.of(request.prompt, seed=request.seed, **asked.model_dump(mode="json"))
    for chunk in model.generate(wanted):
        if isinstance(chunk, Piece) and isinstance(chunk.part, Media):
            return decode(chunk.part.data), artifact.sha256
    raise UsageError("{painter} drew nothing", painter=painter)


def cut_out(pixels: Pixels) -> Pixels:
    """An opaque picture whose border is of one colour, without that colour as far as it reaches in from the border; any other as it is."""
    pixels = rgba(pixels)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).astype(np.int16)
    if (pixels[..., 3] < 255).any() or np.abs(border[:, :3] - np.median(border[:, :3], axis=0)).max() > GROUND:
        return pixels
    ground = np.abs(pixels[..., :3].astype(np.int16) - np.median(border[:, :3], axis=0)).max(-1) <= GROUND
    clear = pixels.copy()
    clear[_from_border(ground)] = 0
    return clear if clear[..., 3].any() else pixels


def _from_border(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The part of a mask (H, W) that hangs together with the border, by sweeps down, up, right and left until nothing is added."""
    reached = np.zeros_like(inside)
    reached[[0, -1]], reached[:, [0, -1]] = inside[[0, -1]], inside[:, [0, -1]]
    count = -1
    while count != (count := int(reached.sum())):
        for turned, mask in ((reached, inside), (reached[::-1], inside[::-1]), (reached.T, inside.T), (reached.T[::-1], inside.T[::-1])):
            for row in range(1, len(turned)):
                turned[row] |= turned[row - 1] & mask[row]
    return reached


def request_for(codec: ClipCodec, record: Record) -> Request | None:
    """What a person would have asked to get such a clip: its name, and its first frame."""
    first = to_pixels(codec.read(record)[:1])[0]
    caption = next((text for language in LANGUAGES for text in captions_of(record, language)), "")
    return Request.of((caption, Media(modality=Modality.IMAGE, mime="image/png", data=encode(first), name="image")))
