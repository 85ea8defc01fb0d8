"""The n-gram family: fits by counting, scores with numpy, and generates through the same sampling as every other model."""

from __future__ import annotations

import json
import math
import string
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from miaobi.core.artifact import write_bytes, write_text
from miaobi.core.errors import ArtifactError, DataError, UsageError
from miaobi.core.protocols import Score
from miaobi.core.schema import validate
from miaobi.core.types import Card, Chunk, Record, Request
from miaobi.engine.sampling.text import stream
from miaobi.models.ngram.family import FAMILY
from miaobi.models.ngram.kneser_ney import Array, KneserNey
from miaobi.models.ngram.schema import Config, Options
from miaobi.models.ngram.storage import pack, unpack
from miaobi.models.ngram.vocabulary import Characters, Tokens

_WEIGHTS, _CONFIG, _TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
_RECORDS_AT_ONCE = 4096


class NGram:
    """A Fitter and Scorer. Until `fit` there are no counts, and without a tokenizer no vocabulary."""

    continues = True  # a prompt is the beginning of a text

    def __init__(
        self, config: Config, *, vocabulary: Characters | Tokens | None = None, counts: KneserNey | None = None, name: str = "ngram"
    ) -> None:
        self.config = config
        self.vocabulary = vocabulary
        self.counts = counts
        self.card = Card(family=FAMILY.name, name=name, outputs=FAMILY.outputs, verbs=FAMILY.verbs)

    @classmethod
    def create(cls, config: Mapping[str, Any], records: Sequence[Record], /, *, seed: int = 0, tokenizer: Path | None = None) -> Self:
        """An empty model over the dataset's tokenizer; without one, over the characters that `fit` meets. Nothing is random."""
        vocabulary = Tokens(tokenizer.read_text(encoding="utf-8")) if tokenizer else None
        return cls(validate(Config, config, "model.config"), vocabulary=vocabulary)

    def fit(self, records: Iterable[Record], /) -> Mapping[str, float]:
        """Count the records in one pass; about 120 bytes of memory for each token while it counts. Counts of an earlier fit are dropped.

        Raises:
            DataError: there is no record.
        """
        texts = (self.text(record) for record in records)
        if isinstance(self.vocabulary, Tokens):
            tokens = self.vocabulary.read(texts)
        else:
            self.vocabulary, tokens = Characters.read(texts)
        if not len(tokens):
            raise DataError("there are no records to count")
        return self._count(tokens, self.vocabulary.size)

    def score(self, records: Sequence[Record], /) -> Iterator[Score]:
        """The bits of every token and of the end. A character never seen costs the unknown token and its choice among all others."""
        counts, vocabulary = self._fitted()
        end = vocabulary.size + 1
        for first in range(0, len(records), _RECORDS_AT_ONCE):
            some = [records[place] for place in range(first, min(first + _RECORDS_AT_ONCE, len(records)))]
            texts = [self.text(record) for record in some]
            sequences = [[*vocabulary.encode(text), end] for text in texts]
            for record, text, tokens, bits in zip(some, texts, sequences, counts.bits(sequences)):
                spelled = (
                    tokens.count(vocabulary.unknown) * math.log2(max(vocabulary.num_unknown, 1)) if vocabulary.unknown is not None else 0
                )
                total = float(bits.sum()) + spelled
                yield Score(id=record.id, bits=total, tokens=len(tokens), characters=len(text), bytes=len(text.encode("utf-8", "replace")))

    def generate(self, request: Request, /) -> Iterator[Chunk]:
        """Continue the prompt.

        Raises:
            UsageError: the prompt has characters that the model never saw.
        """
        counts, vocabulary = self._fitted()
        options = validate(Options, request.options, "options of ngram")
        prompt = vocabulary.encode(request.prompt)
        if vocabulary.unknown in prompt:
            strange = "".join(dict.fromkeys(letter for letter in request.prompt if vocabulary.unknown in vocabulary.encode(letter)))
            raise UsageError("the prompt has characters that this model never saw: {characters}", characters=strange)
        stepper = CountStepper(counts, never=[vocabulary.size] + ([vocabulary.unknown] if vocabulary.unknown is not None else []))
        prompts = [[vocabulary.size, *prompt]]
        yield from stream(
            stepper,
            prompts,
            options,
            end_tokens=[vocabulary.size + 1],
            seed=request.seed,
            detokenize=vocabulary.decode,
            spelling=vocabulary.spelling,
        )

    def text(self, record: Record) -> str:
        """What is learned of a record, by the template; a meta entry that it lacks is empty."""
        if self.config.template == "{text}":
            return record.text
        names = [name for _, name, _, _ in string.Formatter().parse(self.config.template) if name]
        return self.config.template.format(**{name: record.text if name == "text" else str(record.meta.get(name, "")) for name in names})

    def save(self, folder: Path, /) -> None:
        """`model.safetensors` with the counts in the fewest bytes that hold them, `config.json`, and `tokenizer.json` if there is one."""
        from safetensors.numpy import save

        counts, vocabulary = self._fitted()
        tensors = pack(counts)
        if isinstance(vocabulary, Characters):
            tensors["characters"] = vocabulary.codes
        else:
            write_text(folder / _TOKENIZER, vocabulary.definition)
        write_bytes(folder / _WEIGHTS, save(tensors))
        write_text(
            folder / _CONFIG, json.dumps({"model_type": FAMILY.name, **self.config.model_dump()}, ensure_ascii=False, indent=2) + "\n"
        )

    @classmethod
    def load(cls, folder: Path, /, *, device: str = "cpu") -> Self:
        """The model that `save` wrote. Counts live on the CPU, whatever the device.

        Raises:
            ArtifactError: a file is missing or is not what `save` writes.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            values = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
            config = Config.model_validate({key: value for key, value in values.items() if key != "model_type"})
            tensors = load_file(folder / _WEIGHTS)
            codes = tensors.pop("characters", None)
            vocabulary = Characters(codes) if codes is not None else Tokens((folder / _TOKENIZER).read_text(encoding="utf-8"))
            counts = unpack(tensors, order=config.order, begin=vocabulary.size)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, SafetensorError) as error:
            raise ArtifactError("the n-gram model in {folder} cannot be read: {error}", folder=folder, error=error) from None
        return cls(config, vocabulary=vocabulary, counts=counts, name=folder.name)

    def _count(self, tokens: Array, size: int) -> dict[str, float]:
        self.counts = KneserNey.count(tokens, order=self.config.order, size=size + 2, begin=size, end=size + 1)
        grams = {f"grams_{length}": float(len(level.tokens)) for length, level in enumerate(self.counts.levels) if length}
        return {"tokens": float(np.count_nonzero(tokens != size)), "vocabulary": float(size), **grams}

    def _fitted(self) -> tuple[KneserNey, Characters | Tokens]:
        if self.counts is None or self.vocabulary is None:
            raise UsageError("this n-gram model has no counts yet; fit it first")
        return self.counts, self.vocabulary

    def score_tokens(self, sequences: Sequence[Sequence[int]], *, mask: Sequence[Sequence[bool]] | None = None) -> list[float]:
        """The bits of token sequences as given, one figure a sequence, no end added; `mask` says which tokens count.

        For comparison with another model on exactly the same tokens: fit with `fit_tokens`.
        """
        assert self.counts is not None, "fit_tokens comes first"
        bits = self.counts.bits(sequences)
        if mask is None:
            return [float(row.sum()) for row in bits]
        return [float(row[np.asarray(kept, dtype=bool)].sum()) for row, kept in zip(bits, mask)]

    def fit_tokens(self, sequences: Iterable[Sequence[int]], *, vocab_size: int) -> Mapping[str, float]:
        """Count token sequences of another model, each below `vocab_size` and without an end of its own added."""
        numbers = array("i")
        for sequence in sequences:
            numbers.append(vocab_size)
            numbers.extend(sequence)
            numbers.append(vocab_size + 1)
        return self._count(np.frombuffer(numbers, dtype=np.int32), vocab_size)


class CountStepper:
    """Rows of states over the same counts; `never` are tokens that no text shows."""

    def __init__(self, counts: KneserNey, *, never: Sequence[int]) -> None:
        self.vocab_size = counts.size
        self._counts = counts
        self._never = list(never)
        self._states: list[tuple[int, ...]] = []

    def start(self, prompts: Sequence[Sequence[int]]) -> Array:
        """Logits (B, V) after the prompts."""
        self._states = [self._counts.state(prompt) for prompt in prompts]
        return self._logits()

    def step(self, tokens: Sequence[int]) -> Array:
        """Logits (B, V) after one more token a row."""
        self._states = [self._counts.advance(state, token) for state, token in zip(self._states, tokens)]
        return self._logits()

    def reorder(self, rows: Sequence[int]) -> None:
        """States are values, so copies share them."""
        self._states = [self._states[row] for row in rows]

    def _logits(self) -> Array:
        probabilities = np.stack([self._counts.distribution(state) for state in self._states]).astype(np.float32)
        probabilities[:, self._never] = 0.0
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(probabilities))
