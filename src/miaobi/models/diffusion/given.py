"""The pictures that a request brings: one to start from or to make larger, and a mask on it; and the request that evaluation makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from miaobi.core.errors import UsageError
from miaobi.core.types import Media, Modality, Record, Request
from miaobi.data.pictures import Pixels, cut_out, decode, encode, fit, resize
from miaobi.models.common.picture_codec import Floats, from_pixels, picture_of
from miaobi.models.common.picture_request import pictures_in
from miaobi.models.common.record_request import request_of
from miaobi.models.diffusion.codec import DiffusionCodec
from miaobi.models.diffusion.schema import Config


class Encoder(Protocol):
    """A model that pictures can be given to."""

    config: Config
    shape: tuple[int, int, int]  # (C, H, W) of what is denoised

    def encode(self, pixels: Floats, /) -> Floats:
        """What is denoised, (B, C, H, W), of pictures (B, channels, S, S)."""
        ...


@dataclass(frozen=True, slots=True)
class Given:
    """What was brought, as the model takes it."""

    start: Floats | None = None  # (1, C, H, W)
    low: Floats | None = None  # (1, C, H, W), what an upscaler is shown
    mask: Floats | None = None  # (1, 1, H, W), 1 where what is denoised may change
    original: Pixels | None = None  # (S, S, 4) at the size that was asked for
    painted: Floats | None = None  # (S, S, 1), 1 where the original gives way

    def around(self, pixels: Pixels) -> Pixels:
        """The new picture inside of the mask, the original around it."""
        if self.original is None or self.painted is None:
            return pixels
        return np.where(self.painted < 0.5, self.original, pixels)


def read_given(model: Encoder, request: Request, size: int, *, margin: float = 0.0) -> Given:
    """The pictures of a request whose result has `size` pixels a side; `margin` is the share of it that is drawn around the picture.

    Raises:
        UsageError: a mask without a picture or of another size, a margin without a picture or beside a mask, or an upscaler that is given
            nothing.
        DataError: a picture that cannot be read.
    """
    config = model.config
    pictures, masks = pictures_in(request, "image"), pictures_in(request, "mask")
    if masks and not pictures:
        raise UsageError("a mask needs the picture that it lies on; give an image too")
    if margin and (masks or not pictures or config.upscale > 1):
        raise UsageError("margin draws around a picture: give one as image, without a mask, to a model that draws")
    if not pictures:
        if config.upscale > 1:
            raise UsageError("this model makes a picture larger; give it one as image")
        return Given()
    if config.upscale > 1:
        small = from_pixels([fit(pictures[0], config.size // config.upscale)], config.channels, background=config.ground)
        return Given(low=small.repeat(config.upscale, axis=2).repeat(config.upscale, axis=3))
    shown = pictures[0]
    seen = _as_learned(shown, config)
    if margin:
        seen, (shown, mask) = _framed(seen, margin)[0], _framed(shown, margin)
        masks = [mask]
    start = model.encode(from_pixels([fit(seen, config.size)], config.channels, background=config.ground))
    if not masks:
        return Given(start=start)
    if masks[0].shape != shown.shape:
        (height, width), (other_height, other_width) = masks[0].shape[:2], shown.shape[:2]
        raise UsageError(
            "the mask has {width} by {height} pixels and the picture {other_width} by {other_height}; they should be alike",
            width=width,
            height=height,
            other_width=other_width,
            other_height=other_height,
        )
    _, H, W = model.shape
    cells = _painted(masks[0], config.size).reshape(H, config.size // H, W, config.size // W).max(axis=(1, 3))
    return Given(
        start=start,
        mask=cells[None, None],  # a cell that is partly white changes
        original=fit(shown, size),
        painted=_painted(masks[0], size)[..., None],
    )


def request_for(config: Config, codec: DiffusionCodec, record: Record) -> Request | None:
    """What a person would have asked to get such a picture; of an upscaler, with the picture made small."""
    if config.upscale > 1:
        small = fit(decode(picture_of(record).data), config.size // config.upscale)
        return Request.of(Media(modality=Modality.IMAGE, mime="image/png", data=encode(small), name="image"))
    return request_of(record, words=codec.vocabulary is not None, styles=codec.styles, classes=codec.classes)


def _as_learned(picture: Pixels, config: Config) -> Pixels:
    """The picture as those were that the model learned from: one with transparency has seen things on nothing, never on white paper."""
    if config.channels != 4:
        return picture
    scale = min(1.0, config.size / max(picture.shape[:2]))
    return cut_out(resize(picture, (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))))


def _framed(picture: Pixels, margin: float) -> tuple[Pixels, Pixels]:
    """The picture in the middle of a clear canvas of which it leaves `margin` on each side, and a mask that is white around it."""
    inner = 1 - 2 * margin
    edges = [(round(side * margin / inner),) * 2 for side in picture.shape[:2]]
    canvas = np.pad(picture, (*edges, (0, 0)))
    mask = np.pad(np.zeros_like(picture), (*edges, (0, 0)), constant_values=255)
    mask[..., 3] = 255
    return canvas, mask


def _painted(mask: Pixels, size: int) -> Floats:
    """(S, S): 1 where the mask is light and opaque."""
    light = fit(mask, size).astype(np.float32)
    painted: Floats = ((light[..., :3].mean(-1) * light[..., 3] / 255) > 127).astype(np.float32)
    return painted
