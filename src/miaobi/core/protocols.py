"""What a model can be asked: `Model` is obligatory, every other protocol is opted into.

Tensors and arrays appear in types only, so that importing this module costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from miaobi.core.types import Card, Chunk, Record, Request

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor, nn

Batch = Mapping[str, Any]  # named tensors, first dimension = examples


@runtime_checkable
class Model(Protocol):
    """Every family. Closing the iterator of `generate` cancels the generation."""

    card: Card

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Yield pieces, progress and one `Done` for each content. Options were validated by the engine."""
        ...

    def save(self, folder: Path, /) -> None:
        """Write weights and configuration into an existing folder; `core.artifact.seal` adds the manifest."""
        ...

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model that `save` wrote."""
        ...


class Codec(Protocol):
    """Records to tensors and back. Holds no weights and is picklable: it runs in data workers."""

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """One batch. `rng` draws the augmentation of training; None (evaluation) draws nothing."""
        ...

    def length(self, record: Record, /) -> int:
        """How long the record is in the model's units, for bucketing and packing; 1 when lengths do not matter."""
        ...


@dataclass(slots=True)
class Loss:
    """A SUM over elements and how many there are: averaging stays exact over micro-batches and ranks."""

    total: Tensor
    count: int
    logs: dict[str, float] = field(default_factory=dict)  # sums as well, divided by `count` for the log
    each: Mapping[str, Sequence[float]] = field(default_factory=dict)  # of every record, in order: what is tested before and after


@runtime_checkable
class Learner(Model, Protocol):
    """Learns by gradient. The engine owns the loop, the family owns the loss."""

    codec: Codec
    phases: tuple[str, ...]  # ("main",); a GAN: ("discriminator", "generator")
    network: nn.Module

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """A new model with random weights. `records` (the training split) and `tokenizer` (made by `prepare`) set the vocabulary."""
        ...

    def loss(self, batch: Batch, phase: str, /) -> Loss:
        """The summed loss of one batch, with a graph."""
        ...

    def trainable(self, phase: str, /) -> Iterable[nn.Parameter]:
        """Only the parameters that may move in this phase (LoRA and frozen layers)."""
        ...


@runtime_checkable
class Fitter(Model, Protocol):
    """Learns in one pass by counting (n-gram, rules)."""

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """A new, empty model."""
        ...

    def fit(self, records: Iterable[Record], /) -> Mapping[str, float]:
        """Learn from one pass; returns figures for the log."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The likelihood of one record, `bits` = -log2 p (or a bound above it), and what it is over.

    A text has `tokens` model units, `characters` and UTF-8 `bytes`; a picture or a sound has `dimensions`, the numbers that it consists of.
    What a record does not have is 0.
    """

    id: str
    bits: float
    tokens: int = 0
    characters: int = 0
    bytes: int = 0
    dimensions: int = 0


@runtime_checkable
class Scorer(Model, Protocol):
    """Gives likelihoods: perplexity, bits per character, per byte, per dimension."""

    def score(self, records: Sequence[Record], /) -> Iterator[Score]:
        """One score for each record, in order."""
        ...


@runtime_checkable
class Exporter(Model, Protocol):
    """Writes itself for another runtime."""

    def export(self, folder: Path, /, *, formats: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
        """Write e.g. `onnx/model.onnx`; returns for each format the largest error against this model."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HubNames:
    """What Hugging Face calls the matrices of a network: our module's name -> theirs.

    Several of ours may be one of theirs, stacked in this order; `transposed` says that theirs are stored as (in, out), as GPT-2's are.
    """

    modules: Mapping[str, str]
    transposed: bool = False


@runtime_checkable
class Adaptable(Learner, Protocol):
    """Takes additions of low rank, and says what others call the matrices that they are added to."""

    def hub_names(self) -> HubNames:
        """The names of every matrix that may get an addition."""
        ...


@runtime_checkable
class Answerer(Learner, Protocol):
    """Knows how a request and an answer become tokens: what is learned from preferences, rewards and teachers goes through here."""

    def answered(self, request: Request, answer: str, /) -> tuple[list[int], int]:
        """The ids of the prompt with its answer and the end mark, cut to the context, and how many of them are the prompt."""
        ...

    def logits(self, batch: Batch, /) -> Tensor:
        """Logits (selected, V) of the targets that `batch["weights"]` (B, T) selects, row by row; `loss` is their cross-entropy."""
        ...


@runtime_checkable
class Portable(Model, Protocol):
    """Writes itself in the formats of others, and compares what they read."""

    def to_hub(self, folder: Path, /) -> Mapping[str, float]:
        """Write a Hugging Face folder; returns the errors found."""
        ...

    def to_gguf(self, path: Path, /, *, form: str, name: str, licence: str = "") -> Mapping[str, float]:
        """Write a GGUF file with matrices in `form` (f32, f16, q8_0, q4_0, q4_1); returns the errors found."""
        ...
