"""Text to packed rows of token ids and back, over a `tokenizer.json`.

Documents are cut into windows of the context and packed first-fit into rows; `segments` keeps documents of one row apart, so nothing leaks
from one into the next. Of conversations (`meta["messages"]`) only what the assistant says is learned.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from miaobi.core.artifact import write_text
from miaobi.core.errors import ArtifactError, DataError
from miaobi.core.types import Record
from miaobi.data.conversations import CUT
from miaobi.engine.sampling.spelling import Spelling
from miaobi.models.common.hub_format import read_config

if TYPE_CHECKING:
    from numpy.random import Generator

    from miaobi.core.protocols import Batch
    from miaobi.models.common.chat_template import Chat

T = TypeVar("T")
Window = tuple[list[int], list[bool]]  # ids, and which of them are learned
MESSAGES = "messages"  # the key of meta that holds a conversation
# names that tokenizers in use give to the beginning and the end of a document, the most specific first
BEGIN_NAMES = ("<bos>", "<s>", "<|begin_of_text|>", "<|endoftext|>", "<|im_start|>")
END_NAMES = ("<eos>", "</s>", "<|end_of_text|>", "<|endoftext|>", "<|im_end|>")
NAME = "tokenizer.json"
NUM_CHARACTERS = 0x110000 - 0x800  # what an unknown token may stand for: any code point but the surrogates


class TextCodec:
    """A tokenizer with its document marks. Picklable: the tokenizer is kept as JSON and built where it is used."""

    def __init__(self, source: str, *, context: int, begin: int | None = None, end: int | None = None, packing: bool = True) -> None:
        self.source = source
        self.context = context
        self.chat: Chat | None = None  # how conversations are written, where the model has a template for them
        self.packing = packing  # several documents in a row; not for networks whose state would carry one into the next
        self.begin = self._find(BEGIN_NAMES) if begin is None else begin
        self.end = self._find(END_NAMES) if end is None else end

    @classmethod
    def fit(cls, records: Iterable[Record], *, context: int, packing: bool = True) -> TextCodec:
        """A tokenizer of all characters of the records, for data that was prepared without one."""
        from miaobi.core.recipe import Tokenizer
        from miaobi.data import tokenizers

        characters: Counter[str] = Counter()
        for record in records:
            characters.update(record.text)
        with TemporaryDirectory() as folder:
            path = Path(folder) / NAME
            tokenizers.train(Tokenizer(kind="character", size=1_000_000), (), characters, path)
            return cls(path.read_text(encoding="utf-8"), context=context, packing=packing)

    @classmethod
    def load(cls, path: Path, *, context: int, begin: int | None = None, end: int | None = None, packing: bool = True) -> TextCodec:
        """The tokenizer in a file.

        Raises:
            ArtifactError: no such file, or not a tokenizer.
        """
        try:
            return cls(path.read_text(encoding="utf-8"), context=context, begin=begin, end=end, packing=packing)
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
        found: int | None = self._tokenizer.token_to_id(name) if isinstance(name, str) else model.get("unk_id")
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_tokenizer", "unknown", "silent")}

    @property
    def vocab_size(self) -> int:
        """Ids that the tokenizer can give."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    @cached_property
    def silent(self) -> list[int]:
        """The special tokens that no text shows, but for the one that ends it: what a model should not write."""
        marks = (int(added["id"]) for added in json.loads(self.source).get("added_tokens", ()) if added.get("special"))
        return sorted({*marks, *([] if self.unknown is None else [self.unknown])} - {self.end})

    def ids(self, text: str) -> list[int]:
        """Token ids, without document marks."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def spelling(self) -> Spelling:
        """What every token spells; made when first asked for."""
        return self._spelling

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling.of_tokenizer(self.source)

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids; document marks vanish."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def prompt(self, text: str) -> list[int]:
        """What generation starts from: the document mark and the text."""
        return [self.begin, *self.ids(text)]

    def document(self, record: Record) -> list[int]:
        """A whole record between its marks."""
        return self.lesson(record)[0]

    def lesson(self, record: Record) -> tuple[list[int], list[bool]]:
        """A record between its marks, and which of the ids are to be learned: of a conversation, only what the assistant says.

        Raises:
            DataError: a conversation of several turns, and no chat template that says how they are written.
        """
        ids, said = self._marked(record)
        if record.meta.get(CUT) and True in said:
            said[len(said) - 1 - said[::-1].index(True)] = False
        return ids, said

    def _marked(self, record: Record) -> tuple[list[int], list[bool]]:
        """`lesson` of a text that ended by itself."""
        messages = record.meta.get(MESSAGES)
        if not messages:
            ids = [*self.prompt(record.text), self.end]
            return ids, [False] + [True] * (len(ids) - 1)
        if self.chat is not None:
            found = self.chat.lesson(messages)
            return list(found.ids), list(found.said)
        if [message["role"] for message in messages] != ["user", "assistant"]:
            raise DataError(
                "record {id} is a conversation of several turns, which this model cannot write: it has no chat template",
                id=record.id,
            )
        return said_after(*self.answered(str(messages[0]["content"]), str(messages[1]["content"])))

    def answered(self, prompt: str, answer: str) -> tuple[list[int], int]:
        """The ids of a prompt with its answer and the end mark, cut to the context, and how many of them are the prompt."""
        begun = self.prompt(prompt)
        return [*begun, *self.ids(answer), self.end][: self.context + 1], len(begun)

    def spelled_bits(self, ids: Sequence[int]) -> float:
        """What it costs to say which characters the unknown tokens stand for: without it, a small vocabulary would score better."""
        return list(ids).count(self.unknown) * math.log2(NUM_CHARACTERS) if self.unknown is not None else 0.0

    def length(self, record: Record) -> int:
        """Tokens of the record."""
        return len(self.document(record))

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """`tokens` (B, T + 1) and `weights` (B, T), as many rows as the records fill; `segments` (B, T) where a row holds several."""
        import torch

        pieces = [window for record in records for window in self.windows_of(record)]
        rows = _pack(pieces, self.context + 1) if self.packing else [[piece] for piece in pieces]
        longest = max(sum(len(ids) for ids, _ in row) for row in rows)
        tokens = np.full((len(rows), longest), self.end, dtype=np.int64)
        segments = np.zeros((len(rows), longest), dtype=np.int64)  # 0 is padding, documents count from 1
        weights = np.zeros((len(rows), longest - 1), dtype=bool)
        for number, row in enumerate(rows):
            start = 0
            for segment, (ids, said) in enumerate(row, start=1):
                stop = start + len(ids)
                tokens[number, start:stop] = ids
                segments[number, start:stop] = segment
                weights[number, start : stop - 1] = said[1:]
                start = stop
        batch = {"tokens": torch.from_numpy(tokens), "weights": torch.from_numpy(weights)}
        if any(len(row) > 1 for row in rows):  # plain causal attention is faster where it is enough
            batch["segments"] = torch.from_numpy(segments[:, :-1].copy())
        return batch

    def windows(self, ids: list[T]) -> list[list[T]]:
        """Stretches of at most context + 1 tokens; each begins with the last token of the one before, so every token is predicted once."""
        return [ids[start : start + self.context + 1] for start in range(0, max(1, len(ids) - 1), self.context)]

    def windows_of(self, record: Record) -> list[Window]:
        """The windows of a record's lesson; of a conversation, those in which the assistant says something."""
        ids, said = self.lesson(record)
        cut = list(zip(self.windows(ids), self.windows(said), strict=True))
        return [window for window in cut if any(window[1][1:])] or cut[:1]

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


def said_text(record: Record) -> str:
    """What is learned of a record, as text: of a conversation, what the assistant says."""
    messages = record.meta.get(MESSAGES)
    return "\n".join(str(message["content"]) for message in messages if message["role"] == "assistant") if messages else record.text


def said_after(ids: list[int], prompt: int) -> tuple[list[int], list[bool]]:
    """The ids, and True for all behind the prompt."""
    return ids, [False] * prompt + [True] * (len(ids) - prompt)


def _pack(pieces: list[Window], capacity: int) -> list[list[Window]]:
    """First-fit, longest first: rows whose pieces together hold at most `capacity` tokens."""
    rows: list[list[Window]] = []
    free: list[int] = []
    for piece in sorted(pieces, key=lambda piece: len(piece[0]), reverse=True):
        size = len(piece[0])
        for number, space in enumerate(free):
            if space >= size:
                rows[number].append(piece)
                free[number] -= size
                break
        else:
            rows.append([piece])
            free.append(capacity - size)
    return rows
