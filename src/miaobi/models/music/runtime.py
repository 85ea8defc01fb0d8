"""The music model without torch: the exported graph by onnxruntime, the same vocabulary, the same writing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.models.common.decoder_runtime import OnnxStepper
from miaobi.models.music.codec import MusicCodec
from miaobi.models.music.family import FAMILY
from miaobi.models.music.write import open_spans, request_for, write_music


class MusicRuntime:
    """Generates; it neither learns nor scores."""

    def __init__(self, stepper: OnnxStepper, codec: MusicCodec, folder: Path) -> None:
        self.stepper, self.codec, self.folder = stepper, codec, folder
        self.known = open_spans(folder)
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Scores as MIDI; see `write.write_music`."""
        yield from write_music(self.stepper.fresh(), self.codec, request, known=self.known)

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked to get such a piece; evaluation asks it of held-out ones."""
        return request_for(record)

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu", threads: int | None = None) -> Self:
        """The exported model in `folder`."""
        stepper = OnnxStepper(folder, threads=threads)
        return cls(stepper, MusicCodec(context=stepper.context), folder)
