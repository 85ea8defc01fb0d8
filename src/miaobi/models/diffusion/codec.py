"""Records to what a diffusion model learns from: pictures or their latents, rows of a caption and of its translation, style and class.

While training, conditions are hidden at random, all together or one alone, so that the model can also be asked without them (Ho and
Salimans, 2022). Without `rng` nothing is drawn, and `seeds` (from the records' ids) fix the noise: the validation loss is then one number
and not a draw. Unusual: latents of pictures are remembered, so a picture is decoded and encoded once and not in every epoch. What training
changes in a picture changes its latents, so a few changed views of each are remembered beside the plain one; what a view shows depends on
the record alone, so a resumed training sees the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import UsageError, unknown
from miaobi.core.types import Record
from miaobi.models.common.augmentation import Augmentation
from miaobi.models.common.captions import concept_of
from miaobi.models.common.picture_codec import PLAIN, PictureCodec
from miaobi.models.common.text_units import Vocabulary
from miaobi.models.diffusion.phrases import choose

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor

    from miaobi.core.protocols import Batch

ALONE = 0.5  # one condition alone is hidden this much as often as all together
MOST_LATENTS = 2**31  # bytes of latents that are remembered
Key = tuple[int, int]  # a record's number, and which view of its picture; 0 is the plain one


class DiffusionCodec:
    """Pictures and conditions. Style and class are numbers from 1; 0 is none given.

    Args:
        vocabulary: the words that captions are read in; None for a model without text.
        styles, classes: known names.
        dropout: how often all conditions are hidden.
        augmentation: how training changes pictures.
        views: above 0 the model works on latents, which `remember` is told, of so many changed views of a picture and of the plain one.
        pairs: above 0 no pictures are read: a record stands for so many pairs of a noise and what a teacher makes of it, which `remember`
            is told, and caption and noise of a pair are always the same.
    """

    def __init__(
        self,
        size: int,
        channels: Literal[1, 3, 4],
        *,
        vocabulary: Vocabulary | None = None,
        styles: Sequence[str] = (),
        classes: Sequence[str] = (),
        dropout: float = 0.1,
        augmentation: Augmentation = PLAIN,
        views: int = 0,
        pairs: int = 0,
    ) -> None:
        self._pairs = pairs
        self._latent, self._views = views > 0, views if augmentation.changes(channels) else 0
        self.pictures = PictureCodec(size, channels, augmentation=augmentation, cache_bytes=0 if self._latent else 2**30)
        self.size, self.channels = size, channels
        self.vocabulary, self.styles, self.classes = vocabulary, tuple(styles), tuple(classes)
        self.dropout = dropout
        self._known: dict[Key, NDArray[np.float16]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": {}}

    def length(self, record: Record, /) -> int:
        """Pictures are of one size."""
        return 1

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """One batch, with the conditions that the model has.

        `pixels` (B, C, S, S) and `keys` (what to call them), or remembered `latents` (B, L, H, W); `rows` and `other` (B, L, F), captions
        and their translations, `told` (B,) False where a caption is hidden, `concepts` (B,); `style` and `class` (B,); without `rng`
        `seeds` (B,).
        """
        import torch

        numbers = [_number(record.id) for record in records]
        if self._pairs:
            turns = [0] * len(records) if rng is None else rng.integers(0, self._pairs, len(records)).tolist()
            keys = list(zip(numbers, turns))
            batch = {"keys": keys, "seeds": torch.tensor([_number(f"{number} {turn}") for number, turn in keys])} | self._remembered(keys)
            parts = [
                self._conditions([record], [number], np.random.default_rng(key)) for record, number, key in zip(records, numbers, keys)
            ]
            return batch | _together(parts)
        batch = self._pictures(records, numbers, rng) | self._conditions(records, numbers, rng)
        if rng is None:
            batch["seeds"] = torch.tensor(numbers)
        return batch

    def _conditions(self, records: Sequence[Record], numbers: Sequence[int], rng: Generator | None) -> dict[str, Any]:
        """Everything but the pictures."""
        import torch

        batch: dict[str, Any] = {}
        kept = self._kept(len(records), rng)
        if self.vocabulary is not None:
            both = [choose(record, rng=rng, number=number) for record, number in zip(records, numbers)]
            batch["rows"] = torch.from_numpy(self.vocabulary.rows([one for one, _ in both]))
            batch["other"] = torch.from_numpy(self.vocabulary.rows([other for _, other in both]))
            batch["told"] = torch.from_numpy(kept["text"])
            batch["concepts"] = torch.tensor([_number(concept_of(record)) for record in records])
        for name, known in (("style", self.styles), ("class", self.classes)):
            if known:
                indices = np.array([self._index(record, name, known) for record in records])
                batch[name] = torch.from_numpy(indices * kept[name])
        return batch

    def _remembered(self, keys: Sequence[Key]) -> dict[str, Any]:
        """`latents` (B, L, H, W) where all are known."""
        import torch

        if not all(key in self._known for key in keys):
            return {}
        return {"latents": torch.from_numpy(np.stack([self._known[key] for key in keys]).astype(np.float32))}

    def remember(self, keys: Sequence[Key], latents: Tensor) -> None:
        """Latents (B, L, H, W) of pictures that `collate` gave as pixels."""
        bytes_each = latents[0].numel() * 2
        for key, values in zip(keys, latents.half().cpu().numpy()):
            if (len(self._known) + 1) * bytes_each <= MOST_LATENTS:
                self._known[key] = values.copy()

    def style(self, name: str) -> int:
        """The number of a style that a person asks for; see `style_number`."""
        return style_number(name, self.styles)

    def label(self, name: str) -> int:
        """The number of a class that a person asks for; the empty name is none."""
        return _among("class", name, self.classes)

    def _pictures(self, records: Sequence[Record], numbers: Sequence[int], rng: Generator | None) -> dict[str, Any]:
        """Latents where all are known, else pixels, and what to call their latents."""
        if not self._latent:
            return {"pixels": self.pictures.collate(records, rng=rng)["pixels"]}
        views = rng.integers(0, self._views + 1, len(records)).tolist() if rng is not None and self._views else [0] * len(records)
        keys = list(zip(numbers, views))
        return self._remembered(keys) or {"pixels": self._seen(records, keys), "keys": keys}

    def _seen(self, records: Sequence[Record], keys: Sequence[Key]) -> Tensor:
        """Pictures (B, C, S, S), each in its view."""
        import torch

        if not any(view for _, view in keys):
            pixels: Tensor = self.pictures.collate(records)["pixels"]
            return pixels
        drawn = [np.random.default_rng(key) if key[1] else None for key in keys]
        return torch.cat([self.pictures.collate([record], rng=rng)["pixels"] for record, rng in zip(records, drawn)])

    def _index(self, record: Record, field: str, known: Sequence[str]) -> int:
        """1 and up; 0 for a record of another or no style or class."""
        name = str(record.meta.get(field, ""))
        return known.index(name) + 1 if name in known else 0

    def _kept(self, count: int, rng: Generator | None) -> dict[str, NDArray[np.bool_]]:
        """Which records keep which condition."""
        names = ("text", "style", "class")
        if rng is None:
            return dict.fromkeys(names, np.ones(count, dtype=bool))
        several = (self.vocabulary is not None) + bool(self.styles) + bool(self.classes) > 1
        together = rng.random(count) >= self.dropout
        return {name: together & (rng.random(count) >= ALONE * self.dropout * several) for name in names}


def _together(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Batches of one record as one; captions are padded to the longest."""
    import torch
    import torch.nn.functional as F

    joined = {}
    for name in parts[0]:
        values = [part[name] for part in parts]
        if values[0].ndim == 3:  # (1, L, F)
            longest = max(value.shape[1] for value in values)
            values = [F.pad(value, (0, 0, 0, longest - value.shape[1])) for value in values]
        joined[name] = torch.cat(values)
    return joined


def style_number(name: str, known: Sequence[str]) -> int:
    """The number of a style among the known ones; 0 for the empty name.

    Raises:
        UsageError: unknown, or the model has no styles.
    """
    if name and not known:
        raise UsageError("this model knows no styles; leave out the option style")
    return _among("style", name, known)


def _among(kind: str, name: str, known: Sequence[str]) -> int:
    if name and name not in known:
        raise unknown(kind, name, known)
    return known.index(name) + 1 if name else 0


def _number(text: str) -> int:
    """A stable 62-bit number of a name."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 2
