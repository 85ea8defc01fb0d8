"""The generator without torch: its exported graph by ONNX Runtime."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.models.common.picture_codec import Floats
from miaobi.models.common.record_request import request_of
from miaobi.models.common.traced_graph import open_graph
from miaobi.models.gan.draw import draw
from miaobi.models.gan.family import FAMILY
from miaobi.models.gan.stored import read


class GANRuntime:
    """Draws; it does not learn."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        self.folder = folder
        self.config, self.classes = read(folder)
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)
        self._generator = open_graph(folder, "generator", threads=threads)

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked for the record: its class, where the model has classes."""
        return request_of(record, classes=self.classes)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Pictures or walks."""
        yield from draw(self, request)

    def paint(self, latents: Floats, labels: Sequence[int], /) -> Floats:
        """Pictures of latents."""
        return self._generator.run({"latents": latents, "labels": np.asarray(labels, dtype=np.int64)})

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu", threads: int | None = None) -> Self:
        """The exported model in `folder`."""
        return cls(folder, threads=threads)
