"""The family in torch: learns what stands in gaps, or the class or tags of a text, and answers through `fill` and `label`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from miaobi.core.errors import UsageError
from miaobi.core.protocols import Batch, Loss, Score
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Record, Request, Verb
from miaobi.models.bert import label, likelihood
from miaobi.models.bert.codec import UNCOUNTED, MaskCodec, labels_of
from miaobi.models.bert.family import FAMILY
from miaobi.models.bert.fill import Flags, Floats, Ids, fill
from miaobi.models.bert.label import classify, expected, tag
from miaobi.models.bert.network import BertNetwork, from_hub, to_hub
from miaobi.models.bert.schema import Config
from miaobi.models.bert.stored import read_shape, write_shape
from miaobi.models.common.weights import WEIGHTS, reading_weights, save_weights


class Bert:
    """A Learner, Scorer and Exporter over any `tokenizer.json`; one that classifies or tags gives no likelihoods."""

    phases: tuple[str, ...] = ("main",)
    likelihood = "bound"

    def __init__(self, network: BertNetwork, codec: MaskCodec, *, name: str = "bert", lengths: Sequence[int] = ()) -> None:
        self.network, self.codec, self.lengths = network, codec, list(lengths)
        verbs = FAMILY.verbs if codec.config.task == "mask" else FAMILY.verbs - {Verb.SCORE}
        self.continues = codec.config.task == "mask"  # a prompt without gaps is the beginning of a text
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """Random weights over the dataset's tokenizer and a mask; without one, over the characters of the records."""
        chosen = validate(Config, config, "model.config")
        codec = MaskCodec.fit(records, chosen, tokenizer)
        network = BertNetwork(chosen, codec.tokens.vocab_size, num_labels=len(codec.labels))
        network.initialise(torch.Generator().manual_seed(seed))
        return cls(network, codec, lengths=lengths_of(records, codec))

    @classmethod
    def begin_from(cls, base: Path, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0) -> Self:
        """A model for another task with the weights of `base` as far as the two agree; the rest is random.

        Raises:
            UsageError: the configuration asks for another shape than that of the base.
        """
        old = cls.load(base)
        shape = {name: getattr(old.codec.config, name) for name in ("width", "layers", "heads", "hidden", "context")}
        wrong = [name for name, value in shape.items() if config.get(name, value) != value]
        if wrong:
            raise UsageError("the base {base} has another {names}; leave them out of model.config", base=base, names=", ".join(wrong))
        chosen = validate(Config, {**shape, **config}, "model.config")
        codec = MaskCodec(old.codec.tokens.source, chosen, labels_of(records, chosen))
        network = BertNetwork(chosen, old.network.embed.num_embeddings, num_labels=len(codec.labels))
        network.initialise(torch.Generator().manual_seed(seed))
        known = old.network.state_dict()
        network.load_state_dict({name: known.get(name, tensor) for name, tensor in network.state_dict().items()})
        return cls(network, codec, lengths=old.lengths)

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """Cross-entropy in nats over what stood in the gaps, or over classes or tags; `right` counts the likeliest that are true."""
        tokens, real, targets = batch["tokens"], batch["real"], batch["targets"]
        counted = targets != UNCOUNTED
        logits = self.network(tokens, real, select=counted if targets.ndim == 2 else None).float()  # (selected, V or C)
        wanted = targets[counted]
        total = F.cross_entropy(logits, wanted, reduction="sum")
        right = float((logits.argmax(dim=-1) == wanted).sum())
        return Loss(total=total, count=int(counted.sum()), logs={"accuracy": right})

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """Every parameter that asks for a gradient."""
        return (parameter for parameter in self.network.parameters() if parameter.requires_grad)

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Filled gaps, a class, or tags."""
        self.network.eval()
        if self.codec.config.task == "mask":
            yield from fill(self._predict, self.codec, request, lengths=self.lengths)
        else:
            yield from (classify if self.codec.config.task == "classify" else tag)(self._predict, self.codec, request)

    @torch.inference_mode()
    def _predict(self, tokens: Ids, real: Flags, wanted: Flags) -> Floats:
        """Logits (M, V or C) where they are wanted; of classes (R, C)."""
        device = self.network.embed.weight.device
        ids, kept, select = (torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in (tokens, real, wanted))
        logits: Floats = self.network(ids, kept, select=select).float().cpu().numpy()
        return logits

    def score(self, records: Sequence[Record], /) -> Iterator[Score]:
        """A bound on the bits of each record; see `likelihood`.

        Raises:
            UsageError: the model classifies or tags.
        """
        self._check_writes()
        self.network.eval()
        yield from likelihood.bound(self._predict, self.codec, records, lengths=self.lengths)

    def pseudo_score(self, records: Sequence[Record], /) -> Iterator[Score]:
        """The bits of every token given all the others, which is no likelihood.

        Raises:
            UsageError: the model classifies or tags.
        """
        self._check_writes()
        self.network.eval()
        yield from likelihood.pseudo(self._predict, self.codec, records)

    def _check_writes(self) -> None:
        if self.codec.config.task != "mask":
            raise UsageError("this model names classes or tags; it gives no likelihoods")

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that it tells apart; none where it fills gaps or tags."""
        return self.codec.labels if self.codec.config.task == "classify" else ()

    def chances(self, text: str, /) -> Mapping[str, float]:
        """The probability of each class of a text, of which the beginning is read."""
        self.network.eval()
        found = label.chances(self._predict, self.codec, self.codec.cut(text))
        return dict(zip(self.classes, found.tolist(), strict=True))

    def request_for(self, record: Record, /) -> Request | None:
        """The text whose class or tags are asked for; a model that fills gaps is asked by the recipe's prompts."""
        return None if self.codec.config.task == "mask" else Request.of(record.text)

    def text_of(self, record: Record, /) -> str:
        """What should be answered."""
        return record.text if self.codec.config.task == "mask" else expected(self.codec, record)

    def export(self, folder: Path, /, *, formats: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
        """The network as a graph; see `graph.export`."""
        from miaobi.models.bert.graph import export

        return export(self.network, folder, formats)

    def save(self, folder: Path, /) -> None:
        """The files that `transformers.AutoModelForMaskedLM` and `AutoTokenizer` load, and the lengths of training texts."""
        save_weights(to_hub(self.network.state_dict()), folder)
        write_shape(self.codec, self.lengths, folder)

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """A model that this family or `transformers` saved.

        Raises:
            ArtifactError: a file is missing, unreadable or does not fit the others.
        """
        from safetensors.torch import load_file

        codec, lengths = read_shape(folder)
        with reading_weights(folder):
            tensors = load_file(folder / WEIGHTS)
            size = next(len(tensor) for name, tensor in tensors.items() if name.endswith("word_embeddings.weight"))
            network = BertNetwork(codec.config, size, num_labels=len(codec.labels))
            network.load_state_dict(from_hub(tensors, network))
        return cls(network.float().to(device).eval(), codec, name=folder.name, lengths=lengths)


def lengths_of(records: Sequence[Record], codec: MaskCodec) -> list[int]:
    """How many windows of the records have 0, 1, 2 … tokens."""
    counts = Counter(len(window) for record in records for window in codec.windows(codec.tokens.ids(record.text)))
    return [counts[length] for length in range(max(counts, default=0) + 1)]
