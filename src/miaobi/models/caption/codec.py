"""Records to the places of their pictures and a caption in each language, as token numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from miaobi.core.errors import DataError
from miaobi.core.types import Record
from miaobi.models.caption.schema import Config
from miaobi.models.caption.vocabulary import END, Vocabulary
from miaobi.models.common.captions import LANGUAGES, captions_of
from miaobi.models.common.picture_features import FeatureCodec

if TYPE_CHECKING:
    from numpy.random import Generator

    from miaobi.core.protocols import Batch

FIRST = 0.8  # how often training takes what the thing is called, and not one of its other captions


class CaptionCodec:
    """One row for each picture and language that it has a caption in."""

    def __init__(self, config: Config, vocabulary: Vocabulary) -> None:
        self.length_limit, self.vocabulary = config.length, vocabulary
        self.pictures = FeatureCodec(config.size, config.grid, views=config.views, augmentation=config)

    def length(self, record: Record, /) -> int:
        """Captions are short; their lengths do not matter."""
        return 1

    def document(self, language: str, caption: str) -> list[int]:
        """A caption between its marks."""
        return [self.vocabulary.begin(language), *self.vocabulary.encode(caption)[: self.length_limit - 1], END]

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """`places` (B, N, F); `tokens` (R, T + 1), `weights` (R, T) True at targets, `owners` (R,) the pictures of the rows.

        Raises:
            DataError: no record has a caption.
        """
        import torch

        rows, owners = [], []
        for owner, record in enumerate(records):
            for language in LANGUAGES:
                captions = captions_of(record, language)
                if captions:
                    rows.append(self.document(language, _choose(captions, rng)))
                    owners.append(owner)
        if not rows:
            raise DataError("none of the records has a caption in meta 'caption', so there is nothing to learn from the pictures")
        longest = max(map(len, rows))
        tokens = np.full((len(rows), longest), END, dtype=np.int64)
        weights = np.zeros((len(rows), longest - 1), dtype=bool)
        for number, row in enumerate(rows):
            tokens[number, : len(row)] = row
            weights[number, : len(row) - 1] = True
        return {
            "places": self.pictures.features(records, rng=rng),
            "tokens": torch.from_numpy(tokens),
            "weights": torch.from_numpy(weights),
            "owners": torch.tensor(owners),
        }


def _choose(captions: Sequence[str], rng: Generator | None) -> str:
    """The first caption, or while training sometimes another one."""
    if rng is None or len(captions) == 1 or rng.random() < FIRST:
        return captions[0]
    return captions[int(rng.integers(1, len(captions)))]
