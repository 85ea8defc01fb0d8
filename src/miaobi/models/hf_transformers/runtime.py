"""Open models without torch: the exported graph by onnxruntime, the same tokenizer, the same chat template, the same answers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from miaobi.core.types import Card, Chunk, Request
from miaobi.models.common.decoder_runtime import OnnxStepper
from miaobi.models.hf_transformers.checkpoint import read
from miaobi.models.hf_transformers.codec import OpenCodec
from miaobi.models.hf_transformers.family import FAMILY
from miaobi.models.hf_transformers.write import answer


class OpenRuntime:
    """Generates; it neither learns nor scores."""

    def __init__(self, steps: OnnxStepper, codec: OpenCodec, folder: Path) -> None:
        self.steps, self.codec, self.folder = steps, codec, folder
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @property
    def context(self) -> int:
        """The most tokens that it reads."""
        return self.codec.reads

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The answer, streamed."""
        yield from answer(self.steps.fresh(), self.codec, request)

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu", threads: int | None = None) -> Self:
        """The exported model in `folder`."""
        return cls(OnnxStepper(folder, threads=threads), OpenCodec(read(folder, weights=False)), folder)
