"""The family without torch: the exported graph by onnxruntime, the same tokenizer, the same filling."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from miaobi.core.artifact import explain_os_errors
from miaobi.core.types import Card, Chunk, Request, Verb
from miaobi.models.bert.codec import MaskCodec
from miaobi.models.bert.family import FAMILY
from miaobi.models.bert.fill import Flags, Floats, Ids, fill
from miaobi.models.bert.label import classify, tag
from miaobi.models.bert.stored import read_shape
from miaobi.models.common.traced_graph import Session, open_graph

GRAPH = "bert"


class BertRuntime:
    """Generates; it neither learns nor scores."""

    def __init__(self, session: Session, codec: MaskCodec, folder: Path, *, lengths: list[int]) -> None:
        self.session, self.codec, self.folder, self.lengths = session, codec, folder, lengths
        verbs = FAMILY.verbs if codec.config.task == "mask" else FAMILY.verbs - {Verb.SCORE}
        self.continues = codec.config.task == "mask"  # a prompt without gaps is the beginning of a text
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=verbs)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Filled gaps, a class, or tags."""
        if self.codec.config.task == "mask":
            yield from fill(self._predict, self.codec, request, lengths=self.lengths)
        else:
            yield from (classify if self.codec.config.task == "classify" else tag)(self._predict, self.codec, request)

    def _predict(self, tokens: Ids, real: Flags, wanted: Flags) -> Floats:
        logits = self.session.run({"tokens": tokens, "real": real})
        return logits if self.codec.config.task == "classify" else logits[wanted]

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
        codec, lengths = read_shape(folder)
        return cls(open_graph(folder, GRAPH, threads=threads), codec, folder, lengths=lengths)
