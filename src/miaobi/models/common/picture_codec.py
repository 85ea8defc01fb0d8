"""Records with a picture to tensors and back: decoded once, resized once, and augmented anew each time.

Unusual: a picture is kept in memory decoded, at the size and with the channels that the network reads, so that from the second epoch on a
batch costs a copy and no decoding. What needs randomness (mirror, shift, zoom, colour, background) comes after that, from the `rng` that
`collate` is given; without one nothing is drawn. Four channels are RGB multiplied by alpha, and alpha: what cannot be seen is not learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import DataError
from miaobi.core.types import Media, Modality, Record
from miaobi.models.common.augmentation import RANDOM, Augmentation, may_mirror

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor

    from miaobi.core.protocols import Batch

Pixels = NDArray[np.uint8]  # (H, W, 4), straight alpha
Floats = NDArray[np.float32]
PLAIN = Augmentation()
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # BT.601, as pillow's mode L


class PictureCodec:
    """Pictures of `size` by `size` as (B, C, S, S) numbers in [-1, 1]. Picklable, without the pictures that it remembers.

    Args:
        size: width and height; other pictures are resized by area.
        channels: 1 (grey over the background), 3 (colour over the background) or 4 (RGB times alpha, alpha).
        fit: what happens to a picture that is not square: empty stripes (contain), cut (cover) or stretched.
        augmentation: what is drawn from `rng`, and the background that transparent pictures are laid over.
        classes: names of the classes, in the order of their numbers; records then need `meta[field]`, and a batch has `labels` (B,).
        cache_bytes: how much memory decoded pictures may take. When it is full, the other pictures are decoded each time.
    """

    def __init__(
        self,
        size: int,
        channels: Literal[1, 3, 4] = 3,
        *,
        fit: Literal["contain", "cover", "stretch"] = "contain",
        augmentation: Augmentation = PLAIN,
        classes: Sequence[str] = (),
        field: str = "class",
        cache_bytes: int = 2**30,
    ) -> None:
        self.size, self.channels, self.fit = size, channels, fit
        self.augmentation = augmentation
        self.classes, self.field = tuple(classes), field
        self.cache_bytes = cache_bytes
        self._decoded: dict[bytes, Pixels] = {}
        self._held = 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_decoded": {}, "_held": 0}

    def length(self, record: Record, /) -> int:
        """Pictures are of one size."""
        return 1

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """`pixels` (B, C, S, S) in [-1, 1], and `labels` (B,) where there are classes.

        Raises:
            DataError: a record without a picture, with one that cannot be read, or without its class.
        """
        import torch

        changes = self.augmentation
        unit: Floats = np.stack([self._pixels(record) for record in records]).astype(np.float32) / np.float32(
            255
        )  # (B, S, S, stored channels)
        if rng is not None and changes.colour:
            strength = rng.uniform(1 - changes.colour, 1 + changes.colour, (3, len(unit), 1, 1, 1)).astype(np.float32)
            unit[..., :3] = _tinted(unit, *strength)
        if unit.shape[-1] == 4:
            unit[..., :3] *= unit[..., 3:]
        if rng is not None:
            unit = self._moved(unit, records, rng)
        if unit.shape[-1] > self.channels:
            unit = self._over_colours(unit, rng)
        batch = {"pixels": torch.from_numpy(np.ascontiguousarray(unit.transpose(0, 3, 1, 2) * 2 - 1))}
        if self.classes:
            batch["labels"] = torch.tensor([self.label(record) for record in records])
        return batch

    def label(self, record: Record, /) -> int:
        """The number of the record's class."""
        name = str(record.meta.get(self.field, ""))
        if name not in self.classes:
            raise DataError(
                "record {id} is of the class '{name}', which is none of {known}",
                id=record.id,
                name=name,
                known=", ".join(self.classes),
            )
        return self.classes.index(name)

    def to_pixels(self, tensor: Tensor | Floats, /) -> list[Pixels]:
        """(B, C, S, S) in [-1, 1] as pictures with straight alpha."""
        return to_pixels(tensor if isinstance(tensor, np.ndarray) else tensor.detach().float().cpu().numpy())

    def _pixels(self, record: Record) -> Pixels:
        """The record's picture at the network's size: (S, S, 4) where its alpha is still wanted, else (S, S, C)."""
        media = picture_of(record)
        key = blake2b(media.data, digest_size=16).digest()
        if key not in self._decoded:
            pixels = self._decode(media)
            if self._held + pixels.nbytes > self.cache_bytes:
                return pixels  # full: every picture comes once an epoch, so driving others out would help none
            self._decoded[key] = pixels
            self._held += pixels.nbytes
        return self._decoded[key]

    def _decode(self, media: Media) -> Pixels:
        from miaobi.data import pictures

        pixels = pictures.fit(pictures.decode(media.data), (self.size, self.size), mode=self.fit)
        if self.channels == 4 or self.augmentation.background == RANDOM or self.augmentation.colour:
            return pixels
        flat = pictures.over(pixels, self.augmentation.background)  # (S, S, 3)
        return np.rint(flat @ GREY).astype(np.uint8)[..., None] if self.channels == 1 else flat

    def _moved(self, unit: Floats, records: Sequence[Record], rng: Generator) -> Floats:
        """Mirrored, zoomed and shifted; what comes in from outside repeats the border."""
        changes = self.augmentation
        if changes.flip:
            mirrored = np.array([may_mirror(record, field=self.field) for record in records]) & (rng.random(len(unit)) < 0.5)
            unit = np.where(mirrored[:, None, None, None], unit[:, :, ::-1], unit)
        if not changes.crop and not changes.scale:
            return unit
        zoom = (1 + changes.scale) ** rng.uniform(-1, 1, (len(unit), 1))  # (B, 1): as often larger as smaller
        centre = (self.size - 1) / 2
        steps = (np.arange(self.size) - centre) / zoom + centre  # (B, S)
        for axis in (1, 2):
            places = np.clip(steps + rng.integers(-changes.crop, changes.crop + 1, (len(unit), 1)), 0, self.size - 1)
            unit = _resampled(unit, places, axis)
        return unit

    def _over_colours(self, unit: Floats, rng: Generator | None) -> Floats:
        """Premultiplied (B, S, S, 4) over the background; where that is random, over a colour for each picture, white without `rng`."""
        if self.augmentation.background == RANDOM:
            shape = (len(unit), 1, 1, 3)
            colours = np.ones(shape, np.float32) if rng is None else rng.random(shape, dtype=np.float32)
        else:
            from miaobi.data.pictures import colour

            colours = np.asarray(colour(self.augmentation.background), dtype=np.float32) / np.float32(255)  # (3,)
        flat = unit[..., :3] + (1 - unit[..., 3:]) * colours
        return flat if self.channels == 3 else (flat @ GREY)[..., None]


def picture_of(record: Record) -> Media:
    """The record's first picture.

    Raises:
        DataError: it has none.
    """
    for part in record.parts:
        if isinstance(part, Media) and part.modality is Modality.IMAGE:
            return part
    raise DataError("record {id} has no picture", id=record.id)


def class_names(records: Sequence[Record], field: str = "class") -> tuple[str, ...]:
    """The classes that the records have, numbers in their order.

    Raises:
        DataError: a record has none.
    """
    names = set()
    for record in records:
        if field not in record.meta:
            raise DataError("record {id} has no meta '{field}', which the model's classes come from", id=record.id, field=field)
        names.add(str(record.meta[field]))
    return tuple(sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)))


def to_pixels(values: Floats) -> list[Pixels]:
    """(B, C, H, W) in [-1, 1] as (H, W, 4) pictures with straight alpha; C is 1, 3 or 4 (premultiplied)."""
    unit = np.clip((np.moveaxis(values, 1, -1) + 1) / 2, 0, 1)  # (B, H, W, C)
    if unit.shape[-1] == 4:
        alpha = unit[..., 3:]
        colour = np.divide(unit[..., :3], alpha, out=np.zeros_like(unit[..., :3]), where=alpha > 1 / 510)
        unit = np.concatenate([np.minimum(colour, 1), alpha], axis=-1)
    else:
        unit = np.concatenate([np.broadcast_to(unit, (*unit.shape[:-1], 3)), np.ones((*unit.shape[:-1], 1), unit.dtype)], axis=-1)
    return list(np.rint(unit * 255).astype(np.uint8))


def from_pixels(pictures: Sequence[Pixels], channels: int, *, background: str = "white") -> Floats:
    """The inverse of `to_pixels`, (B, C, H, W), for pictures of one size."""
    from miaobi.data.pictures import over

    if channels == 4:
        unit = np.stack(pictures).astype(np.float32) / 255
        unit[..., :3] *= unit[..., 3:]
    else:
        unit = np.stack([over(pixels, background) for pixels in pictures]).astype(np.float32) / 255
        unit = (unit @ GREY)[..., None] if channels == 1 else unit
    return np.ascontiguousarray(np.moveaxis(unit * 2 - 1, -1, 1))


def _resampled(values: Floats, places: NDArray[np.float64], axis: int) -> Floats:
    """`values` (B, S, S, C) read along `axis` at the fractional positions `places` (B, S), linearly."""
    index = (slice(None), slice(None), None, None) if axis == 1 else (slice(None), None, slice(None), None)
    low = np.floor(places).astype(np.int64)
    first = np.take_along_axis(values, low[index], axis=axis)
    share = (places - low).astype(np.float32)
    if not share.any():  # shifts alone need no second reading
        return first
    second = np.take_along_axis(values, np.minimum(low + 1, values.shape[axis] - 1)[index], axis=axis)
    return first + share[index] * (second - first)


def _tinted(unit: Floats, brightness: Floats, contrast: Floats, saturation: Floats) -> Floats:
    """Colours (B, S, S, 3 or 1) of pictures in [0, 1], with straight alpha where they have one, changed by factors (B, 1, 1, 1).

    Contrast is around the mean of what can be seen.
    """
    rgb = unit[..., :3] * brightness
    seen = unit[..., 3:] if unit.shape[-1] == 4 else np.ones_like(unit[..., :1])
    mean = (rgb * seen).mean(axis=(1, 2, 3), keepdims=True) / np.maximum(seen.mean(axis=(1, 2, 3), keepdims=True), 1e-6)
    rgb = (rgb - mean) * contrast + mean
    grey = rgb.mean(axis=-1, keepdims=True)
    tinted: Floats = np.clip(grey + (rgb - grey) * saturation, 0, 1)
    return tinted
