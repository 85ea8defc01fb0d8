"""Animated GIF and WebP by Pillow alone, so that a base install reads and writes loops.

Such files say of each picture how long it stays, in milliseconds (WebP) or hundredths (GIF), and their writers join equal pictures. Here
a loop is frames at an even rate: reading finds the rate that the delays fit, writing spreads the rounding so that nothing drifts.
Frames are (F, H, W, 4) uint8 with straight alpha. A delay of at most 10 ms counts as 100 ms, as every browser has it.
"""

from __future__ import annotations

import io
import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from miaobi.core.errors import DataError, UsageError

Frames = NDArray[np.uint8]
FORMATS = {"image/gif": "GIF", "image/webp": "WEBP"}
TICK = {"image/gif": 10, "image/webp": 1}  # milliseconds
FASTEST = {"image/gif": 50.0, "image/webp": 100.0}  # frames a second; what is faster, browsers show at ten
HASTY, USUAL = 10, 100  # milliseconds: delays up to the first mean the second
JITTER = 0.3  # of a frame, that rounding may take a delay away from a whole number of them
OPAQUE = 128  # a GIF's pixel is clear or not
COLOURS = 255  # of a GIF's palette, besides the clear one


@dataclass(frozen=True, slots=True)
class Loop:
    """Pictures as a file holds them, how long each stays in milliseconds, and to how many of these the file rounds."""

    frames: Frames
    delays: Sequence[int]
    rounding: int = 1

    @property
    def seconds(self) -> float:
        """One round."""
        return sum(self.delays) / 1000


def read(data: bytes, *, most_frames: int, most_numbers: int) -> Loop:
    """All pictures of an animated GIF or WebP, or the one of a still.

    Raises:
        DataError: none of these, damaged, cut off, or beyond the limits.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=list(FORMATS.values()))
            count = int(getattr(image, "n_frames", 1))
        except Exception:  # a decoder raises anything over damaged bytes
            raise DataError("this is no loop that can be read, or its header is damaged; known formats: GIF, WebP") from None
        if count > most_frames or count * image.width * image.height * 4 > most_numbers:
            raise DataError(
                "the loop has {count} frames of {width} by {height} pixels, which is more than is decoded",
                count=count,
                width=image.width,
                height=image.height,
            )
        try:
            found = [(np.array(frame.convert("RGBA")), _delay(frame)) for frame in ImageSequence.Iterator(image)]
        except Exception as error:
            raise DataError("the loop is damaged or cut off ({problem})", problem=str(error)[:120] or type(error).__name__) from None
    rounding = TICK[Image.MIME[image.format or "WEBP"]]
    return Loop(np.stack([pixels for pixels, _ in found]), [delay for _, delay in found], rounding)


def _delay(frame: Image.Image) -> int:
    delay = int(frame.info.get("duration") or 0)
    return delay if delay > HASTY else USUAL


def _loaded_delay(frame: Image.Image) -> int:
    frame.load()  # of a WebP, this is when the delay is read
    return int(frame.info.get("duration") or 0)


def even(loop: Loop, fps: float | None = None) -> tuple[Frames, float]:
    """The loop at an even rate, and the rate: the one that all delays are multiples of, or the quickest one's."""
    delays = np.asarray(loop.delays, dtype=np.float64)
    if len(delays) == 1 and fps is None:
        return loop.frames, 1000 / float(delays[0])
    if fps is None:
        fps = _rate(delays, loop.rounding)
    count = max(1, round(float(delays.sum()) / 1000 * fps))
    middles = (np.arange(count) + 0.5) / fps * 1000
    places = np.searchsorted(np.cumsum(delays), middles, side="right").clip(max=len(delays) - 1)
    return loop.frames[places], fps


def _rate(delays: NDArray[np.float64], rounding: int) -> float:
    """Frames a second: the rate of whose frames the delays are most nearly whole numbers, if all are as nearly as the file counts."""
    total, shortest = float(delays.sum()), float(delays.min())
    best, least = 1000 / shortest, math.inf
    for count in range(max(len(delays), math.floor(total / (1.5 * shortest))), math.floor(total / shortest) + 1):
        tick = total / count
        away = np.abs(delays - np.rint(delays / tick) * tick)
        if away.max() <= min(rounding + 1e-6, JITTER * tick) and (away**2).sum() < least - 1e-6:
            best, least = 1000 / tick, float((away**2).sum())
    return best


def write(frames: Frames, fps: float, mime: str, *, quality: int | None = None) -> bytes:
    """A loop that goes on for ever. WebP keeps every pixel unless a `quality` of 1 to 100 is given; GIF has 255 colours.

    Raises:
        UsageError: a rate that the format does not know.
        DataError: what was written does not read back as what was to be written.
    """
    if not 0.1 <= fps <= FASTEST[mime]:
        raise UsageError("{mime} shows between 0.1 and {most} frames a second, not {fps}", mime=mime, most=FASTEST[mime], fps=fps)
    delays = spread(len(frames), fps, TICK[mime])
    buffer = io.BytesIO()
    if mime == "image/gif":
        clear = bool((frames[..., 3] < OPAQUE).any())
        first, *others = _indexed(frames)
        first.save(buffer, "GIF", save_all=True, append_images=others, duration=delays, loop=0, disposal=2 if clear else 1, optimize=False)
    else:
        first, *others = [Image.fromarray(frame) for frame in frames]
        kept = {"lossless": True, "exact": True, "quality": 60} if quality is None else {"quality": quality}
        first.save(buffer, "WEBP", save_all=True, append_images=others, duration=delays, loop=0, method=4, **kept)
    data = buffer.getvalue()
    _check(data, frames, sum(delays), still=len(frames) == 1)
    return data


def spread(count: int, fps: float, tick: int) -> list[int]:
    """How long each of `count` frames stays, in whole ticks of so many milliseconds that add up without drift.

    >>> spread(4, 24, 10)
    [40, 40, 50, 40]
    """
    ends = [tick * round(number * 1000 / fps / tick) for number in range(count + 1)]
    return [after - before for before, after in itertools.pairwise(ends)]


def _indexed(frames: Frames) -> list[Image.Image]:
    """Frames of one palette, so that a colour that stands still does not flicker; the last index is clear."""
    F, H, W = frames.shape[:3]
    seen = frames[..., 3] >= OPAQUE
    colours = frames[..., :3][seen] if seen.any() else np.zeros((1, 3), np.uint8)
    palette = Image.fromarray(colours[None]).quantize(COLOURS, method=Image.Quantize.MEDIANCUT)
    tall = Image.fromarray(np.ascontiguousarray(frames[..., :3].reshape(F * H, W, 3)))
    indices = np.array(tall.quantize(palette=palette, dither=Image.Dither.NONE)).reshape(F, H, W)
    indices[~seen] = COLOURS
    table = (palette.getpalette() or [])[: 3 * COLOURS]
    table += [0] * (3 * 256 - len(table))
    pictures = []
    for frame in indices:
        picture = Image.fromarray(frame, mode="P")
        picture.putpalette(table)
        if not seen.all():
            picture.info["transparency"] = COLOURS
        pictures.append(picture)
    return pictures


def _check(data: bytes, frames: Frames, milliseconds: int, *, still: bool) -> None:
    """Frames, size and duration of what was written, as a reader finds them."""
    with Image.open(io.BytesIO(data)) as image:
        count = int(getattr(image, "n_frames", 1))
        total = sum(_loaded_delay(frame) for frame in ImageSequence.Iterator(image))
        right = image.size == frames.shape[2:0:-1] and 1 <= count <= len(frames)
        if not right or (not still and count > 1 and total != milliseconds):
            raise DataError(
                "the loop that was written has {count} frames and {found} ms instead of {wanted} frames and {milliseconds} ms",
                count=count,
                found=total,
                wanted=len(frames),
                milliseconds=milliseconds,
            )
