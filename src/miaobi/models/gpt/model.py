"""The GPT family in torch: learns packed text, scores it, and continues prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch

from miaobi.core.protocols import Score
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.models.common.language import CausalLoss, export_graphs, load_network, new_network, save_network, shape, token_bits
from miaobi.models.common.text_codec import TextCodec, load_codec, said_text
from miaobi.models.common.transformer import TorchStepper, Transformer
from miaobi.models.gpt.family import FAMILY
from miaobi.models.gpt.schema import Config
from miaobi.models.gpt.write import continue_prompt


class GPT(CausalLoss):
    """A Learner, Scorer and Exporter over any `tokenizer.json`."""

    continues = True  # a prompt is the beginning of a text

    def __init__(self, network: Transformer, codec: TextCodec, *, name: str = "gpt", label_smoothing: float = 0.0) -> None:
        super().__init__(network, label_smoothing=label_smoothing)
        self.codec = codec
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights over the dataset's tokenizer; without one, over the characters of the records."""
        chosen = validate(Config, config, "model.config")
        codec = TextCodec.load(tokenizer, context=chosen.context) if tokenizer else TextCodec.fit(records, context=chosen.context)
        network = new_network(shape(chosen.model_dump(), vocab_size=codec.vocab_size), seed)
        return cls(network, codec, label_smoothing=chosen.label_smoothing)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The prompt's continuation, streamed."""
        yield from continue_prompt(TorchStepper(self.network.eval()), self.codec, request)

    def score(self, records: Sequence[Record], /) -> Iterator[Score]:
        """Bits of every token that is learned of a record; documents longer than the context are scored window by window."""
        documents = [self.codec.windows_of(record) for record in records]
        bits = token_bits(self.network.eval(), [ids for windows in documents for ids, _ in windows])
        for record, windows in zip(records, documents):
            total, tokens = 0.0, 0
            for (ids, said), found in zip(windows, bits):
                counted = [number for number, is_said in zip(ids[1:], said[1:]) if is_said]
                total += float(found[torch.tensor(said[1:])].sum()) + self.codec.spelled_bits(counted)
                tokens += len(counted)
            text = said_text(record)
            yield Score(id=record.id, bits=total, tokens=tokens, characters=len(text), bytes=len(text.encode()))

    def answered(self, request: Request, answer: str, /) -> tuple[list[int], int]:
        """The prompt's ids with those of its continuation and the end mark."""
        return self.codec.answered(request.prompt, answer)

    def sequences(self, records: Sequence[Record], /) -> list[tuple[list[int], list[bool]]]:
        """What is read of each record, its first window, and which of its ids are learned."""
        return [self.codec.windows_of(record)[0] for record in records]

    def export(self, folder: Path, /, *, formats: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
        """Graphs for the runtime, compared with torch on a few prompts."""
        prompts = [self.codec.prompt(""), [token % self.network.config.vocab_size for token in range(min(24, self.codec.context))]]
        return export_graphs(self.network, folder, formats, prompts)

    def save(self, folder: Path, /) -> None:
        """The files that `transformers.AutoModelForCausalLM` and `AutoTokenizer` load."""
        save_network(self.network, folder, bos_token_id=self.codec.begin, eos_token_id=self.codec.end)
        self.codec.save(folder)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """A model that this family or `transformers` saved."""
        return cls(load_network(folder, device=device), load_codec(folder), name=folder.name)
