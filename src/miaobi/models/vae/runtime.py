"""The autoencoder without torch: exported encoder and decoder by ONNX Runtime, a codebook's prior by the graph of decoders of text."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError, safe_open

from miaobi.core.errors import ArtifactError
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.engine.sampling.stepper import Stepper
from miaobi.models.common.decoder_runtime import OnnxStepper
from miaobi.models.common.picture_codec import Floats, Pixels
from miaobi.models.common.record_request import request_of
from miaobi.models.common.traced_graph import Session, open_graph
from miaobi.models.vae.draw import abstains, draw, reconstruct
from miaobi.models.vae.family import FAMILY
from miaobi.models.vae.stored import PRIOR, read


class VAERuntime:
    """Draws; it neither learns nor scores. What a request does not need is not loaded."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        self.folder, self._threads = folder, threads
        self.config, self.classes = read(folder)
        config = self.config
        cells = 1 if config.vector else config.size // config.patch >> (len(config.widths) - 1)
        self.latent_shape = (config.latent, cells, cells)
        self.card = Card(family=FAMILY.name, name=folder.name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)
        self._decoder = open_graph(folder, "decoder", threads=threads)

    @cached_property
    def _encoder(self) -> Session:
        return open_graph(self.folder, "encoder", threads=self._threads)

    @cached_property
    def _stepper(self) -> OnnxStepper:
        return OnnxStepper(self.folder / PRIOR, threads=self._threads)

    @cached_property
    def _codes(self) -> Floats:
        """(K, L)"""
        try:
            with safe_open(self.folder / "model.safetensors", framework="numpy") as tensors:
                codes: Floats = tensors.get_tensor("codebook.codes").astype(np.float32)
                return codes
        except (OSError, SafetensorError) as error:
            raise ArtifactError("the weights in {folder} cannot be read: {error}", folder=self.folder, error=error) from None

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Samples, reconstructions or walks."""
        yield from draw(self, request)

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked for the record: its class, where the model has classes."""
        return request_of(record, classes=self.classes)

    def abstains(self) -> str:
        """Why it draws nothing of its own: a latent codec has no prior."""
        return abstains(self.config)

    def reconstruct(self, pictures: Sequence[Pixels], /) -> list[Pixels]:
        """Pictures through encoder and decoder, at the model's size."""
        return reconstruct(self, pictures)

    def encode(self, pixels: Floats, labels: Sequence[int], /) -> tuple[Floats, Floats]:
        """Mean and deviation of the latents of pictures."""
        both = self._encoder.run({"pixels": pixels, "labels": np.asarray(labels, dtype=np.int64)})
        mean, deviation = np.split(both, 2, axis=1)
        return mean, deviation

    def decode(self, latents: Floats, labels: Sequence[int], /) -> Floats:
        """Pictures of latents."""
        return self._decoder.run({"latents": latents, "labels": np.asarray(labels, dtype=np.int64)})

    def prior(self) -> Stepper:
        """The Transformer of a codebook."""
        return self._stepper.fresh()

    def embed(self, codes: Sequence[int], /) -> Floats:
        """Latents of the codes of one picture."""
        _, height, width = self.latent_shape
        return np.ascontiguousarray(np.moveaxis(self._codes[np.asarray(codes).reshape(height, width)], -1, 0))

    def save(self, folder: Path, /) -> None:
        """A copy of the files that it was loaded from."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu", threads: int | None = None) -> Self:
        """The exported model in `folder`."""
        return cls(folder, threads=threads)
