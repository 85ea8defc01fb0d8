"""An open model in torch: answers by its chat template, scores, learns, and writes itself for the light runtime.

Unusual: GPT-2, Llama, Mistral, Qwen2, Qwen3 and SmolLM run in the project's own Transformer, which adapting, exporting and batching know;
every other architecture runs in the library's network behind the same methods.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from miaobi.core.artifact import write_text
from miaobi.core.errors import UsageError
from miaobi.core.protocols import Batch, HubNames, Loss, Score
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.engine.sampling.stepper import Stepper
from miaobi.models.common.chat_template import SETTINGS, TEMPLATE, messages_of
from miaobi.models.common.language import CONFIG, CausalLoss, export_graphs, save_network, token_bits
from miaobi.models.common.text_codec import TextCodec, said_text
from miaobi.models.common.transformer import TorchStepper, Transformer
from miaobi.models.hf_transformers import checkpoint as checkpoints
from miaobi.models.hf_transformers import network as networks
from miaobi.models.hf_transformers.checkpoint import GENERATION, TOKENIZER, Checkpoint
from miaobi.models.hf_transformers.codec import OpenCodec
from miaobi.models.hf_transformers.family import FAMILY
from miaobi.models.hf_transformers.fill import bits, fill
from miaobi.models.hf_transformers.network import Foreign
from miaobi.models.hf_transformers.rows import SharedStepper, can_share
from miaobi.models.hf_transformers.schema import Config
from miaobi.models.hf_transformers.stepper import CausalStepper, Seq2SeqStepper
from miaobi.models.hf_transformers.write import answer

if TYPE_CHECKING:
    from miaobi.models.common.decoder_graph import OnBytes


class OpenModel(CausalLoss):
    """A checkpoint that goes on with texts, makes other texts of them, or fills their gaps; the first kind learns, too."""

    network: Transformer | Foreign  # type: ignore[assignment]

    def __init__(self, network: Transformer | Foreign, checkpoint: Checkpoint, codec: OpenCodec) -> None:
        super().__init__(network)  # type: ignore[arg-type]
        self.checkpoint, self.codec = checkpoint, codec
        self.recites = checkpoint.kind == "causal"
        self.card = Card(family=FAMILY.name, name=checkpoint.folder.stem, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights in the shape of any architecture of transformers, over the dataset's tokenizer or the records' characters."""
        chosen = validate(Config, config, "model.config")
        texts = TextCodec.load(tokenizer, context=chosen.context) if tokenizer else TextCodec.fit(records, context=chosen.context)
        values: dict[str, Any] = {"vocab_size": texts.vocab_size, "max_position_embeddings": chosen.context, "n_positions": chosen.context}
        values |= {"bos_token_id": texts.begin, "eos_token_id": texts.end, "pad_token_id": texts.end, "model_type": chosen.architecture}
        folder = Path(chosen.architecture)
        made = Checkpoint(
            folder=folder,
            config=checkpoints.clean(folder, values | chosen.values),
            tokenizer=texts.source,
            template=None,
            begin=texts.begin,
            ends=(texts.end,),
        )
        network = networks.new(made, seed)
        return cls(network, made, OpenCodec(made, context=chosen.context, packing=isinstance(network, Transformer)))

    @property
    def context(self) -> int:
        """The most tokens that it reads."""
        return self.codec.reads

    def stepper(self) -> Stepper:
        """What decoding goes on with."""
        self.network.eval()
        if isinstance(self.network, Transformer):
            return TorchStepper(self.network)
        return SharedStepper(self.network.inner, self.context) if self._can_share else CausalStepper(self.network.inner)

    @cached_property
    def _can_share(self) -> bool:
        """Whether several requests may decode in one batch."""
        return can_share(self.network.inner)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """The answer, streamed; of a model that fills gaps, the whole text at its end."""
        kind = self.checkpoint.kind
        if kind == "causal":
            yield from answer(self.stepper(), self.codec, request)
        elif kind == "masked":
            yield from fill(self._inner(), self.codec, request)
        else:
            source = self._source(request)
            yield from answer(Seq2SeqStepper(self._inner(), source), self.codec, request, prompt=self._begun())

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """Next-token cross-entropy.

        Raises:
            UsageError: a model that does not go on with texts.
        """
        if self.checkpoint.kind != "causal":
            raise UsageError(
                "of open models, those that go on with texts can learn here; this one is of the kind '{kind}'", kind=self.checkpoint.kind
            )
        return super().loss(batch, phase)

    def score(self, records: Sequence[Record], /) -> Iterator[Score]:
        """Bits of every token that is learned of a record, longer ones window by window; of a model that fills gaps, pseudo-likelihoods.

        Raises:
            UsageError: a model that makes another text of a text: it gives a text no likelihood of its own.
        """
        if self.checkpoint.kind == "seq2seq":
            raise UsageError("a model that makes another text of a text gives a single text no likelihood")
        self.network.eval()
        for record in records:
            text = said_text(record)
            total, tokens = bits(self._inner(), self.codec, text) if self.checkpoint.kind == "masked" else self._bits(record)
            yield Score(id=record.id, bits=total, tokens=tokens, characters=len(text), bytes=len(text.encode()))

    def _bits(self, record: Record) -> tuple[float, int]:
        windows = self.codec.windows_of(record)
        total, tokens = 0.0, 0
        found = token_bits(self.network, [ids for ids, _ in windows], batch=4)  # type: ignore[arg-type]
        for (ids, said), cost in zip(windows, found):
            counted = [number for number, is_said in zip(ids[1:], said[1:]) if is_said]
            total += float(cost[torch.tensor(said[1:])].sum()) + self.codec.spelled_bits(counted)
            tokens += len(counted)
        return total, tokens

    def _inner(self) -> Any:
        assert isinstance(self.network, Foreign), "our Transformer only goes on with texts"
        return self.network.inner.eval()

    def _source(self, request: Request) -> list[int]:
        """What the encoder reads.

        Raises:
            UsageError: a conversation or tools, or a text longer than the model reads.
        """
        if request.options.get("tools") or len(request.turns) > 1:
            raise UsageError("a model that makes another text of a text takes one text, no conversation and no tools")
        ids = self.codec.whole(request.prompt)
        if not 0 < len(ids) <= self.codec.reads:
            raise UsageError("the text has {tokens} tokens; this model reads 1 to {context}", tokens=len(ids), context=self.codec.reads)
        return ids

    def _begun(self) -> list[int]:
        """What an answer of the decoder begins with: the start token, and what BART for summaries and its kin want behind it."""
        named = (self.checkpoint.config.get(name) for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id"))
        start = next((number for number in named if isinstance(number, int)), self.codec.begin)
        first = self.checkpoint.first
        return [start] if first is None or first >= self.network.embed.weight.shape[0] else [start, first]

    def sequences(self, records: Sequence[Record], /) -> list[tuple[list[int], list[bool]]]:
        """What is read of each record, its first window, and which of its ids are learned."""
        return [self.codec.windows_of(record)[0] for record in records]

    def answered(self, request: Request, answer: str, /) -> tuple[list[int], int]:
        """The ids of the conversation with those of its answer and the end mark, cut to what is learned at once."""
        if self.codec.chat is None:
            return self.codec.answered(request.prompt, answer)
        found = self.codec.chat.lesson([*messages_of(request.turns), {"role": "assistant", "content": answer}])
        end = max((place for place, said in enumerate(found.said, start=1) if said), default=0)
        begin = max((place for place, said in enumerate(found.said[:end], start=1) if not said), default=0)
        return list(found.ids[:end])[: self.codec.context + 1], begin

    def hub_names(self) -> HubNames:
        """The matrices that may get additions of low rank, with the names that others know."""
        if isinstance(self.network, Transformer):
            return super().hub_names()
        head = self.network.inner.get_output_embeddings()
        linear = {name: part for name, part in self.network.named_modules() if isinstance(part, nn.Linear) and part is not head}
        return HubNames(modules={name: name.removeprefix("inner.") for name in linear})

    def export(self, folder: Path, /, *, formats: Sequence[str], on_bytes: OnBytes | None = None) -> Mapping[str, Mapping[str, float]]:
        """Graphs for the runtime, compared with torch on a few prompts; `on_bytes` is told how much of which file is written.

        Raises:
            UsageError: an architecture that our Transformer does not compute.
        """
        if not isinstance(self.network, Transformer):
            raise UsageError(
                "the architecture '{name}' runs only in transformers; graphs are written of {known}",
                name=self.checkpoint.config.get("model_type"),
                known="gpt2, llama, mistral, qwen2, qwen3",
            )
        size = self.network.config.vocab_size
        prompts = [self.codec.prompt("Hello"), [token % size for token in range(min(24, self.codec.context))]]
        stored = any((folder / name).is_file() for name in (checkpoints.WEIGHTS, checkpoints.INDEX))
        if not stored:
            write_text(folder / CONFIG, json.dumps(dict(self.checkpoint.config), indent=2, ensure_ascii=False) + "\n")
            self._save_words(folder)
        return export_graphs(self.network, folder, formats, prompts, stored=stored, on_bytes=on_bytes)

    def save(self, folder: Path, /) -> None:
        """The files that `transformers.AutoModelForCausalLM` and `AutoTokenizer` load."""
        if isinstance(self.network, Transformer):
            save_network(self.network, folder, bos_token_id=self.codec.begin, eos_token_id=self.codec.end)
        else:
            self.network.inner.save_pretrained(folder)  # with its config.json
        self._save_words(folder)

    def _save_words(self, folder: Path) -> None:
        """Everything but the weights."""
        write_text(folder / TOKENIZER, self.codec.source)
        template = self.codec.chat.template if self.codec.chat else None
        specials = dict(template.specials) if template else {}
        write_text(folder / SETTINGS, json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **specials}, indent=2) + "\n")
        marks: dict[str, Any] = {"bos_token_id": self.codec.begin, "eos_token_id": list(self.codec.ends)}
        if self.checkpoint.first is not None:
            marks["forced_bos_token_id"] = self.checkpoint.first
        write_text(folder / GENERATION, json.dumps(marks) + "\n")
        if template:
            write_text(folder / TEMPLATE, template.source)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The checkpoint in a folder or GGUF file.

        Raises:
            ArtifactError: something is missing, damaged, too large or dangerous.
        """
        found = checkpoints.read(folder)
        network = networks.load(found, device)
        return cls(network, found, OpenCodec(found, packing=isinstance(network, Transformer)))
