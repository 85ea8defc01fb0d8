"""The family without torch: the exported graphs by onnxruntime, the same tokenizer, the same writing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from miaobi.core.artifact import explain_os_errors
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.models.common.traced_graph import Session, open_graph
from miaobi.models.seq2seq.codec import PairCodec, texts_of
from miaobi.models.seq2seq.family import FAMILY
from miaobi.models.seq2seq.stored import read_shape
from miaobi.models.seq2seq.write import write

Array = NDArray[np.float32]
LOOK, STEP = "encoder", "decoder"


class Seq2SeqRuntime:
    """Generates; it neither learns nor scores."""

    def __init__(self, look: Session, step: Session, codec: PairCodec, folder: Path) -> None:
        self.look, self.step, self.codec, self.folder = look, step, codec, folder
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """What is written of the prompt, streamed."""
        yield from write(self._advance, self._look, self.codec, request)

    def _look(self, ids: Sequence[int]) -> tuple[Array, Array]:
        cross = self.look.run({"tokens": np.array([ids], dtype=np.int64)})
        return cross[:, :, :, :, :0], cross

    def _advance(self, tokens: NDArray[np.int64], past: Array, cross: Array) -> tuple[Array, Array]:
        wide: Any = np.broadcast_to(cross, (len(tokens), *cross.shape[1:]))
        logits, longer = self.step.all({"tokens": tokens, "past": past, "cross": np.ascontiguousarray(wide)})
        return logits, longer

    def request_for(self, record: Record, /) -> Request | None:
        """The text that the model reads of a record."""
        source = texts_of(record, self.codec.config)[0]
        return Request.of(source) if source and len(self.codec.tokens.ids(source)) < self.codec.config.context else None

    def text_of(self, record: Record, /) -> str:
        """What should be written of it."""
        return texts_of(record, self.codec.config)[1]

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        with explain_os_errors(folder):
            shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu", threads: int | None = None) -> Self:
        """The exported model in `folder`.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        codec = read_shape(folder)
        return cls(open_graph(folder, LOOK, threads=threads), open_graph(folder, STEP, threads=threads), codec, folder)
