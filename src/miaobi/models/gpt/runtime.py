"""The GPT family without torch: the exported graph by onnxruntime, the same tokenizer, the same writing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from miaobi.core.types import Card, Chunk, Request
from miaobi.models.common.decoder_runtime import OnnxStepper
from miaobi.models.common.text_codec import TextCodec, load_codec
from miaobi.models.gpt.family import FAMILY
from miaobi.models.gpt.write import continue_prompt


class GPTRuntime:
    """Generates; it neither learns nor scores."""

    continues = True  # a prompt is the beginning of a text

    def __init__(self, stepper: OnnxStepper, codec: TextCodec, folder: Path) -> None:
        self.stepper, self.codec, self.folder = stepper, codec, folder
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The prompt's continuation, streamed."""
        yield from continue_prompt(self.stepper.fresh(), self.codec, request)

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu", threads: int | None = None) -> Self:
        """The exported model in `folder`."""
        return cls(OnnxStepper(folder, threads=threads), load_codec(folder), folder)
