"""WaveNet in torch: it learns stretches of sound at once and gives likelihoods; sampling is the runtime's, with the weights of now."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from miaobi.core.artifact import write_text
from miaobi.core.errors import DataError
from miaobi.core.protocols import Batch, Loss, Score
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.models.common.weights import reading_weights, save_weights
from miaobi.models.wavenet.ask import request_for
from miaobi.models.wavenet.codec import WaveNetCodec
from miaobi.models.wavenet.family import FAMILY
from miaobi.models.wavenet.likelihood import nats_of_codes, nats_of_samples
from miaobi.models.wavenet.network import Network
from miaobi.models.wavenet.sampler import Sampler
from miaobi.models.wavenet.schema import Config
from miaobi.models.wavenet.speak import speak, vocoded
from miaobi.models.wavenet.stored import CONFIG, WEIGHTS, read

Floats = NDArray[np.float32]


class WaveNet:
    """A Learner and a Scorer."""

    phases: tuple[str, ...] = ("main",)

    def __init__(self, network: Network, config: Config, *, classes: Sequence[str] = (), name: str = "wavenet") -> None:
        self.network, self.config, self.classes = network, config, tuple(classes)
        self.codec = WaveNetCodec(config, self.classes)
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights; the records give the classes.

        Raises:
            UsageError: a wrong configuration.
            DataError: the model is to learn classes, and no record has one.
        """
        chosen = validate(Config, config, "model.config")
        classes = sorted({str(record.meta[chosen.field]) for record in records if record.meta.get(chosen.field)})
        if "class" in chosen.conditions and not classes:
            raise DataError(
                "no record has a {field}, which the model is to be steered by. Give the records one, or leave it out", field=chosen.field
            )
        classes = classes if "class" in chosen.conditions else []
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            return cls(Network(chosen, len(classes)), chosen, classes=classes)

    # ------------------------------------------------------------------ learning

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """-ln p of every sample, given those before it, summed."""
        nats = self._nats(batch)
        return Loss(total=nats.sum(), count=int(batch["there"].sum()), logs={"bits": float(nats.detach().sum()) / math.log(2)})

    def _nats(self, batch: Batch) -> Tensor:
        """-ln p of every sample (B, T), 0 where the record has ended."""
        found = self.network(batch["given"], batch.get("frames"), batch.get("labels"))
        nats = nats_of_codes(found, batch["wanted"]) if self.config.output == "mulaw" else nats_of_samples(found, batch["wanted"])
        return nats * batch["there"]  # type: ignore[no-any-return]

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """Everything."""
        return self.network.parameters()

    def score(self, records: Sequence[Record], /) -> Iterator[Score]:
        """Bits of whole sounds, from the first sample to the last; with a spectrogram, given that spectrogram.

        The numbers are codes of the mu-law scale, or samples of 16 bits: two models with other scales cannot be compared.
        """
        self.network.eval()
        for record in records:
            bits, count = self._bits(record)
            yield Score(id=record.id, bits=bits, dimensions=count)

    @torch.inference_mode()
    def _bits(self, record: Record) -> tuple[float, int]:
        device = next(self.network.parameters()).device
        batch = {name: tensor.to(device) for name, tensor in self.codec.whole(record).items()}
        return float(self._nats(batch).double().sum()) / math.log(2), int(batch["there"].sum())

    # ------------------------------------------------------------------ making sounds, and files

    @property
    def sampler(self) -> Sampler:
        """The network for sampling, with the weights of now."""
        return Sampler(self.config, {name: tensor.detach().float().cpu().numpy() for name, tensor in self.network.state_dict().items()})

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Sounds; see `speak`."""
        yield from speak(self, request)

    def vocode(self, frames: Floats, rng: Generator, /) -> Iterator[tuple[int, int] | Floats]:
        """The sound of a log-mel spectrogram (F, M): pairs of samples made and all samples on the way, then the samples."""
        yield from vocoded(self.sampler, frames, rng)

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked for the record."""
        return request_for(self.config, self.classes, record)

    def save(self, folder: Path, /) -> None:
        """Weights and configuration."""
        save_weights(self.network.state_dict(), folder)
        own = {"model_type": "miaobi_wavenet", "config": self.config.model_dump(mode="json"), "classes": list(self.classes)}
        write_text(folder / CONFIG, json.dumps(own, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model that `save` wrote."""
        config, classes = read(folder)
        network = Network(config, len(classes))
        with reading_weights(folder):
            network.load_state_dict(load_file(folder / WEIGHTS))
        return cls(network.to(device).eval(), config, classes=classes, name=folder.name)
