"""The video model without torch: exported graphs by ONNX Runtime, the captions in NumPy, the same clips."""

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
from miaobi.models.common.text_units import Vocabulary
from miaobi.models.common.traced_graph import Session, open_graph
from miaobi.models.video.animate import animate
from miaobi.models.video.codec import ClipCodec
from miaobi.models.video.family import FAMILY
from miaobi.models.video.first import request_for
from miaobi.models.video.stored import Stored

HEADS = 4  # of the text encoder


class VideoRuntime:
    """Makes clips; it does not learn. What a request does not need is not loaded."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        self.folder, self._threads = folder, threads
        stored = Stored.read(folder)
        self.config, self.shape = stored.config, stored.shape
        self._text = self._read()
        words = self._text.pop("words", None)
        self.codec = ClipCodec(self.config, vocabulary=Vocabulary(words) if words is not None else None)
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)
        self._denoiser = open_graph(folder, "denoiser", threads=threads)

    @cached_property
    def _encoder(self) -> Session:
        return open_graph(self.folder, "encoder", threads=self._threads)

    @cached_property
    def _decoder(self) -> Session:
        return open_graph(self.folder, "decoder", threads=self._threads)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Clips; see `animate.animate`."""
        yield from animate(self, request)

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked to get such a clip; evaluation asks it of held-out ones."""
        return request_for(self.codec, record)

    def read(self, texts: Sequence[str], /) -> Floats:
        """Each text as a vector (B, W); zeros when the model reads no words."""
        if self.codec.vocabulary is None:
            return np.zeros((len(texts), self.config.width), np.float32)
        return text_units.encode(self._text, self.codec.vocabulary.rows(texts), heads=HEADS, layers=self.config.text_layers)[0]

    def predict(self, x: Floats, time: float, vector: Floats, first: Floats, given: Floats, /) -> Floats:
        """The network's prediction."""
        times = np.full(len(x), time, np.float32)
        inputs = {"x": x, "time": times, "vector": vector, "first": first, "given": given}
        return self._denoiser.run({name: np.ascontiguousarray(array, dtype=np.float32) for name, array in inputs.items()})

    def encode(self, frames: Floats, /) -> Floats:
        """Latents of frames."""
        return self._encoder.run({"pixels": np.asarray(frames, np.float32)})

    def decode(self, latents: Floats, /) -> Floats:
        """The inverse."""
        return self._decoder.run({"latents": np.asarray(latents, np.float32)})

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu", threads: int | None = None) -> Self:
        """The exported model in `folder`."""
        return cls(folder, threads=threads)

    def _read(self) -> dict[str, NDArray[Any]]:
        """The words and the weights of the text encoder; those of the network are in its graph."""
        if not self.config.conditions:
            return {}
        try:
            with safe_open(self.folder / "model.safetensors", framework="numpy") as tensors:
                names = [name for name in tensors.keys() if name.startswith("text.")]  # noqa: SIM118  # not a mapping
                found = {name.removeprefix("text."): tensors.get_tensor(name) for name in names}
                return found | {"words": tensors.get_tensor("words")}
        except (OSError, SafetensorError) as error:
            raise ArtifactError("the weights in {folder} cannot be read: {error}", folder=self.folder, error=error) from None
