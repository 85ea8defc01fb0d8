"""Records to what a video model learns from: first frames, clips or what they were turned into, rows of a caption and of its translation.

While training, captions and (where a clip can be made without) first frames are hidden at random, and clips are mirrored. Without `rng`
nothing is drawn, and `seeds` (from the records' ids) fix the noise. A clip is decoded and measured once: what `remember` is told comes
back in place of the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import DataError
from miaobi.core.types import Media, Modality, Record
from miaobi.models.common.captions import LANGUAGES, captions_of, concept_of
from miaobi.models.common.picture_codec import Floats, from_pixels
from miaobi.models.common.text_units import Vocabulary
from miaobi.models.video.schema import Config

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor

    from miaobi.core.protocols import Batch

MOST_BYTES = 2**31  # of what is remembered


class ClipCodec:
    """Clips and captions of a configuration; `vocabulary` is None for a model that reads no words."""

    def __init__(self, config: Config, *, vocabulary: Vocabulary | None) -> None:
        self.config, self.vocabulary = config, vocabulary
        self._known: dict[int, tuple[NDArray[np.float16], NDArray[np.float16]]] = {}  # first frame and what is denoised
        self._bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": {}, "_bytes": 0}

    def length(self, record: Record, /) -> int:
        """Clips are of one length."""
        return 1

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """One batch.

        `old`, the rows of which `first` (N, channels, S, S) and `known` (N, F, C, H, W) are remembered, and `fresh`, the others, with
        `clips` (M, F, channels, S, S) and `keys` (what to call them); `given` (B,) 1 where the first frame is shown, `mirrored` (B,);
        `rows` and `other` (B, L, F), captions and their translations, `told` (B,) False where a caption is hidden, `concepts` (B,);
        without `rng` `seeds` (B,).
        """
        import torch

        numbers = [_number(record.id) for record in records]
        B, config = len(records), self.config
        hidden = config.first_dropout if config.space != "flow" else 0.0
        batch: dict[str, Any] = self._clips(records, numbers)
        batch["given"] = torch.ones(B) if rng is None else torch.from_numpy((rng.random(B) >= hidden).astype(np.float32))
        batch["mirrored"] = torch.zeros(B, dtype=torch.bool) if rng is None or not config.flip else torch.from_numpy(rng.random(B) < 0.5)
        if self.vocabulary is not None:
            both = [_captions(record, rng, number) for record, number in zip(records, numbers)]
            batch["rows"] = torch.from_numpy(self.vocabulary.rows([one for one, _ in both]))
            batch["other"] = torch.from_numpy(self.vocabulary.rows([other for _, other in both]))
            told = np.ones(B, dtype=bool) if rng is None else rng.random(B) >= config.condition_dropout
            batch["told"] = torch.from_numpy(told)
            batch["concepts"] = torch.tensor([_number(concept_of(record)) for record in records])
        if rng is None:
            batch["seeds"] = torch.tensor(numbers)
        return batch

    def remember(self, keys: Sequence[int], first: Tensor, known: Tensor) -> None:
        """First frames (B, channels, S, S) and what is denoised (B, F, C, H, W) of clips that `collate` gave as frames."""
        for key, frame, values in zip(keys, first.half().cpu().numpy(), known.half().cpu().numpy()):
            size = frame.nbytes + values.nbytes
            if key not in self._known and self._bytes + size <= MOST_BYTES:
                self._known[key] = frame.copy(), values.copy()
                self._bytes += size

    def recall(self, keys: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """What was remembered of these clips, if it was of all: a batch may be older than what it asks for."""
        import torch

        if not all(key in self._known for key in keys):
            return None
        first, known = zip(*(self._known[key] for key in keys))
        return torch.from_numpy(np.stack(first).astype(np.float32)), torch.from_numpy(np.stack(known).astype(np.float32))

    def _clips(self, records: Sequence[Record], numbers: Sequence[int]) -> dict[str, Any]:
        """What is remembered of the rows `old`; of the others, `fresh`, the frames, and what to call them."""
        import torch

        found: dict[str, Any] = {}
        old = [place for place, number in enumerate(numbers) if number in self._known]
        fresh = [place for place, number in enumerate(numbers) if number not in self._known]
        if old:
            first, known = zip(*(self._known[numbers[place]] for place in old))
            found |= {name: torch.from_numpy(np.stack(part).astype(np.float32)) for name, part in (("first", first), ("known", known))}
            found["old"] = torch.tensor(old)
        if fresh:
            found["clips"] = torch.from_numpy(np.stack([self.read(records[place]) for place in fresh]))
            found |= {"fresh": torch.tensor(fresh), "keys": [numbers[place] for place in fresh]}
        return found

    def read(self, record: Record) -> Floats:
        """A record's clip (F, channels, S, S) in [-1, 1].

        Raises:
            DataError: it has none.
        """
        from miaobi.data import videos
        from miaobi.data.pictures import fit

        config = self.config
        frames = videos.decode(film_of(record).data, sound=False).frames
        places = (np.arange(config.frames) * len(frames) / config.frames).astype(np.intp)
        return from_pixels([fit(frame, config.size) for frame in frames[places]], config.channels, background=config.background)


def film_of(record: Record) -> Media:
    """The record's first film.

    Raises:
        DataError: it has none.
    """
    for part in record.parts:
        if isinstance(part, Media) and part.modality is Modality.VIDEO:
            return part
    raise DataError("record {id} has no film", id=record.id)


def texts_of(records: Sequence[Record]) -> list[str]:
    """Every caption: what a vocabulary is made of."""
    return [text for record in records for language in LANGUAGES for text in captions_of(record, language)]


def _captions(record: Record, rng: Generator | None, number: int) -> tuple[str, str]:
    """A caption and one in the other language; the names, in either language by the record's number, when nothing is drawn."""
    found = [captions for language in LANGUAGES if (captions := captions_of(record, language))]
    if not found:
        return "", ""
    first = number % len(found) if rng is None else int(rng.integers(len(found)))
    one, other = (texts[0] if rng is None else texts[int(rng.integers(len(texts)))] for texts in (found[first], found[first - 1]))
    return one, other


def _number(text: str) -> int:
    """A stable 62-bit number of a name."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 2
