"""Records to what a WaveNet learns from: stretches of sound, each sample beside the one before it, with the spectrogram around it.

While training, a stretch is cut at random; without `rng` the record's id decides, so that the validation loss is one number. Decoded sounds
and their spectrograms are remembered as far as memory is set aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import unknown
from miaobi.core.types import Record
from miaobi.models.common.mel import as_heard, sound_of, with_context
from miaobi.models.wavenet import mulaw
from miaobi.models.wavenet.schema import Config

if TYPE_CHECKING:
    from numpy.random import Generator

    from miaobi.core.protocols import Batch

Floats = NDArray[np.float32]
MOST_REMEMBERED = 2**30  # bytes of samples and spectrograms


class WaveNetCodec:
    """Sounds in the model's rate, raised in their high frequencies as it wants them."""

    def __init__(self, config: Config, classes: Sequence[str] = ()) -> None:
        self.config, self.classes = config, tuple(classes)
        self._known: dict[str, tuple[Floats, Floats]] = {}
        self._bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": {}, "_bytes": 0}

    def length(self, record: Record, /) -> int:
        """All stretches are of one length."""
        return 1

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """One stretch of each record.

        `given` and `wanted` (B, T): each sample and the one before it, as codes or as samples; `there` (B, T): False behind the end of a
        short record; `frames` (B, F + 2 CONTEXT, M), `labels` (B,), where the model has them.
        """
        import torch

        cut = [self._cut(record, self.config.crop, rng) for record in records]
        batch = {name: torch.from_numpy(np.stack([one[name] for one in cut])) for name in cut[0]}
        if self.classes:
            batch["labels"] = torch.tensor([self.class_of(record) for record in records])
        return batch

    def whole(self, record: Record, /) -> Batch:
        """The record from its beginning to its end, as a batch of one."""
        import torch

        samples, _ = self.prepared(record)
        hop = self.config.mel.hop
        size = -(-len(samples) // hop) * hop if "mel" in self.config.conditions else len(samples)
        batch = {name: torch.from_numpy(values[None]) for name, values in self._cut(record, size, None).items()}
        if self.classes:
            batch["labels"] = torch.tensor([self.class_of(record)])
        return batch

    def prepared(self, record: Record, /) -> tuple[Floats, Floats]:
        """Samples (T,) and spectrogram (F, M) of a record; without frames for a model that takes none.

        Raises:
            DataError: the record has no sound, or one that cannot be read.
        """
        if record.id in self._known:
            return self._known[record.id]
        plain = as_heard(sound_of(record), self.config.rate)
        mel = self.config.mel
        frames = mel.of(plain, self.config.rate) if "mel" in self.config.conditions else np.zeros((0, mel.bands), np.float32)
        found = mulaw.emphasised(plain, self.config.emphasis), frames
        size = sum(array.nbytes for array in found)
        if self._bytes + size <= MOST_REMEMBERED:
            self._known[record.id] = found
            self._bytes += size
        return found

    def class_of(self, record: Record) -> int:
        """The number of the record's class.

        Raises:
            UsageError: training never saw it.
        """
        name = str(record.meta.get(self.config.field, ""))
        if name not in self.classes:
            raise unknown("class", name, self.classes)
        return self.classes.index(name)

    def _cut(self, record: Record, size: int, rng: Generator | None) -> dict[str, NDArray[Any]]:
        """A stretch of `size` samples, which begins at a frame."""
        samples, frames = self.prepared(record)
        hop = self.config.mel.hop if "mel" in self.config.conditions else 1
        most = max(0, len(samples) - size) // hop
        lot = int(rng.integers(most + 1)) if rng else _number(record.id) % (most + 1)
        start = lot * hop
        before = samples[start - 1] if start else np.float32(0)
        stretch = np.concatenate([[before], samples[start : start + size]]).astype(np.float32)
        there = np.arange(size) < len(stretch) - 1
        stretch = np.pad(stretch, (0, size + 1 - len(stretch)))
        values = mulaw.to_codes(stretch, self.config.levels) if self.config.output == "mulaw" else stretch
        found: dict[str, NDArray[Any]] = {"given": values[:-1], "wanted": values[1:], "there": there}
        if "mel" in self.config.conditions:
            found["frames"] = with_context(frames, lot, lot + size // hop + 1)
        return found


def _number(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=6).digest(), "big")
