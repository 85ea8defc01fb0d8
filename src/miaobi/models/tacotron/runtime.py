"""Tacotron without torch: the weights in NumPy. There is no graph to export."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Self

from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.models.tacotron.ask import request_for
from miaobi.models.tacotron.family import FAMILY
from miaobi.models.tacotron.speak import speak
from miaobi.models.tacotron.speaker import Speaker
from miaobi.models.tacotron.stored import VOCODER, read, read_weights


class TacotronRuntime:
    """Speaks; it does not learn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config, self.alphabet = read(folder)
        self.vocoder = folder / VOCODER if (folder / VOCODER).is_dir() else None
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @cached_property
    def speaker(self) -> Speaker:
        """The network for speaking."""
        return Speaker(self.config, read_weights(self.folder))

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The text as sound; see `speak`."""
        yield from speak(self, request)

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked for the record: its text."""
        return request_for(self.config, record)

    def text_of(self, record: Record, /) -> str:
        """What is said in the record, as the model is asked for it."""
        return request.prompt if (request := self.request_for(record)) else ""

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model in `folder`."""
        return cls(folder)
