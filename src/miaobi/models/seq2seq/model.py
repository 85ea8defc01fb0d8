"""The family in torch: learns pairs of texts, scores what is written given what is read, and writes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from miaobi.core.protocols import Batch, Loss, Score
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.engine.attention import Attention
from miaobi.models.common.weights import WEIGHTS, reading_weights, save_weights
from miaobi.models.seq2seq.codec import PairCodec, texts_of
from miaobi.models.seq2seq.family import FAMILY
from miaobi.models.seq2seq.network import Seq2SeqNetwork, from_hub, to_hub
from miaobi.models.seq2seq.schema import Config
from miaobi.models.seq2seq.stored import read_shape, write_shape
from miaobi.models.seq2seq.write import write

ROWS = 16  # records that are scored at once


class Seq2Seq:
    """A Learner, Scorer and Exporter over any `tokenizer.json`."""

    phases: tuple[str, ...] = ("main",)
    likelihood = "given"

    def __init__(self, network: Seq2SeqNetwork, codec: PairCodec, *, name: str = "seq2seq") -> None:
        self.network, self.codec = network, codec
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights over the dataset's tokenizer; without one, over the characters of both texts."""
        chosen = validate(Config, config, "model.config")
        codec = PairCodec.fit(records, chosen, tokenizer)
        network = Seq2SeqNetwork(chosen, codec.tokens.vocab_size)
        network.initialise(torch.Generator().manual_seed(seed))
        return cls(network, codec)

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """Cross-entropy in nats over what is written."""
        target, weights = batch["target"], batch["weights"]
        logits = self.network(batch["source"], batch["real"], target[:, :-1], select=weights)  # (selected, V)
        smoothing = self.codec.config.label_smoothing if self.network.training else 0.0
        total = F.cross_entropy(logits.float(), target[:, 1:][weights], reduction="sum", label_smoothing=smoothing)
        return Loss(total=total, count=int(weights.sum()))

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """Every parameter that asks for a gradient."""
        return (parameter for parameter in self.network.parameters() if parameter.requires_grad)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """What is written of the prompt, streamed."""
        self.network.eval()
        yield from write(self._advance, self._look, self.codec, request)

    @torch.inference_mode()
    def _look(self, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        cross = self.network.look(torch.tensor([ids], device=self.network.embed.weight.device))
        return cross[:, :, :, :, :0], cross

    @torch.inference_mode()
    def _advance(self, tokens: NDArray[np.int64], past: Tensor, cross: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.network.step(
            torch.from_numpy(tokens).to(cross.device), past, cross.expand(len(tokens), *cross.shape[1:])
        )
        return found

    @torch.inference_mode()
    def score(self, records: Sequence[Record], /) -> Iterator[Score]:
        """Bits of what is written, given what is read. What does not fit the context is not scored, and its characters do not count."""
        self.network.eval()
        for start in range(0, len(records), ROWS):
            some = records[start : start + ROWS]
            batch = {name: tensor.to(self.network.embed.weight.device) for name, tensor in self.codec.collate(some).items()}
            logits = self.network(batch["source"], batch["real"], batch["target"][:, :-1]).float()  # (B, T, V)
            nats = F.cross_entropy(logits.transpose(1, 2), batch["target"][:, 1:], reduction="none") * batch["weights"]
            for record, found, counted in zip(some, nats.sum(dim=1).tolist(), batch["weights"].sum(dim=1).tolist()):
                target = texts_of(record, self.codec.config)[1]
                ids = self.codec.written(target)[1:]
                text = target if ids[-1:] == [self.codec.tokens.end] else self.codec.tokens.text(ids)
                bits = found / math.log(2) + self.codec.tokens.spelled_bits(ids)
                yield Score(id=record.id, bits=bits, tokens=int(counted), characters=len(text), bytes=len(text.encode("utf-8", "replace")))

    def request_for(self, record: Record, /) -> Request | None:
        """The text that the model reads of a record; evaluation asks for what it writes."""
        source = texts_of(record, self.codec.config)[0]
        return Request.of(source) if source and len(self.codec.tokens.ids(source)) < self.codec.config.context else None

    def text_of(self, record: Record, /) -> str:
        """What should be written of it."""
        return texts_of(record, self.codec.config)[1]

    @torch.inference_mode()
    def attention(self, source: str, target: str, /) -> Attention:
        """Where the decoder looks while it writes `target`, in each of its layers, as the mean over heads."""
        self.network.eval()
        device, read, written = self.network.embed.weight.device, self.codec.read(source), self.codec.written(target)
        kept: list[Tensor] = []
        ids = torch.tensor([read], device=device)
        self.network(ids, torch.ones_like(ids, dtype=torch.bool), torch.tensor([written[:-1]], device=device), keep=kept)
        return Attention(
            source=tuple(self.codec.tokens.text([token]) or "⏎" for token in read),
            target=tuple(self.codec.tokens.text([token]) or "⏎" for token in written[1:]),
            layers=tuple(weights[0].mean(dim=0).cpu().numpy() for weights in kept),
        )

    def export(self, folder: Path, /, *, formats: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
        """The encoder and one step of the decoder as two graphs; see `graph.export`."""
        from miaobi.models.seq2seq.graph import export

        return export(self.network, folder, formats)

    def save(self, folder: Path, /) -> None:
        """The files that `transformers.AutoModelForSeq2SeqLM` and `AutoTokenizer` load."""
        save_weights(to_hub(self.network.state_dict()), folder)
        write_shape(self.codec, folder)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """A model that this family or `transformers` saved.

        Raises:
            ArtifactError: a file is missing, unreadable or does not fit the others.
        """
        from safetensors.torch import load_file

        codec = read_shape(folder)
        with reading_weights(folder):
            tensors = load_file(folder / WEIGHTS)
            network = Seq2SeqNetwork(codec.config, len(tensors["model.shared.weight"]))
            network.load_state_dict(from_hub(tensors, network))
        return cls(network.float().to(device).eval(), codec, name=folder.name)
