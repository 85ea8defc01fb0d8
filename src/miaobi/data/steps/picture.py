"""The step `picture`: whatever a picture came as, it leaves as PNG of one size, upright, in sRGB."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from pydantic import Field

from miaobi.core.errors import DataError
from miaobi.core.schema import Schema
from miaobi.core.types import Media, Modality, Part, Record
from miaobi.data import pictures
from miaobi.data.drawings import render
from miaobi.data.pictures import Pixels
from miaobi.data.records import Dropped, media_of
from miaobi.data.steps import Step, register


class Picture(Schema):
    """Decode pictures and draw SVG, fit them in a square, and keep them as PNG; drop what is unreadable, blank, too small or too large."""

    size: int = Field(0, ge=0, le=2048)
    """Pixels a side; 0 keeps each picture's own size."""
    fit: Literal["contain", "cover", "stretch"] = "contain"
    """All of the picture with clear margins, its middle without, or stretched."""
    background: str = ""
    """A colour (`white`, `#rrggbb`) behind what is clear; transparency stays when empty."""
    colour: str = ""
    """The colour of drawings of one colour, which SVG calls `currentColor`; black when empty."""
    least: int = Field(1, ge=1)
    """The shortest side that a picture may come with; drawings have any size."""
    most: int = Field(50_000_000, ge=1)
    """The most pixels that a picture may come with."""


def build_picture(options: Picture) -> Step:
    """All pictures of a record, other parts as they are; one bad picture drops the record."""
    for colour in filter(None, (options.background, options.colour)):
        pictures.colour(colour)  # a wrong name is found before hours of reading

    def step(record: Record) -> Record | Dropped:
        parts: list[Part] = []
        for part in record.parts:
            changed = _changed(part, options) if isinstance(part, Media) and part.modality == Modality.IMAGE else part
            if isinstance(changed, Dropped):
                return changed
            parts.append(changed)
        return dataclasses.replace(record, parts=tuple(parts)) if media_of(record) else Dropped("no_picture")

    return step


def _changed(media: Media, options: Picture) -> Media | Dropped:
    """One picture, decoded, checked, fitted and encoded."""
    try:
        pixels = _drawn(media, options) if media.mime == "image/svg+xml" else _decoded(media, options)
    except DataError as error:
        return Dropped("unreadable", error.template.format(**error.values))
    if isinstance(pixels, Dropped):
        return pixels
    if blank(pixels):
        return Dropped("blank", media.name)
    if options.size:
        pixels = pictures.fit(pixels, options.size, options.fit)
    if options.background:
        pixels = pictures.rgba(pictures.over(pixels, options.background))
    return dataclasses.replace(media, mime="image/png", data=pictures.encode(pixels))


def _drawn(media: Media, options: Picture) -> Pixels:
    """A drawing at the size that is wanted; 256 pixels when it may have its own, since SVG has none."""
    size = options.size or 256
    return render(media.data, (size, size), colour=options.colour)


def _decoded(media: Media, options: Picture) -> Pixels | Dropped:
    """A picture whose header is within the limits."""
    width, height = pictures.picture_size(media.data)
    if min(width, height) < options.least:
        return Dropped("too_small", f"{width} by {height}")
    if width * height > options.most:
        return Dropped("too_large", f"{width} by {height}")
    return pictures.decode(media.data)


def blank(pixels: Pixels) -> bool:
    """Whether there is nothing to see: all clear, or one colour all over."""
    return not pixels[..., 3].any() or bool(np.all(pixels == pixels[:1, :1]))


register("picture", Picture, build_picture, shorthand="size")
