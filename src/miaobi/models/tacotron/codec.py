"""Records to what a Tacotron learns from: the symbols of what is said, and the spectrogram of how it sounds.

Silence before and after is cut away, since attention has nothing to look at there; a little stays behind, in which the model learns to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import DataError
from miaobi.core.types import Record
from miaobi.data.steps.sound import trimmed
from miaobi.models.common.mel import SILENCE, as_heard, sound_of
from miaobi.models.tacotron.schema import Config
from miaobi.models.tacotron.text import Alphabet, text_to_read

if TYPE_CHECKING:
    from numpy.random import Generator

    from miaobi.core.protocols import Batch

Floats = NDArray[np.float32]
MOST_REMEMBERED = 2**30  # bytes of spectrograms
QUIET_DECIBELS, STAYS_SECONDS = -45.0, 0.05  # below the loudest: silence, which is cut at the ends; so much of it stays


class TacotronCodec:
    """Texts by the alphabet, sounds as spectrograms whose length is a multiple of the reduction."""

    def __init__(self, config: Config, alphabet: Alphabet) -> None:
        self.config, self.alphabet = config, alphabet
        self._known: dict[str, Floats] = {}
        self._bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": {}, "_bytes": 0}

    def length(self, record: Record, /) -> int:
        """Characters of the text, which are as good as frames for putting records of like length together."""
        return len(text_to_read(record, self.config.text))

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """`symbols` (B, N), `lengths` (B,), `frames` (B, T, M), `ends` (B,): how many of the T frames are there; the others are silence.

        T is a multiple of `reduction`.

        Raises:
            DataError: a record without a text, or without a sound.
            UsageError: a text with symbols that the model does not know.
        """
        import torch

        texts = [self.alphabet.read(self._said(record), self.config.text) for record in records]
        spoken = [self.spectrogram(record) for record in records]
        steps = -(-max(map(len, spoken)) // self.config.reduction)
        symbols = np.zeros((len(records), max(map(len, texts))), np.int64)
        frames = np.full((len(records), steps * self.config.reduction, self.config.mel.bands), SILENCE, np.float32)
        for row, (text, spectrogram) in enumerate(zip(texts, spoken)):
            symbols[row, : len(text)] = text
            frames[row, : len(spectrogram)] = spectrogram
        return {
            "symbols": torch.from_numpy(symbols),
            "lengths": torch.tensor([len(text) for text in texts]),
            "frames": torch.from_numpy(frames),
            "ends": torch.tensor([len(spectrogram) for spectrogram in spoken]),
        }

    def spectrogram(self, record: Record, /) -> Floats:
        """The spectrogram (T, M) of a record, without the silence at its ends.

        Raises:
            DataError: the record has no sound, or one that cannot be read.
        """
        if record.id not in self._known:
            sound = trimmed(sound_of(record).mono(), below=QUIET_DECIBELS, margin=STAYS_SECONDS)
            samples = as_heard(sound, self.config.rate)
            found = self.config.mel.of(samples, self.config.rate)
            if self._bytes + found.nbytes > MOST_REMEMBERED:
                return found
            self._known[record.id] = found
            self._bytes += found.nbytes
        return self._known[record.id]

    def _said(self, record: Record) -> str:
        text = text_to_read(record, self.config.text)
        if not text:
            raise DataError("the record {id} has a sound and no text that says what is spoken", id=record.id)
        return text
