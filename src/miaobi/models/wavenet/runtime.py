"""WaveNet without torch: the weights in NumPy, a few matrix products a sample. There is no graph to export."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.models.wavenet.ask import request_for
from miaobi.models.wavenet.family import FAMILY
from miaobi.models.wavenet.sampler import Sampler
from miaobi.models.wavenet.speak import speak, vocoded
from miaobi.models.wavenet.stored import read, read_weights

Floats = NDArray[np.float32]


class WaveNetRuntime:
    """Generates; it neither learns nor scores."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config, self.classes = read(folder)
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @cached_property
    def sampler(self) -> Sampler:
        """The network for sampling."""
        return Sampler(self.config, read_weights(self.folder))

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Sounds; see `speak`."""
        yield from speak(self, request)

    def vocode(self, frames: Floats, rng: Generator, /) -> Iterator[tuple[int, int] | Floats]:
        """The sound of a log-mel spectrogram (F, M): pairs of samples made and all samples on the way, then the samples."""
        yield from vocoded(self.sampler, frames, rng)

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked for the record."""
        return request_for(self.config, self.classes, record)

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model in `folder`."""
        return cls(folder)
