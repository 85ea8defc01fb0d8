"""The family in torch: learns documents cut to the context, scores them whole, and continues prompts without end.

In training a piece of a long document begins with an empty state (truncated back-propagation, the state is not carried); scores and
generation carry it.
"""

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
from miaobi.models.common.continuation import continue_text
from miaobi.models.common.text_codec import NAME, TextCodec
from miaobi.models.common.weights import WEIGHTS, reading_weights, save_weights
from miaobi.models.rnn.family import FAMILY
from miaobi.models.rnn.network import RNNNetwork, State
from miaobi.models.rnn.schema import Config, Options
from miaobi.models.rnn.stepper import RecurrentStepper
from miaobi.models.rnn.stored import read_shape, write_shape

ROWS, TOKENS = 16, 128  # documents, and tokens of each, that are scored at once: their logits are what memory is needed for


class RNN:
    """A Learner and Scorer over any `tokenizer.json`."""

    phases: tuple[str, ...] = ("main",)
    continues = True  # a prompt is the beginning of a text

    def __init__(self, network: RNNNetwork, codec: TextCodec, *, name: str = "rnn") -> None:
        self.network, self.codec = network, codec
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights over the dataset's tokenizer; without one, over the characters of the records."""
        chosen = validate(Config, config, "model.config")
        if tokenizer:
            codec = TextCodec.load(tokenizer, context=chosen.context, packing=False)
        else:
            codec = TextCodec.fit(records, context=chosen.context, packing=False)
        network = RNNNetwork(chosen, codec.vocab_size)
        network.initialise(torch.Generator().manual_seed(seed))
        return cls(network, codec)

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """Cross-entropy in nats of `tokens` (B, T + 1) where `weights` (B, T) counts."""
        tokens, weights = batch["tokens"], batch["weights"]
        logits, _ = self.network(tokens[:, :-1], select=weights)  # (selected, V)
        total = F.cross_entropy(logits.float(), tokens[:, 1:][weights], reduction="sum")
        return Loss(total=total, count=int(weights.sum()))

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """Every parameter that asks for a gradient."""
        return (parameter for parameter in self.network.parameters() if parameter.requires_grad)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The prompt's continuation, streamed."""
        options = Options.model_validate(dict(request.options))
        vocab_size = self.network.embed.num_embeddings
        stepper = RecurrentStepper(self._advance, vocab_size)
        yield from continue_text(stepper, self.codec, request.prompt, options, seed=request.seed)

    @torch.inference_mode()
    def _advance(self, tokens: NDArray[np.int64], state: State | None) -> tuple[Tensor, State]:
        self.network.eval()
        ids = torch.from_numpy(tokens).to(self.network.embed.weight.device)
        last = torch.zeros(ids.shape, dtype=torch.bool, device=ids.device)
        last[:, -1] = True
        logits, after = self.network(ids, state, select=last)
        logits[:, self.codec.silent] = -math.inf
        return logits, after

    def score(self, records: Sequence[Record], /) -> Iterator[Score]:
        """Bits of every token behind the document mark, however long the document."""
        for start in range(0, len(records), ROWS):
            some = records[start : start + ROWS]
            documents = [self.codec.document(record) for record in some]
            for record, ids, bits in zip(some, documents, self._bits(documents)):
                total = bits + self.codec.spelled_bits(ids[1:])
                text = record.text
                yield Score(id=record.id, bits=total, tokens=len(ids) - 1, characters=len(text), bytes=len(text.encode("utf-8", "replace")))

    @torch.inference_mode()
    def _bits(self, documents: Sequence[Sequence[int]]) -> list[float]:
        """The bits of each document, read side by side in stretches that carry the state on."""
        self.network.eval()
        longest = max(map(len, documents))
        tokens = torch.zeros((len(documents), longest), dtype=torch.long)
        real = torch.zeros((len(documents), longest), dtype=torch.bool)
        for row, ids in enumerate(documents):
            tokens[row, : len(ids)] = torch.tensor(ids)
            real[row, : len(ids)] = True
        tokens, real = tokens.to(self.network.embed.weight.device), real.to(self.network.embed.weight.device)
        total, state = torch.zeros(len(documents), dtype=torch.float64), None
        for start in range(0, longest - 1, TOKENS):
            inputs, targets = tokens[:, start : min(start + TOKENS, longest - 1)], tokens[:, start + 1 : start + TOKENS + 1]
            logits, state = self.network(inputs, state)
            nats = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
            total += (nats * real[:, start + 1 : start + TOKENS + 1]).sum(dim=1).double().cpu()
        bits: list[float] = (total / math.log(2)).tolist()
        return bits

    def save(self, folder: Path, /) -> None:
        """`config.json`, `model.safetensors` and `tokenizer.json`; a tied head is stored once."""
        tensors = self.network.state_dict()
        if self.network.config.tied:
            del tensors["head.weight"]
        save_weights(tensors, folder)
        write_shape(self.network.config, folder)
        self.codec.save(folder)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model that `save` wrote.

        Raises:
            ArtifactError: a file is missing, unreadable or does not fit the others.
        """
        from safetensors.torch import load_file

        config = read_shape(folder)
        codec = TextCodec.load(folder / NAME, context=config.context, packing=False)
        network = RNNNetwork(config, codec.vocab_size)
        with reading_weights(folder):
            tensors = load_file(folder / WEIGHTS)
            tied = {"head.weight": tensors["embed.weight"]} if config.tied else {}
            network.load_state_dict({**tensors, **tied})
        return cls(network.to(device).eval(), codec, name=folder.name)
