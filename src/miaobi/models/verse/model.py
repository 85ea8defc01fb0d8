"""The verse model in torch: learns poems with their headers, scores them, and writes them through `write`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch

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
from miaobi.models.verse.codec import CLAUSE_END, FORMS, Header, VerseCodec, header_of
from miaobi.models.verse.family import FAMILY
from miaobi.models.verse.reward import rewards
from miaobi.models.verse.schema import Config, Options
from miaobi.models.verse.write import LINES, header_for, open_clauses, request_for, training_clauses, write_poems
from miaobi.trust.originality import LineFilter

FALSE_ALARMS = 0.01  # a clause wrongly taken for a training clause only costs another attempt


class Verse(CausalLoss):
    """A Learner, Scorer and Exporter."""

    def __init__(
        self,
        network: Transformer,
        codec: VerseCodec,
        *,
        name: str = "verse",
        label_smoothing: float = 0.0,
        stored: torch.dtype = torch.float32,
        known: LineFilter | None = None,
        training: Sequence[Record] = (),
    ) -> None:
        super().__init__(network, label_smoothing=label_smoothing)
        self.codec = codec
        self.stored = stored  # the number format on disk
        self.known = known
        self.training = training  # their clauses are filtered when the model is saved
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights, and the vocabulary of the training records, or that of another verse model whose `tokenizer` is given."""
        chosen = validate(Config, config, "model.config")
        if tokenizer is not None and VerseCodec.wrote(tokenizer):
            codec = VerseCodec.load(tokenizer.parent, context=chosen.context)
        else:
            codec = VerseCodec.fit(records, min_count=chosen.min_count, context=chosen.context)
        network = new_network(shape(chosen.model_dump(), vocab_size=len(codec.vocabulary)), seed)
        return cls(network, codec, label_smoothing=chosen.label_smoothing, stored=FLOATS[chosen.stored], training=records)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Poems; see `write.write_poems`."""
        yield from write_poems(TorchStepper(self.network.eval()), self.codec, request, known=self.known)

    def request_for(self, record: Record, /) -> Request | None:
        """What a person would have asked to get such a poem; evaluation asks it of held-out ones."""
        return request_for(record)

    def answered(self, request: Request, answer: str, /) -> tuple[list[int], int]:
        """The header that the request asks for, with the poem behind it."""
        options = Options.model_validate({name: value for name, value in request.options.items() if name in Options.model_fields})
        prompt = self.codec.header(header_for(options, options.title or request.prompt.strip(), self.codec))
        return [*prompt, *self.codec.ids(answer), self.codec.end][: self.codec.context], len(prompt)

    def rewards(self) -> Mapping[str, Callable[[Request, str], float]]:
        """What a poem may be rewarded for; see `reward`."""
        return rewards(self.known)

    def score(self, records: Sequence[Record], /, *, header: Header | None = None) -> Iterator[Score]:
        """Bits of the Han characters of each poem's body, given its whole header (or the given one)."""
        sequences = self.baseline_sequences(records, header=header)
        for record, (_, scored), bits in zip(records, sequences, token_bits(self.network.eval(), [ids for ids, _ in sequences])):
            counted = bits.numpy()[scored[1:]]
            text = CLAUSE_END.sub("", record.text)
            yield Score(
                id=record.id,
                bits=float(counted.sum()),
                tokens=len(counted),
                characters=len(counted),
                bytes=len(text[: len(counted)].encode()),
            )

    def baseline_sequences(self, records: Sequence[Record], *, header: Header | None = None) -> list[tuple[list[int], list[bool]]]:
        """(ids, which of them `score` counts) a record: what an n-gram must be given to be compared on the same characters."""
        sequences = []
        for record in records:
            ids, prompt = self.codec.encode(record, header=header or header_of(record))
            body = record.text[: len(ids) - prompt]
            scored = [False] * prompt + [CLAUSE_END.fullmatch(char) is None for char in body]
            sequences.append((ids, scored + [False] * (len(ids) - len(scored))))
        return sequences

    def sequences(self, records: Sequence[Record], /) -> list[tuple[list[int], list[bool]]]:
        """What is read of each record, and which of its ids `score` counts."""
        return self.baseline_sequences(records)

    def export(self, folder: Path, /, *, formats: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
        """Graphs for the runtime, compared with torch on one prompt a form."""
        prompts = [self.codec.header(Header(form=form, title="秋月")) for form in FORMS]
        return export_graphs(self.network, folder, formats, prompts)

    def save(self, folder: Path, /) -> None:
        """Llama's files, so that `transformers` loads the network too, the vocabulary, and the filter of training clauses."""
        marks = {"bos_token_id": self.codec.begin, "eos_token_id": self.codec.end, "pad_token_id": self.codec.pad}
        save_network(self.network, folder, dtype=self.stored, **marks)
        self.codec.save(folder)
        known = self.known or training_clauses(self.training, rate=FALSE_ALARMS)
        known.save(folder / LINES)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model that `save` wrote."""
        config = read_config(folder)
        codec = VerseCodec.load(folder, context=int(config["max_position_embeddings"]))
        return cls(load_network(folder, device=device), codec, name=folder.name, stored=stored_format(config), known=open_clauses(folder))
