"""The diffusion model without torch: exported graphs by ONNX Runtime, the conditions in NumPy, the same drawing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from miaobi.core.errors import ArtifactError
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.models.common import text_units
from miaobi.models.common.picture_codec import Floats
from miaobi.models.common.picture_runtime import PictureRuntime
from miaobi.models.common.picture_runtime import find as find_graph
from miaobi.models.common.traced_graph import Session, open_graph
from miaobi.models.diffusion.family import FAMILY
from miaobi.models.diffusion.given import request_for
from miaobi.models.diffusion.paint import Condition, paint
from miaobi.models.diffusion.stored import UPSCALER, Stored, make_codec

HEADS = 4  # of the text encoder


class DiffusionRuntime:
    """Draws; it does not learn. What a request does not need is not loaded."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        self.folder, self._threads = folder, threads
        self.stored = Stored.read(folder)
        self.config, self.shape = self.stored.config, self.stored.shape
        self._weights = self._read()
        self.codec = make_codec(self.config, words=self._weights.pop("words", None), styles=self.stored.styles, classes=self.stored.classes)
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)
        self._denoiser = PictureRuntime(find_graph(folder, "denoiser"), threads=threads)

    @cached_property
    def _encoder(self) -> Session:
        return open_graph(self.folder, "encoder", threads=self._threads)

    @cached_property
    def _decoder(self) -> Session:
        return open_graph(self.folder, "decoder", threads=self._threads)

    @cached_property
    def upscaler(self) -> DiffusionRuntime | None:
        """What makes the pictures larger, if it is there."""
        there = (self.folder / UPSCALER).is_dir()
        return DiffusionRuntime(self.folder / UPSCALER, threads=self._threads) if there else None

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Pictures; see `paint.paint`."""
        yield from paint(self, request)

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked to get such a picture; evaluation asks it of held-out ones."""
        return request_for(self.config, self.codec, record)

    def condition(self, texts: Sequence[str], style: int, label: int, /) -> Condition:
        """What the network is told of each text, in one style and class."""
        vector, tokens = None, None
        if self.codec.vocabulary is not None:
            own = {name.removeprefix("text."): array for name, array in self._weights.items() if name.startswith("text.")}
            rows = self.codec.vocabulary.rows(texts)
            vector, tokens = text_units.encode(own, rows, heads=HEADS, layers=self.config.text_layers)
        for name, number in (("style", style), ("label", label)):
            table = self._weights.get(f"{name}.weight")
            if table is not None:
                told = np.repeat(table[number : number + 1].astype(np.float32) * (number > 0), len(texts), axis=0)
                vector = told if vector is None else vector + told
        return Condition(vector, tokens if self.config.text_tokens else None)

    def predict(self, x: Floats, time: float, condition: Condition, low: Floats | None, /) -> Floats:
        """The network's prediction."""
        x = x if low is None else np.concatenate([x, low], axis=1)
        return self._denoiser(x, time, vector=condition.vector, tokens=condition.tokens)

    def encode(self, pixels: Floats, /) -> Floats:
        """Pixels or latents of pictures."""
        return self._encoder.run({"pixels": pixels}) if self.stored.autoencoder else pixels

    def decode(self, x: Floats, /) -> Floats:
        """The inverse."""
        return self._decoder.run({"latents": np.asarray(x, dtype=np.float32)}) if self.stored.autoencoder else x

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu", threads: int | None = None) -> Self:
        """The exported model in `folder`."""
        return cls(folder, threads=threads)

    def _read(self) -> dict[str, NDArray[Any]]:
        """The words and the weights of the conditions; those of the network are in its graph."""
        if not self.config.conditions:
            return {}
        conditions = ("text.", "style.", "label.")
        try:
            with safe_open(self.folder / "model.safetensors", framework="numpy") as tensors:
                names = [name for name in tensors.keys() if name.startswith(conditions)]  # noqa: SIM118  # not a mapping
                names += ["words"] if "text" in self.config.conditions else []
                return {name: tensors.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise ArtifactError("the weights in {folder} cannot be read: {error}", folder=self.folder, error=error) from None
