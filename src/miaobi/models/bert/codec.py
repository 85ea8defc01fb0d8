"""Text to rows with gaps, over a `tokenizer.json` that has a mask, or gets one.

A document stands between the two marks of its ends and is cut where the context ends. Gaps are drawn anew for every batch; without a
generator (evaluation) always the same ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import ArtifactError, DataError
from miaobi.core.types import Record
from miaobi.models.bert.schema import Config
from miaobi.models.common.text_codec import TextCodec

if TYPE_CHECKING:
    from numpy.random import Generator

    from miaobi.core.protocols import Batch

MASK_NAMES, BEGIN_NAMES, END_NAMES = ("<mask>", "[MASK]"), ("[CLS]", "<s>", "<bos>"), ("[SEP]", "</s>", "<eos>")
GAP = re.compile(r"\[MASK\]|<mask>|□")  # □ is what editions of old texts print for a lost character
OUTSIDE = "O"  # the tag of what carries none
UNCOUNTED = -100  # the target that cross-entropy leaves out
BIGGEST_FALLS = 8  # of ten told tokens of fixed masking, so many are masked, the next is replaced, the rest is left


class MaskCodec:
    """A tokenizer with a mask, and the labels of the task. Picklable, as `TextCodec` is."""

    def __init__(self, source: str, config: Config, labels: Sequence[str] = ()) -> None:
        source = with_mask(source)
        ids = special_ids(source)
        begin, end = _first(ids, BEGIN_NAMES), _first(ids, END_NAMES)
        self.tokens = TextCodec(source, context=config.context, begin=begin, end=end, packing=False)
        mask = _first(ids, MASK_NAMES)
        assert mask is not None, "with_mask adds one"
        self.mask = mask
        self.config = config
        self.labels = tuple(labels)

    @classmethod
    def fit(cls, records: Sequence[Record], config: Config, tokenizer: Path | None) -> MaskCodec:
        """The dataset's tokenizer, or all characters of the records; and the classes or tags that the records have.

        Raises:
            DataError: a record lacks the field of the labels, or has another number of tags than characters.
        """
        found = TextCodec.load(tokenizer, context=config.context) if tokenizer else TextCodec.fit(records, context=config.context)
        return cls(found.source, config, labels_of(records, config))

    @property
    def room(self) -> int:
        """How many tokens fit between the marks."""
        return self.config.context - 2

    @property
    def silent(self) -> list[int]:
        """Tokens that no gap is filled with."""
        return sorted({*self.tokens.silent, self.tokens.end, self.mask})

    def ids(self, text: str) -> list[int]:
        """Ids of a text, every sign of a gap being the mask."""
        parts = GAP.split(text)
        ids = self.tokens.ids(parts[0])
        for part in parts[1:]:
            ids += [self.mask, *self.tokens.ids(part)]
        return ids

    def row(self, ids: Sequence[int]) -> list[int]:
        """Ids between the marks."""
        return [self.tokens.begin, *ids, self.tokens.end]

    def windows(self, ids: Sequence[int]) -> list[list[int]]:
        """Stretches of a document that fit between the marks; the last one is shorter than that, so that it is known to be the last."""
        return [list(ids[start : start + self.room]) for start in range(0, len(ids) + 1, self.room)]

    def length(self, record: Record) -> int:
        """Tokens of the record."""
        return len(self.tokens.ids(record.text)) + 2

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """`tokens` (B, T), `real` (B, T) True where there is no padding, `targets`: (B, T) of gaps or tags, (B,) of classes."""
        import torch

        rng = rng or np.random.default_rng(0)
        if self.config.task == "mask":
            windows = [window for record in records for window in self.windows(self.tokens.ids(record.text)) if window]
            rows = [self._with_gaps(window, rng) for window in windows] or [(self.row([]), [])]
        elif self.config.task == "tag":
            rows = [row for record in records for row in self._tagged(record)]
        else:
            rows = [(self.cut(record.text), []) for record in records]
        tokens, real = self.padded([ids for ids, _ in rows])
        batch = {"tokens": torch.from_numpy(tokens), "real": torch.from_numpy(real)}
        if self.config.task == "classify":
            return {**batch, "targets": torch.tensor([self.number_of(record) for record in records])}
        targets = np.full(tokens.shape, UNCOUNTED, dtype=np.int64)
        for row, (_, wanted) in enumerate(rows):
            targets[row, : len(wanted)] = wanted
        return {**batch, "targets": torch.from_numpy(targets)}

    def padded(self, rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Rows of unequal length side by side, and where they are real."""
        longest = max(len(row) for row in rows)
        tokens = np.full((len(rows), longest), self.tokens.end, dtype=np.int64)
        real = np.zeros((len(rows), longest), dtype=bool)
        for number, row in enumerate(rows):
            tokens[number, : len(row)] = row
            real[number, : len(row)] = True
        return tokens, real

    def cut(self, text: str) -> list[int]:
        """The beginning of a text, as far as it fits, between the marks."""
        return self.row(self.ids(text)[: self.room])

    def number_of(self, record: Record) -> int:
        """The number of the record's class; one that training did not have is an error of the data.

        Raises:
            DataError: the record has no class, or one that no training record had.
        """
        label = str(record.meta.get(self.config.field, ""))
        if label not in self.labels:
            raise DataError("record {id} is of the class '{label}', which no training record has", id=record.id, label=label)
        return self.labels.index(label)

    def tags(self, record: Record) -> list[str]:
        """The tag of every token: of its characters' tags the first that is not O."""
        given = tags_of(record, self.config.field)
        spans = self.tokens._tokenizer.encode(record.text, add_special_tokens=False).offsets
        return [next((tag for tag in given[start:end] if tag != OUTSIDE), OUTSIDE) for start, end in spans]

    def _tagged(self, record: Record) -> Iterator[tuple[list[int], list[int]]]:
        """A row with its tags for every stretch of the text that fits."""
        numbers = [self.labels.index(tag) if tag in self.labels else UNCOUNTED for tag in self.tags(record)]
        for ids, wanted in zip(self.windows(self.tokens.ids(record.text)), self.windows(numbers), strict=True):
            if ids or not numbers:
                yield self.row(ids), [UNCOUNTED, *wanted]

    def _with_gaps(self, window: Sequence[int], rng: Generator) -> tuple[list[int], list[int]]:
        """A row with gaps and the targets: what stood in them."""
        n = len(window)
        share = rng.random() if self.config.masking == "uniform" else self.config.share
        told = rng.permutation(n)[: max(1, round(share * n))]
        seen = np.array(window)
        hidden = told if self.config.masking == "uniform" else told[(fate := rng.integers(10, size=len(told))) < BIGGEST_FALLS]
        if self.config.masking == "fixed":
            swapped = told[fate == BIGGEST_FALLS]
            seen[swapped] = rng.integers(self.tokens.vocab_size, size=len(swapped))
        seen[hidden] = self.mask
        targets = np.full(n, UNCOUNTED)
        targets[told] = np.array(window)[told]
        return self.row(seen.tolist()), [UNCOUNTED, *targets.tolist()]


def with_mask(source: str) -> str:
    """A tokenizer's definition that has a mask; the new token follows all others."""
    if any(name in special_ids(source) for name in MASK_NAMES):
        return source
    from tokenizers import Tokenizer

    try:
        tokenizer: Any = Tokenizer.from_str(source)
    except Exception as error:  # the library raises bare Exception
        raise ArtifactError("the tokenizer cannot be read: {error}", error=error) from None
    tokenizer.add_special_tokens([MASK_NAMES[0]])
    return str(tokenizer.to_str())


def special_ids(source: str) -> dict[str, int]:
    """The added tokens of a tokenizer by name."""
    return {added["content"]: int(added["id"]) for added in json.loads(source).get("added_tokens", ())}


def labels_of(records: Iterable[Record], config: Config) -> list[str]:
    """The classes or tags that the records have, sorted, O first.

    Raises:
        DataError: a record lacks them.
    """
    if config.task == "mask":
        return []
    found: set[str] = set()
    for record in records:
        if config.task == "tag":
            found.update(tags_of(record, config.field))
        elif str(record.meta.get(config.field, "")):
            found.add(str(record.meta[config.field]))
        else:
            raise DataError("record {id} has no '{field}' in its meta, so it has no class to learn", id=record.id, field=config.field)
    return sorted(found, key=lambda label: (label != OUTSIDE, label))


def tags_of(record: Record, field: str) -> list[str]:
    """The tags of a record's characters.

    Raises:
        DataError: there are none, or not one for each character.
    """
    tags = record.meta.get(field)
    if not isinstance(tags, list) or len(tags) != len(record.text):
        raise DataError(
            "record {id} should have in its meta '{field}' a list of {count} tags, one for each character",
            id=record.id,
            field=field,
            count=len(record.text),
        )
    return [str(tag) for tag in tags]


def _first(ids: dict[str, int], names: Sequence[str]) -> int | None:
    return next((ids[name] for name in names if name in ids), None)
