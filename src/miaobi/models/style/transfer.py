"""A request to a picture in another style: the same for both runtimes, in numpy.

The request's pictures become what the networks take, and what they make a picture of the size and opacity that was asked for. Networks work
on sides that are multiples of 16, so the content is padded, and a style picture is brought to such a side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import UsageError, unknown
from miaobi.core.types import Chunk, Done, Media, Modality, Piece, Progress, Request, Usage
from miaobi.data import pictures
from miaobi.data.pictures import Pixels
from miaobi.models.common.picture_codec import Floats, from_pixels, to_pixels
from miaobi.models.common.picture_request import picture_in, pictures_in
from miaobi.models.style.schema import MULTIPLE, Config, Options

LARGEST = 512  # the longer side of a result whose size is not asked for
SMALLEST = 32  # the eye halves a picture five times
CLEAR = "transparent"
YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Job:
    """The content at the size of the result, and both pictures as arrays (1, 3, H, W) in [-1, 1]; the content is padded."""

    picture: Pixels
    content: Floats
    style: Floats | None

    def preview(self, made: Floats, step: int, options: Options) -> Progress:
        """How it looks after a step."""
        return Progress(step=step, total=options.steps, preview=_media(self, made, options))


class Artist(Protocol):
    """What both runtimes are."""

    config: Config
    styles: tuple[str, ...]

    def stylise(self, content: Floats, style: int | Floats, strength: float, /) -> Floats:
        """The content (1, 3, H, W) in the style of that number, or of a picture (1, 3, H', W')."""
        ...

    def optimise(self, job: Job, options: Options, seed: int, /) -> Iterator[Chunk]:
        """By optimised pixels, with a preview now and then."""
        ...


def draw(model: Artist, request: Request) -> Iterator[Chunk]:
    """The request's picture in the style that it asks for.

    Raises:
        UsageError: no content, no or an unknown style, or one that this method cannot take.
    """
    options = Options.model_validate(dict(request.options))
    job = read_job(request, options)
    if options.method == "pixels":
        if job.style is None:
            raise UsageError("the method pixels needs a style picture: add it to the request as 'style_image'")
        yield from model.optimise(job, options, request.seed)
        return
    if job.style is not None and model.config.method != "adain":
        raise UsageError(
            "this model knows the styles {known} and takes no style picture; ask with the option method: pixels",
            known=", ".join(model.styles),
        )
    if options.style and options.style not in model.styles:
        raise unknown("style", options.style, model.styles)
    number = model.styles.index(options.style) if options.style else 0
    yield from show(job, model.stylise(job.content, number if job.style is None else job.style, options.strength), options)


def read_job(request: Request, options: Options) -> Job:
    """The pictures of the request.

    Raises:
        UsageError: there is no content, or the background is no colour.
        DataError: a picture cannot be read.
    """
    content = picture_in(request)
    longest = max(content.shape[:2])
    side = options.size or min(longest, LARGEST)
    width, height = (max(SMALLEST, round(length * side / longest)) for length in (content.shape[1], content.shape[0]))
    content = pictures.resize(content, (width, height))
    background = "white" if options.background == CLEAR else options.background
    manner = None
    for style in pictures_in(request, "style_image")[-1:]:
        fitted = pictures.fit(style, max(SMALLEST, -(-side // MULTIPLE) * MULTIPLE), mode="cover")
        manner = from_pixels([fitted], 3, background=background)
    pixels = from_pixels([content], 3, background=background)
    return Job(content, np.pad(pixels, ((0, 0), (0, 0), (0, -height % MULTIPLE), (0, -width % MULTIPLE)), "edge"), manner)


def show(job: Job, made: Floats, options: Options) -> Iterator[Chunk]:
    """The finished picture."""
    yield Piece(part=_media(job, made, options))
    yield Done(usage=Usage(generated=options.steps if options.method == "pixels" else 1))


def _media(job: Job, made: Floats, options: Options) -> Media:
    height, width = job.picture.shape[:2]
    found = to_pixels(made[..., :height, :width])[0]
    if options.keep_colours:
        found[..., :3] = with_colours_of(found, job.content[..., :height, :width])
    if options.background == CLEAR:
        found[..., 3] = job.picture[..., 3]
    return Media(modality=Modality.IMAGE, mime="image/png", data=pictures.encode(found))


def with_colours_of(found: Pixels, content: Floats) -> NDArray[np.uint8]:
    """The brightness of one picture (H, W, 4) with the two colour channels of YIQ of another (1, 3, H, W) in [-1, 1]: (H, W, 3)."""
    brightness = found[..., :3].astype(np.float32) / 255 @ YIQ[0]
    mixed = (np.moveaxis(content[0], 0, -1) + 1) / 2 @ YIQ.T  # (H, W, 3)
    mixed[..., 0] = brightness
    coloured: NDArray[np.uint8] = np.rint(np.clip(mixed @ np.linalg.inv(YIQ).T, 0, 1) * 255).astype(np.uint8)
    return coloured
