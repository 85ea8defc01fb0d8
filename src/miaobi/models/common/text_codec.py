"""Text to packed rows of token ids and back, over a `tokenizer.json`.

Documents are cut into windows of the context and packed first-fit into rows; `segments` keeps documents of one row apart, so nothing leaks
from one into the next.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from miaobi.core.artifact import write_text
from miaobi.core.errors import ArtifactError
from miaobi.core.types import Record
from miaobi.models.common.hub_format import read_config

if TYPE_CHECKING:
    from numpy.random import Generator

    from miaobi.core.protocols import Batch

# names that tokenizers in use give to the beginning and the end of a document, the most specific first
BEGIN_NAMES = ("<bos>", "<s>", "<|begin_of_text|>", "<|endoftext|>", "<|im_start|>")
END_NAMES = ("<eos>", "</s>", "<|end_of_text|>", "<|endoftext|>", "<|im_end|>")
NAME = "tokenizer.json"
NUM_CHARACTERS = 0x110000 - 0x800  # what an unknown token may stand for: any code point but the surrogates


class TextCodec:
    """A tokenizer with its document marks. Picklable: the tokenizer is kept as JSON and built where it is used."""

    def __init__(self, source: str, *, context: int, begin: int | None = None, end: int | None = None) -> None:
        self.source = source
        self.context = context
        self.begin = self._find(BEGIN_NAMES) if begin is None else begin
        self.end = self._find(END_NAMES) if end is None else end

    @classmethod
    def fit(cls, records: Iterable[Record], *, context: int) -> TextCodec:
        """A tokenizer of all characters of the records, for data that was prepared without one."""
        from miaobi.core.recipe import Tokenizer
        from miaobi.data import tokenizers

        characters: Counter[str] = Counter()
        for record in records:
            characters.update(record.text)
        with TemporaryDirectory() as folder:
            path = Path(folder) / NAME
            tokenizers.train(Tokenizer(kind="character", size=1_000_000), (), characters, path)
            return cls(path.read_text(encoding="utf-8"), context=context)

    @classmethod
    def load(cls, path: Path, *, context: int, begin: int | None = None, end: int | None = None) -> TextCodec:
        """The tokenizer in a file.

        Raises:
            ArtifactError: no such file, or not a tokenizer.
        """
        try:
            return cls(path.read_text(encoding="utf-8"), context=context, begin=begin, end=end)
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError("{folder} has no readable tokenizer.json ({error})", folder=path.parent, error=error) from None

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        try:
            return Tokenizer.from_str(self.source)
        except Exception as error:  # the library raises bare Exception
            raise ArtifactError("the tokenizer cannot be read: {error}", error=error) from None

    @cached_property
    def unknown(self) -> int | None:
        """The token of characters that the vocabulary lacks, if it has one."""
        model = json.loads(self.source).get("model", {})
        name = model.get("unk_token")
        return self._tokenizer.token_to_id(name) if isinstance(name, str) else model.get("unk_id")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_tokenizer"}

    @property
    def vocab_size(self) -> int:
        """Ids that the tokenizer can give."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def ids(self, text: str) -> list[int]:
        """Token ids, without document marks."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids; document marks vanish."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def prompt(self, text: str) -> list[int]:
        """What generation starts from: the document mark and the text."""
        return [self.begin, *self.ids(text)]

    def document(self, record: Record) -> list[int]:
        """A whole record between its marks."""
        return [*self.prompt(record.text), self.end]

    def spelled_bits(self, ids: Sequence[int]) -> float:
        """What it costs to say which characters the unknown tokens stand for: without it, a small vocabulary would score better."""
        return list(ids).count(self.unknown) * math.log2(NUM_CHARACTERS) if self.unknown is not None else 0.0

    def length(self, record: Record) -> int:
        """Tokens of the record."""
        return len(self.document(record))

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """`tokens` (B, T + 1) and `weights` (B, T), as many rows as the records fill; `segments` (B, T) where a row holds several."""
        import torch

        rows = _pack([window for record in records for window in self.windows(self.document(record))], self.context + 1)
        longest = max(sum(len(piece) for piece in row) for row in rows)
        tokens = np.full((len(rows), longest), self.end, dtype=np.int64)
        segments = np.zeros((len(rows), longest), dtype=np.int64)  # 0 is padding, documents count from 1
        weights = np.zeros((len(rows), longest - 1), dtype=bool)
        for number, row in enumerate(rows):
            start = 0
            for segment, piece in enumerate(row, start=1):
                stop = start + len(piece)
                tokens[number, start:stop] = piece
                segments[number, start:stop] = segment
                weights[number, start : stop - 1] = True
                start = stop
        batch = {"tokens": torch.from_numpy(tokens), "weights": torch.from_numpy(weights)}
        if any(len(row) > 1 for row in rows):  # plain causal attention is faster where it is enough
            batch["segments"] = torch.from_numpy(segments[:, :-1].copy())
        return batch

    def windows(self, ids: list[int]) -> list[list[int]]:
        """Stretches of at most context + 1 tokens; each begins with the last token of the one before, so every token is predicted once."""
        return [ids[start : start + self.context + 1] for start in range(0, max(1, len(ids) - 1), self.context)]

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json`."""
        write_text(folder / NAME, self.source)

    def _find(self, names: Sequence[str]) -> int:
        """The id of the first of these marks that the tokenizer has."""
        ids = {added["content"]: int(added["id"]) for added in json.loads(self.source).get("added_tokens", ())}
        for name in names:
            if name in ids:
                return ids[name]
        raise ArtifactError("the tokenizer marks no end of a document: it has none of {names}", names=", ".join(names))


def load_codec(folder: Path) -> TextCodec:
    """The tokenizer of a model folder; the configuration says which tokens begin and end a document."""
    config = read_config(folder)
    context = int(config.get("max_position_embeddings") or config["n_positions"])
    end = config.get("eos_token_id")
    return TextCodec.load(folder / NAME, context=context, begin=config.get("bos_token_id"), end=end[0] if isinstance(end, list) else end)


def _pack(pieces: list[list[int]], capacity: int) -> list[list[list[int]]]:
    """First-fit, longest first: rows whose pieces together hold at most `capacity` tokens."""
    rows: list[list[list[int]]] = []
    free: list[int] = []
    for piece in sorted(pieces, key=len, reverse=True):
        for number, space in enumerate(free):
            if space >= len(piece):
                rows[number].append(piece)
                free[number] -= len(piece)
                break
        else:
            rows.append([piece])
            free.append(capacity - len(piece))
    return rows
