"""The films that metrics look at: made ones, real ones, and the first frame standing still, each looked at once whatever number asks.

A still image is the baseline of every figure: it never flickers, it shows what was asked, and it does not move.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from miaobi.core.types import Media, Modality, Part, Record
from miaobi.data import videos
from miaobi.data.pictures import Pixels, rgba
from miaobi.engine import features
from miaobi.engine.metrics import Sample, Unmeasurable

if TYPE_CHECKING:
    from miaobi.engine.metrics.retrieval import ImageText

Floats = NDArray[np.float32]
MADE, REAL, STILL = "", "real", "still"  # the suffixes of their figures
LANGUAGES = ("zh", "en")


class Films:
    """For each sample that was asked for like a held-out film: the made one, the real one, and its first frame as often."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        """Decode all films.

        Raises:
            Unmeasurable: no sample stands beside a held-out film.
            DataError: a film cannot be read.
        """
        pairs = [(sample.content.parts, sample.reference) for sample in samples if sample.reference is not None]
        if not pairs:
            raise Unmeasurable("no film was asked for like a held-out one, so there is nothing to compare with")
        self.references: list[Record] = [reference for _, reference in pairs]
        real = [film(reference.parts) for reference in self.references]
        made = [film(parts) for parts, _ in pairs]
        still = [np.repeat(frames[:1], len(frames), axis=0) for frames in real]
        self.sets: Mapping[str, list[Pixels]] = {MADE: made, REAL: real, STILL: still}

    @functools.cached_property
    def seen(self) -> Mapping[str, list[Floats]]:
        """The feature vectors of each film's frames, (F, 1280) each. A still is looked at once.

        Raises:
            MissingExtra: torch or the weights are not installed.
        """
        once = {record.id: place for place, record in enumerate(self.references)}  # a film may have been asked for in two languages
        real = dict(zip(once, _looked([self.sets[REAL][place] for place in once.values()])))
        found = {MADE: _looked(self.sets[MADE]), REAL: [real[record.id] for record in self.references]}
        return found | {STILL: [np.repeat(frames[:1], len(frames), axis=0) for frames in found[REAL]]}

    def embedded(self, judge: ImageText) -> Mapping[str, Floats]:
        """Where the judge puts each film: the mean of its frames' unit vectors, (N, E)."""
        seen: dict[str, tuple[Floats, Floats]] = {}
        for record, frames in zip(self.references, self.sets[REAL]):
            if record.id not in seen:
                vectors = judge.embed_pictures([rgba(frame) for frame in frames])
                seen[record.id] = vectors.mean(axis=0), vectors[0]
        made = [judge.embed_pictures([rgba(frame) for frame in frames]).mean(axis=0) for frames in self.sets[MADE]]
        real, still = (np.stack([seen[record.id][part] for record in self.references]) for part in (0, 1))
        return {MADE: np.stack(made), REAL: real, STILL: still}


def film(parts: Sequence[Part]) -> Pixels:
    """The frames (F, H, W, 3 or 4) of the first film among some parts.

    Raises:
        Unmeasurable: there is none.
    """
    for part in parts:
        if isinstance(part, Media) and part.modality is Modality.VIDEO:
            return videos.decode(part.data, sound=False).frames
    raise Unmeasurable("there is no film to look at")


def _looked(films: Sequence[Pixels]) -> list[Floats]:
    """Every frame of every film through the eye, in batches that do not care where a film ends."""
    vectors = features.features([rgba(frame) for frames in films for frame in frames])
    ends = np.cumsum([len(frames) for frames in films])[:-1]
    return list(np.split(vectors, ends))
