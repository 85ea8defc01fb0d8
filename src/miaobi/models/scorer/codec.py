"""Records to what the two towers read: the picture's places, and one caption of each language as a bag of n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from miaobi.core.errors import DataError
from miaobi.core.types import Record
from miaobi.models.common.captions import LANGUAGES, captions_of, concept_numbers
from miaobi.models.common.hashed_text import bags
from miaobi.models.common.picture_features import FeatureCodec
from miaobi.models.scorer.schema import Config

if TYPE_CHECKING:
    from numpy.random import Generator

    from miaobi.core.protocols import Batch

FIRST = 0.6  # how often training takes a caption that is not one of the others: the first is what the thing is called


class ScorerCodec:
    """A picture and a caption in each language that it has one in."""

    def __init__(self, config: Config) -> None:
        self.buckets = config.buckets
        self.pictures = FeatureCodec(config.size, config.grid, views=config.views, augmentation=config)

    def length(self, record: Record, /) -> int:
        """Lengths do not matter."""
        return 1

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """`places` (B, N, F), `concepts` (B,), and for each language `{zh,en}_{rows,starts,owners}`.

        `owners` (T,) are the pictures that the texts belong to: some pictures have no caption in a language.

        Raises:
            DataError: no record has a caption.
        """
        import torch

        batch: dict[str, Any] = {
            "places": self.pictures.features(records, rng=rng),
            "concepts": torch.tensor(concept_numbers(records)),
        }
        for language in LANGUAGES:
            named = [(owner, captions) for owner, record in enumerate(records) if (captions := captions_of(record, language))]
            if named:
                rows, starts = bags([_choose(captions, rng) for _, captions in named], self.buckets)
                owners = np.array([owner for owner, _ in named])
                batch |= {f"{language}_{name}": torch.from_numpy(values) for name, values in _named(rows, starts, owners)}
        if len(batch) == 2:
            raise DataError("none of the records has a caption in meta 'caption', so there is nothing to compare the pictures with")
        return batch


def _named(rows: Any, starts: Any, owners: Any) -> Sequence[tuple[str, Any]]:
    return (("rows", rows), ("starts", starts), ("owners", owners))


def _choose(captions: Sequence[str], rng: Generator | None) -> str:
    """The first caption, or while training sometimes another one."""
    if rng is None or len(captions) == 1 or rng.random() < FIRST:
        return captions[0]
    return captions[int(rng.integers(1, len(captions)))]
