"""Log-probabilities of tokens and of what else might have stood there, and what every tokenizer's tokens spell."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace

from miaobi.core.recipe import Tokenizer as TokenizerOptions
from miaobi.core.types import Done, Piece, Record, TokenLogprob
from miaobi.data import tokenizers
from miaobi.engine.sampling.options import Sampling
from miaobi.engine.sampling.spelling import Spelling
from miaobi.engine.sampling.text import stream

TEXTS = ["中秋月夜，a quiet moon", "床前明月光，疑是地上霜。", "Hello  world\n\ttabs, 123 and émigré 🌕"]
V = 30


class Table:
    """A bigram table as numpy or torch."""

    def __init__(self, table: Any) -> None:
        self.vocab_size, self.table, self.rows = table.shape[1], table, list[int]()

    def start(self, prompts: Sequence[Sequence[int]]) -> Any:
        return self.step([prompt[-1] for prompt in prompts])

    def step(self, tokens: Sequence[int]) -> Any:
        self.rows = list(tokens)
        return self.table[self.rows]

    def reorder(self, rows: Sequence[int]) -> None:
        self.rows = [self.rows[row] for row in rows]


def letters(tokens: Sequence[int]) -> str:
    return "".join(chr(97 + token) for token in tokens)


def pieces(table: Any, *, spelling: Callable[[], Spelling] | None = None, **options: Any) -> list[list[TokenLogprob]]:
    chosen = Sampling(**options)
    rows: list[list[TokenLogprob]] = [[] for _ in range(chosen.n)]
    texts = [""] * chosen.n
    for chunk in stream(Table(table), [[1]], chosen, end_tokens=[0], seed=3, detokenize=letters, spelling=spelling):
        if isinstance(chunk, Piece):
            rows[chunk.index] += chunk.logprobs
            texts[chunk.index] += str(chunk.part)
        assert isinstance(chunk, Piece | Done)
    assert texts == ["".join(entry.token for entry in row) for row in rows]
    return rows


@pytest.mark.parametrize("as_torch", [False, True])
@pytest.mark.parametrize("options", [{"n": 2}, {"temperature": 0}, {"temperature": 0.5, "top_k": 3}, {"regex": "[a-m]{5,}"}], ids=str)
def test_they_are_the_models_own(as_torch: bool, options: dict[str, Any]) -> None:
    table: Any = np.random.default_rng(0).normal(size=(V, V)).astype(np.float32) * 2
    if as_torch:
        import torch

        table = torch.from_numpy(table)
    spelling = Spelling.of([chr(97 + token) for token in range(V)], marks=[0])
    for row in pieces(table, spelling=lambda: spelling, logprobs=4, max_tokens=9, **options):
        last = 1
        assert row
        for entry in row:
            token = ord(entry.token) - 97
            xp = array_namespace(table)
            own = np.asarray(table[last] - xp.log(xp.sum(xp.exp(table[last]))))
            assert entry.logprob == pytest.approx(float(own[token]), abs=1e-5)
            assert [other.logprob for other in entry.top] == pytest.approx(sorted(own.tolist(), reverse=True)[:4], abs=1e-5)
            assert [spelling.name(place) for place in np.argsort(-own)[:4]] == [other.token for other in entry.top]
            assert all(other.top == () and other.bytes == spelling.bytes_of(ord(other.token) - 97) for other in entry.top)
            last = token


def test_without_alternatives_in_beams_and_before_a_stop() -> None:
    table = np.random.default_rng(1).normal(size=(V, V)).astype(np.float32)
    for beams in (1, 3):
        (row,) = pieces(table, max_tokens=6, logprobs=0, beams=beams)
        assert [entry.top for entry in row] == [()] * len(row)
        assert all(entry.logprob < 0 for entry in row)
        assert row
    (whole,) = pieces(table, min_tokens=8, max_tokens=8, temperature=0, logprobs=1)
    cut = whole[4].token
    first = [entry.token for entry in whole].index(cut)
    (row,) = pieces(table, min_tokens=8, max_tokens=8, temperature=0, logprobs=1, stop=[cut])
    assert row == whole[:first]
    chunks = list(stream(Table(table), [[1]], Sampling(max_tokens=8), end_tokens=[0], seed=0, detokenize=letters))
    assert not any(chunk.logprobs for chunk in chunks if isinstance(chunk, Piece))


@pytest.mark.parametrize("kind", ["character", "bpe", "unigram"])
def test_spelling_of_our_tokenizers_gives_the_text_back(kind: Any, tmp_path: Path) -> None:
    from collections import Counter

    from tokenizers import Tokenizer

    records = [Record(id=str(number), parts=(text,)) for number, text in enumerate(TEXTS * 20)]
    path = tmp_path / "tokenizer.json"
    characters = Counter("".join(TEXTS))
    tokenizers.train(TokenizerOptions(kind=kind, size=600, min_count=1), records, characters, path)
    tokenizer = Tokenizer.from_file(str(path))
    spelling = Spelling.of_tokenizer(path.read_text(encoding="utf-8"))
    assert len(spelling.tokens) == tokenizer.get_vocab_size()
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert b"".join(spelling.bytes_of(token) for token in ids).decode() == text
    for mark in ("<bos>", "<eos>", "<unk>"):
        number = tokenizer.token_to_id(mark)
        assert number is not None
        assert (spelling.bytes_of(number), spelling.name(number)) == (b"", mark)


def test_spelling_of_sentencepiece_and_of_added_words() -> None:
    definition = {
        "added_tokens": [{"id": 0, "content": "<s>", "special": True}, {"id": 7, "content": "<tool>", "special": False}],
        "decoder": {
            "type": "Sequence",
            "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}],
        },
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "vocab": {"<s>": 0, "<unk>": 1, "▁the": 2, "<0x0A>": 3, "<0xE4>": 4, "a▁b": 5, "中": 6},
        },
    }
    spelling = Spelling.of_tokenizer(json.dumps(definition))
    assert spelling.tokens == (b"", b"", b" the", b"\n", b"\xe4", b"a b", "中".encode(), b"<tool>")
    assert spelling.marks == {0: "<s>", 1: "<unk>"}
    assert spelling.bytes_of(99) == b""
