"""The step `clip`: whatever a film came as, it leaves as a loop of so many frames of one size, as WebP without loss."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from pydantic import Field

from miaobi.core.errors import DataError
from miaobi.core.schema import Schema
from miaobi.core.types import Media, Modality, Part, Record
from miaobi.data import pictures, videos
from miaobi.data.records import Dropped, media_of
from miaobi.data.steps import Step, register
from miaobi.data.videos import Clip, Frames


class ClipOptions(Schema):
    """Decode films, take frames at even places, fit them in a square, and keep them as a loop; drop what is unreadable or hardly moves."""

    size: int = Field(64, ge=8, le=512)
    """Pixels a side."""
    frames: int = Field(16, ge=2, le=256)
    """How many frames are kept."""
    seconds: float = Field(0.0, ge=0, le=60)
    """The stretch, from the film's middle, that the frames are spread over; 0 is the whole film."""
    fit: Literal["contain", "cover", "stretch"] = "contain"
    """All of a frame with clear margins, its middle without, or stretched."""
    motion: float = Field(0.5, ge=0, le=255)
    """The least mean difference of frames from the first, of 255; below, the film counts as still."""


def build_clip(options: ClipOptions) -> Step:
    """All films of a record, other parts as they are; one bad film drops the record."""

    def step(record: Record) -> Record | Dropped:
        parts: list[Part] = []
        for part in record.parts:
            changed = _changed(part, options) if isinstance(part, Media) and part.modality == Modality.VIDEO else part
            if isinstance(changed, Dropped):
                return changed
            parts.append(changed)
        films = [part for part in media_of(record) if part.modality == Modality.VIDEO]
        return dataclasses.replace(record, parts=tuple(parts)) if films else Dropped("no_film")

    return step


def _changed(media: Media, options: ClipOptions) -> Media | Dropped:
    """One film, decoded, thinned out, fitted and encoded."""
    try:
        clip = videos.decode(media.data, sound=False)
    except DataError as error:
        return Dropped("unreadable", error.template.format(**error.values))
    if len(clip.frames) < 2:
        return Dropped("still", media.name)
    places, fps = _places(len(clip.frames), clip.fps, options)
    frames = np.stack([pictures.fit(frame, options.size, options.fit) for frame in clip.frames[places]])
    if motion(frames) < options.motion:
        return Dropped("still", media.name)
    return dataclasses.replace(media, mime="image/webp", data=videos.encode(Clip(frames, fps), "image/webp"))


def _places(count: int, fps: float, options: ClipOptions) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], float]:
    """Which frames are kept, and how many of them a second shows. The last is one step before the first: a loop comes round."""
    used = min(count, round(options.seconds * fps)) if options.seconds else count
    first = (count - used) // 2
    places = first + (np.arange(options.frames) * used / options.frames).astype(np.intp)
    return places, min(options.frames / (used / fps), 100.0)


def motion(frames: Frames) -> float:
    """The mean absolute difference of frames (F, H, W, 4) on white from the first, in steps of 255."""
    flat = np.stack([pictures.over(frame) for frame in frames]).astype(np.float32)
    return float(np.abs(flat[1:] - flat[:1]).mean())


register("clip", ClipOptions, build_clip, shorthand="size")
