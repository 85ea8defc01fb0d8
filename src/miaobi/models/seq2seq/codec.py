"""Records to pairs of token rows: what is read and what is written, by the templates of the configuration."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import DataError
from miaobi.core.types import Record
from miaobi.models.common.text_codec import TextCodec
from miaobi.models.seq2seq.schema import Config

if TYPE_CHECKING:
    from numpy.random import Generator

    from miaobi.core.protocols import Batch


class PairCodec:
    """A tokenizer and two templates. Picklable, as `TextCodec` is."""

    def __init__(self, tokens: TextCodec, config: Config) -> None:
        self.tokens, self.config = tokens, config

    @classmethod
    def fit(cls, records: Sequence[Record], config: Config, tokenizer: Path | None) -> PairCodec:
        """The dataset's tokenizer, or all characters of what is read and written.

        Raises:
            DataError: no record has anything to write.
        """
        pairs = [texts_of(record, config) for record in records]
        if not any(target for _, target in pairs):
            raise DataError("no record has what the template {template} names, so there is nothing to write", template=config.target)
        if tokenizer:
            return cls(TextCodec.load(tokenizer, context=config.context), config)
        both = [replace(record, parts=pair) for record, pair in zip(records, pairs)]
        return cls(TextCodec.fit(both, context=config.context), config)

    def read(self, text: str) -> list[int]:
        """Ids of a text that is read, its end marked."""
        return [*self.tokens.ids(text)[: self.config.context - 1], self.tokens.end]

    def written(self, text: str) -> list[int]:
        """Ids of a text that is written, between its marks; a text that is cut has no end."""
        ids = [self.tokens.begin, *self.tokens.ids(text), self.tokens.end]
        return ids[: self.config.context + 1]

    def length(self, record: Record) -> int:
        """Tokens of both texts."""
        source, target = texts_of(record, self.config)
        return len(self.read(source)) + len(self.written(target))

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """`source` (B, S), `real` (B, S), `target` (B, T + 1) and `weights` (B, T), True at targets that count."""
        import torch

        pairs = [texts_of(record, self.config) for record in records]
        source, real = self.padded([self.read(source) for source, _ in pairs])
        target, counted = self.padded([self.written(target) if target else [self.tokens.begin] for _, target in pairs], least=2)
        arrays = {"source": source, "real": real, "target": target, "weights": counted[:, 1:].copy()}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def padded(self, rows: Sequence[Sequence[int]], *, least: int = 1) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Rows of unequal length side by side, and where they are real."""
        longest = max(least, *(len(row) for row in rows))
        ids = np.full((len(rows), longest), self.tokens.end, dtype=np.int64)
        real = np.zeros((len(rows), longest), dtype=bool)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            real[number, : len(row)] = True
        return ids, real


def texts_of(record: Record, config: Config) -> tuple[str, str]:
    """What is read of a record and what is written; a field that it lacks is empty."""
    first, _, rest = record.text.partition("\n")
    fields = {**record.meta, "text": record.text, "first_line": first, "rest": rest}
    return _filled(config.source, fields), _filled(config.target, fields)


def _filled(template: str, fields: Mapping[str, object]) -> str:
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name]
    return template.format(**{name: str(fields.get(name, "")) for name in names})
