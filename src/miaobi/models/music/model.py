"""The music model in torch: learns scores, scores them, and writes them through `write`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch

from miaobi.core.artifact import write_text
from miaobi.core.protocols import Score
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.models.common.hub_format import read_config
from miaobi.models.common.language import (
    CausalLoss,
    export_graphs,
    load_network,
    new_network,
    save_network,
    shape,
    stored_format,
    token_bits,
)
from miaobi.models.common.transformer import TorchStepper, Transformer
from miaobi.models.common.weights import FLOATS
from miaobi.models.music.codec import BEGIN, END, PAD, MusicCodec, num_header
from miaobi.models.music.family import FAMILY
from miaobi.models.music.schema import Config
from miaobi.models.music.vocabulary import words
from miaobi.models.music.write import SPANS, open_spans, request_for, training_spans, write_music
from miaobi.trust.originality import LineFilter

WORDS = "events.json"
FALSE_ALARMS = 0.01  # a span wrongly taken for a quotation only costs a candidate


class Music(CausalLoss):
    """A Learner, Scorer and Exporter."""

    def __init__(
        self,
        network: Transformer,
        codec: MusicCodec,
        *,
        name: str = "music",
        label_smoothing: float = 0.0,
        stored: torch.dtype = torch.float32,
        known: LineFilter | None = None,
        training: Sequence[Record] = (),
    ) -> None:
        super().__init__(network, label_smoothing=label_smoothing)
        self.codec = codec
        self.stored = stored  # the number format on disk
        self.known = known
        self.training = training  # their melodies are filtered when the model is saved
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights; the vocabulary is the same for all music."""
        chosen = validate(Config, config, "model.config")
        codec = MusicCodec(context=chosen.context, fold=chosen.fold)
        network = new_network(shape(chosen.model_dump(), vocab_size=codec.vocab_size), seed)
        return cls(network, codec, label_smoothing=chosen.label_smoothing, stored=FLOATS[chosen.stored], training=records)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Scores as MIDI; see `write.write_music`."""
        yield from write_music(TorchStepper(self.network.eval()), self.codec, request, known=self.known)

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked to get such a piece; evaluation asks it of held-out ones."""
        return request_for(record)

    def score(self, records: Sequence[Record], /) -> Iterator[Score]:
        """Bits of every event behind the header."""
        sequences = self.baseline_sequences(records)
        for record, (_, scored), bits in zip(records, sequences, token_bits(self.network.eval(), [ids for ids, _ in sequences], batch=8)):
            counted = bits.numpy()[scored[1:]]
            yield Score(id=record.id, bits=float(counted.sum()), tokens=len(counted), dimensions=len(counted))

    def baseline_sequences(self, records: Sequence[Record]) -> list[tuple[list[int], list[bool]]]:
        """(ids, which of them `score` counts) a record: what an n-gram must be given to be compared on the same events."""
        sequences = []
        for record in records:
            ids = self.codec.document(record)
            header = num_header(ids)
            sequences.append((ids, [False] * header + [True] * (len(ids) - header)))
        return sequences

    def sequences(self, records: Sequence[Record], /) -> list[tuple[list[int], list[bool]]]:
        """What is read of each record, and which of its ids `score` counts."""
        return self.baseline_sequences(records)

    def export(self, folder: Path, /, *, formats: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
        """Graphs for the runtime, compared with torch on a few beginnings."""
        prompts = [[BEGIN], [token % self.codec.vocab_size for token in range(2, 26)]]
        return export_graphs(self.network, folder, formats, prompts)

    def save(self, folder: Path, /) -> None:
        """Llama's files, so that `transformers` loads the network too, the words of the events, and the filter of training melodies."""
        save_network(self.network, folder, dtype=self.stored, bos_token_id=BEGIN, eos_token_id=END, pad_token_id=PAD)
        write_text(folder / WORDS, json.dumps(words(), ensure_ascii=False, indent=0) + "\n")
        known = self.known or training_spans(self.training, rate=FALSE_ALARMS)
        known.save(folder / SPANS)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model that `save` wrote."""
        config = read_config(folder)
        codec = MusicCodec(context=int(config["max_position_embeddings"]))
        return cls(load_network(folder, device=device), codec, name=folder.name, stored=stored_format(config), known=open_spans(folder))
