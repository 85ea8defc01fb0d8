"""Pictures as a small grid of vectors by EfficientNet-lite0, which does not learn: what the image–text scorer and the captioner look at.

Unusual: since the eye is fixed, its answer is computed once a picture and kept in memory, so that an epoch over thirty thousand pictures
costs a few small matrix products. A few changed views of each picture are kept beside the plain one, against learning by heart. The maps at
strides 8, 16 and 32 are brought to one grid and laid on each other, so that a vector has fine lines and meaning.

B pictures, G rows and columns of the grid, F = 472 numbers a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.types import Record
from miaobi.data import pictures
from miaobi.models.common.augmentation import Augmentation
from miaobi.models.common.picture_codec import PLAIN, PictureCodec, picture_of

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor

    from miaobi.engine.efficientnet import EfficientNet

STAGES = (2, 3, 4)  # of engine.efficientnet: strides 8, 16, 32
NUM_FEATURES = 40 + 112 + 320
BATCH = 32
Features = NDArray[np.float16]


class FeatureCodec:
    """Records with a picture as (G * G, F) numbers each, kept in memory. Picklable; the memory stays behind.

    Args:
        size: what pictures are resized to; a multiple of 32.
        grid: G; the maps are averaged to so many rows and columns.
        views: how many changed views of each picture training sees beside the plain one.
        augmentation: how a view is changed; the plain one lies on white.
        cache_bytes: how much memory the features may take; beyond it they are computed each time.
    """

    def __init__(self, size: int, grid: int, *, views: int = 0, augmentation: Augmentation = PLAIN, cache_bytes: int = 4 * 2**30) -> None:
        assert size % 32 == 0, "the network halves five times"
        self.size, self.grid, self.views, self.cache_bytes = size, grid, views, cache_bytes
        self._plain = PictureCodec(size, 3, cache_bytes=0)
        self._changed = PictureCodec(size, 3, augmentation=augmentation, cache_bytes=0)
        self._kept: dict[tuple[bytes, int], Features] = {}
        self._held = 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": {}, "_held": 0}

    def features(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Tensor:
        """(B, G * G, F) float32; with an `rng` each picture in one of its views, without one as it is.

        Raises:
            DataError: a record without a picture, or with one that cannot be read.
        """
        import torch

        chosen = rng.integers(0, self.views + 1, len(records)) if rng is not None else np.zeros(len(records), dtype=np.int64)
        keys = [(blake2b(picture_of(record).data, digest_size=16).digest(), int(view)) for record, view in zip(records, chosen)]
        wanted = {key: record for key, record in zip(keys, records) if key not in self._kept}
        fresh = self._look(wanted)
        for key, found in fresh.items():
            if self._held + found.nbytes <= self.cache_bytes:
                self._kept[key] = found
                self._held += found.nbytes
        return torch.from_numpy(np.stack([self._kept[key] if key in self._kept else fresh[key] for key in keys]).astype(np.float32))

    def _look(self, wanted: dict[tuple[bytes, int], Record]) -> dict[tuple[bytes, int], Features]:
        """The features of each; a view is drawn from the picture itself, so it is the same in every run."""
        import torch

        from miaobi.engine import features

        found: dict[tuple[bytes, int], Features] = {}
        keys = list(wanted)
        for start in range(0, len(keys), BATCH):
            part = keys[start : start + BATCH]
            seen = [self._view(wanted[key], key) for key in part]
            with torch.no_grad():
                grids = grid_of(features.network(), torch.cat(seen), self.grid)
            found |= zip(part, grids.half().numpy())
        return found

    def _view(self, record: Record, key: tuple[bytes, int]) -> Tensor:
        """(1, 3, S, S) in [-1, 1]."""
        picture, view = key
        codec, rng = (self._changed, np.random.default_rng((int.from_bytes(picture, "big"), view))) if view else (self._plain, None)
        seen: Tensor = codec.collate([record], rng=rng)["pixels"]
        return seen


def grid_of(network: EfficientNet, x: Tensor, grid: int) -> Tensor:
    """(B, 3, S, S) in [-1, 1] to (B, G * G, F): the maps at three strides, averaged or repeated to one grid."""
    import torch
    from torch.nn import functional as F

    from miaobi.engine.efficientnet import STAGE_CHANNELS

    maps = network.stages(x)
    cells = {stage: _to_grid(maps[stage], grid).flatten(2).transpose(1, 2) for stage in STAGES}  # (B, G * G, C)
    return torch.cat([F.layer_norm(x, (STAGE_CHANNELS[stage],)) for stage, x in cells.items()], dim=-1)  # the maps have unlike scales


def _to_grid(x: Tensor, grid: int) -> Tensor:
    """(B, C, S, S) to (B, C, G, G); S is a multiple of G or divides it."""
    from torch.nn import functional as F

    side = x.shape[-1]
    assert side % grid == 0 or grid % side == 0, "size / 32 and the grid divide each other"
    return F.avg_pool2d(x, side // grid) if side >= grid else F.interpolate(x, scale_factor=grid // side, mode="nearest")


def see(seen: Sequence[NDArray[np.uint8]], size: int) -> NDArray[np.float32]:
    """Pictures (H, W, 4) as the network sees them, on white: (B, 3, S, S) in [-1, 1]. What `PictureCodec` does, without torch."""
    flat = np.stack([pictures.over(pictures.fit(picture, size), "white") for picture in seen])  # (B, S, S, 3)
    return np.ascontiguousarray(np.moveaxis(flat.astype(np.float32) / 255 * 2 - 1, -1, 1))
