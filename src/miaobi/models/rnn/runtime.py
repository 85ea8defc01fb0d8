"""The family without torch: the stored tensors and numpy's cells, the same tokenizer, the same writing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from miaobi.core.artifact import explain_os_errors
from miaobi.core.errors import ArtifactError
from miaobi.core.types import Card, Chunk, Request
from miaobi.models.common.continuation import continue_text
from miaobi.models.common.text_codec import NAME, TextCodec
from miaobi.models.rnn.cells import Array, Cells, State
from miaobi.models.rnn.family import FAMILY
from miaobi.models.rnn.schema import Options
from miaobi.models.rnn.stepper import RecurrentStepper
from miaobi.models.rnn.stored import WEIGHTS, read_shape


class RNNRuntime:
    """Generates; it neither learns nor scores."""

    continues = True  # a prompt is the beginning of a text

    def __init__(self, cells: Cells, codec: TextCodec, folder: Path) -> None:
        self.cells, self.codec, self.folder = cells, codec, folder
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The prompt's continuation, streamed."""
        stepper = RecurrentStepper(self._advance, self.cells.vocab_size)
        options = Options.model_validate(dict(request.options))
        yield from continue_text(stepper, self.codec, request.prompt, options, seed=request.seed)

    def _advance(self, tokens: NDArray[np.int64], state: State | None) -> tuple[Array, State]:
        logits, after = self.cells.advance(tokens, state)
        logits[:, self.codec.silent] = -np.inf
        return logits, after

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        with explain_os_errors(folder):
            shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu", threads: int | None = None) -> Self:
        """The model in `folder`; products of a vector and a matrix are bound by memory, so threads change little.

        Raises:
            ArtifactError: a file is missing, damaged or does not fit the others.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        config = read_shape(folder)
        codec = TextCodec.load(folder / NAME, context=config.context)
        try:
            cells = Cells(config, load_file(folder / WEIGHTS))
            cells.advance(np.array([[codec.begin]]), None)  # a tensor that is missing or misshapen is found now
        except (OSError, ValueError, KeyError, IndexError, SafetensorError) as error:
            raise ArtifactError("the weights in {folder} cannot be read: {error}", folder=folder, error=error) from None
        return cls(cells, codec, folder)
