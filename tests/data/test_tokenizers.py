"""Tokenizers come out of `prepare`, lose nothing that they should keep, and are the same every time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.data.conftest import sentences
from tokenizers import Tokenizer

from miaobi.data.dataset import Dataset

TEXTS = [*sentences(300, length=30), *["The moon is bright tonight.\nAnd so it goes, " + "on" * number for number in range(30)]]


@pytest.mark.parametrize("kind", ["character", "bpe", "unigram"])
def test_round_trip_and_reproducible(make: Callable[..., Dataset], kind: str) -> None:
    first, second = (make(TEXTS, tokenizer={"kind": kind, "size": 2000}) for _ in range(2))
    assert first.tokenizer is not None
    assert second.tokenizer is not None
    assert first.tokenizer.read_bytes() == second.tokenizer.read_bytes()
    tokenizer = Tokenizer.from_file(str(first.tokenizer))
    assert [tokenizer.token_to_id(token) for token in ("<pad>", "<unk>", "<bos>", "<eos>")] == [0, 1, 2, 3]
    assert tokenizer.get_vocab_size() <= 2000
    for record in first.split("train")[::25]:
        assert tokenizer.decode(tokenizer.encode(record.text).ids) == record.text


def test_characters_are_one_token_each_and_rare_ones_unknown(make: Callable[..., Dataset]) -> None:
    dataset = make(["明月明月\n", "明月几时有", "<pad>不是特殊"], tokenizer={"kind": "character", "size": 16, "min_count": 3})
    tokenizer = Tokenizer.from_file(str(dataset.tokenizer))
    assert tokenizer.encode("明月光").tokens == ["明", "月", "<unk>"]
    assert tokenizer.get_vocab_size() == 6


def test_bytes_know_every_text(make: Callable[..., Dataset]) -> None:
    tokenizer = Tokenizer.from_file(str(make(["明月几时有"], tokenizer={"kind": "bpe", "size": 300}).tokenizer))
    assert tokenizer.decode(tokenizer.encode("emoji 🌕 and 龘").ids) == "emoji 🌕 and 龘"
