"""Poems as token sequences: a header that says what is wanted, then the poem character by character.

`<诗> <七绝> <唐> <作者>李白 <题>望天门山 <意>青山、孤帆 <文> 天门中断楚江开，… <终>`. Every part of the header but the form is
left out at random in training, so the model follows whichever parts a person gives. No torch at import: the exported model reads its
vocabulary here too.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from miaobi.core.artifact import write_text
from miaobi.core.errors import ArtifactError
from miaobi.core.types import Record
from miaobi.engine.sampling.spelling import Spelling

if TYPE_CHECKING:
    from numpy.random import Generator

    from miaobi.core.protocols import Batch

PAD, UNKNOWN, BEGIN, END = "<空>", "<缺>", "<诗>", "<终>"
AUTHOR, TITLE, TUNE, TOPIC, BODY = "<作者>", "<题>", "<牌>", "<意>", "<文>"
FORMS = ("五绝", "七绝", "五律", "七律", "古体", "词", "曲")
ERAS = ("唐", "五代", "宋", "元", "清")
SPECIAL = (PAD, UNKNOWN, BEGIN, END, AUTHOR, TITLE, TUNE, TOPIC, BODY, *(f"<{name}>" for name in (*FORMS, *ERAS)))
LONGEST_TITLE = 16
CLAUSE_END = re.compile(r"[，。！？；：、\n]+")
_REGULATED = {(5, 4): "五绝", (7, 4): "七绝", (5, 8): "五律", (7, 8): "七律"}
# how often a part of the header is shown in training: a person seldom names an author, nearly always a title
SHOWN = {"era": 0.9, "author": 0.5, "title": 0.85, "topics": 0.3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a poem is asked to be."""

    form: str  # one of FORMS
    tune: str = ""
    era: str = ""
    author: str = ""
    title: str = ""
    topics: tuple[str, ...] = ()


def clauses(text: str) -> list[str]:
    """The poem's clauses without punctuation.

    >>> clauses("白日依山尽，黄河入海流。")
    ['白日依山尽', '黄河入海流']
    """
    return [clause for clause in CLAUSE_END.split(text) if clause]


def form_of(text: str, kind: str) -> str:
    """Which of FORMS a poem has: regulated ones by their shape, others by their kind (shi, ci, qu)."""
    if kind in ("ci", "qu"):
        return "词" if kind == "ci" else "曲"
    lengths = [len(clause) for clause in clauses(text)]
    if len(set(lengths)) == 1:
        return _REGULATED.get((lengths[0], len(lengths)), "古体")
    return "古体"


def header_of(record: Record) -> Header:
    """The whole header that a record's meta supports."""
    meta = record.meta
    kind, era = str(meta.get("kind", "shi")), str(meta.get("era", ""))
    return Header(
        form=form_of(record.text, kind),
        tune=str(meta.get("tune") or "") if kind != "shi" else "",
        era=era if era in ERAS else "",
        author=str(meta.get("author") or ""),
        title=str(meta.get("title") or "")[:LONGEST_TITLE],
    )


class VerseCodec:
    """Records to batches of token ids, and ids back to text. `context` is the longest sequence, header included."""

    def __init__(self, vocabulary: Sequence[str], *, context: int) -> None:
        assert tuple(vocabulary[: len(SPECIAL)]) == SPECIAL, "special tokens come first"
        self.vocabulary = list(vocabulary)
        self.context = context
        self._ids = {token: number for number, token in enumerate(vocabulary)}
        self.pad, self.unknown, self.begin, self.end = (self._ids[token] for token in (PAD, UNKNOWN, BEGIN, END))

    @classmethod
    def fit(cls, records: Iterable[Record], *, min_count: int, context: int) -> VerseCodec:
        """The vocabulary of all characters that occur at least `min_count` times, the most frequent first."""
        counts: Counter[str] = Counter()
        for record in records:
            counts.update(record.text)
            counts.update(str(record.meta.get("title") or "")[:LONGEST_TITLE])
        kept = sorted((char for char, count in counts.items() if count >= min_count), key=lambda char: (-counts[char], char))
        return cls([*SPECIAL, *kept], context=context)

    # ------------------------------------------------------------------ tokens

    def ids(self, text: str) -> list[int]:
        """One id a character; what the vocabulary lacks becomes the unknown token."""
        return [self._ids.get(char, self.unknown) for char in text]

    def missing(self, text: str) -> list[str]:
        """The characters that the vocabulary lacks, in order."""
        return [char for char in dict.fromkeys(text) if char not in self._ids]

    def spelling(self) -> Spelling:
        """What every token spells."""
        return self._spelling

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling.of(self.vocabulary, marks=range(len(SPECIAL)))

    def text(self, ids: Iterable[int]) -> str:
        """Characters of a poem's body; special tokens vanish."""
        return "".join(self.vocabulary[number] for number in ids if number >= len(SPECIAL))

    def header(self, header: Header) -> list[int]:
        """The prompt that asks for such a poem; generation goes on behind it."""
        tokens = [self.begin, self._ids[f"<{header.form}>"]]
        if header.era:
            tokens.append(self._ids[f"<{header.era}>"])
        for mark, value in ((TUNE, header.tune), (AUTHOR, header.author), (TITLE, header.title), (TOPIC, "、".join(header.topics))):
            if value:
                tokens += [self._ids[mark], *self.ids(value)]
        return [*tokens, self._ids[BODY]]

    def encode(self, record: Record, *, rng: Generator | None = None, header: Header | None = None) -> tuple[list[int], int]:
        """(ids, length of the header). With `rng`, parts of the header are left out or drawn from the poem; without, it is whole."""
        full = header or header_of(record)
        prompt = self.header(full if rng is None else _thinned(full, record.text, rng))
        return [*prompt, *self.ids(record.text), self.end][: self.context], len(prompt)

    def length(self, record: Record) -> int:
        """About how many tokens the record takes."""
        return min(len(record.text) + 12, self.context)

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """`tokens` (B, T + 1) padded on the right, and `weights` (B, T), True where the next token belongs to the poem's body."""
        import torch

        encoded = [self.encode(record, rng=rng) for record in records]
        longest = max(len(ids) for ids, _ in encoded)
        tokens = np.full((len(records), longest), self.pad, dtype=np.int64)
        weights = np.zeros((len(records), longest - 1), dtype=bool)
        for row, (ids, prompt) in enumerate(encoded):
            tokens[row, : len(ids)] = ids
            weights[row, prompt - 1 : len(ids) - 1] = True
        return {"tokens": torch.from_numpy(tokens), "weights": torch.from_numpy(weights)}

    # ------------------------------------------------------------------ disk

    def save(self, folder: Path) -> None:
        """`tokenizer.json` in the format of the library `tokenizers`, so that other software reads the vocabulary too."""
        added = [{"id": number, "content": token, **_SPECIAL_TOKEN} for number, token in enumerate(SPECIAL)]
        tokenizer = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": False},
            "post_processor": None,
            "decoder": {"type": "Fuse"},
            "model": {"type": "WordLevel", "vocab": self._ids, "unk_token": UNKNOWN},
        }
        write_text(folder / "tokenizer.json", json.dumps(tokenizer, ensure_ascii=False, indent=0))

    @staticmethod
    def wrote(path: Path) -> bool:
        """Whether a `tokenizer.json` is a verse model's: a data set's own is of no use here, verse being made of characters."""
        try:
            ids: Mapping[str, int] = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
            return [ids.get(token) for token in SPECIAL] == list(range(len(SPECIAL)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    @classmethod
    def load(cls, folder: Path, *, context: int) -> VerseCodec:
        """The codec that `save` wrote.

        Raises:
            ArtifactError: no tokenizer, or not one of this family.
        """
        try:
            data: Mapping[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
            ids: Mapping[str, int] = data["model"]["vocab"]
            vocabulary = sorted(ids, key=lambda token: ids[token])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError("{folder} has no readable tokenizer.json ({error})", folder=folder, error=error) from None
        if tuple(vocabulary[: len(SPECIAL)]) != SPECIAL:
            raise ArtifactError("the tokenizer in {folder} is not one of the family verse", folder=folder)
        return cls(vocabulary, context=context)


_SPECIAL_TOKEN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def _thinned(header: Header, text: str, rng: Generator) -> Header:
    """The header with parts left out at random, and topic words drawn from the poem."""
    draws = dict(zip(SHOWN, rng.random(len(SHOWN)), strict=True))
    shown = {name: bool(draws[name] < share) for name, share in SHOWN.items()}
    return Header(
        form=header.form,
        tune=header.tune,
        era=header.era if shown["era"] else "",
        author=header.author if shown["author"] else "",
        title=header.title if shown["title"] else "",
        topics=_topics(text, rng) if shown["topics"] else (),
    )


def _topics(text: str, rng: Generator) -> tuple[str, ...]:
    """One to three words of the poem: classical lines fall into pairs of characters from their beginning."""
    lines = [clause for clause in clauses(text) if len(clause) >= 4]
    if not lines:
        return ()
    count = int(rng.integers(1, 4))
    picks = rng.choice(len(lines), size=min(count, len(lines)), replace=False)
    return tuple(lines[pick][start : start + 2] for pick, start in zip(picks, 2 * rng.integers(0, 2, size=len(picks))))
