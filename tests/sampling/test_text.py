"""Streaming text: half characters and possible stop strings are held back, and the pieces add up to the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from miaobi.core.types import Done, Piece
from miaobi.engine.sampling.options import Sampling
from miaobi.engine.sampling.text import TextStream, stop_at, stream


def from_bytes(tokens: Sequence[int]) -> str:
    """A byte-level tokenizer: a token is a byte."""
    return bytes(tokens).decode("utf-8", "replace")


def from_letters(tokens: Sequence[int]) -> str:
    """Token i is the letter chr(97 + i)."""
    return "".join(chr(97 + token) for token in tokens)


@pytest.mark.parametrize("text", ["plain", "床前明月光", "a🌕b🏳️‍🌈c", ""])
def test_bytes_become_whole_characters(text: str) -> None:
    row = TextStream(from_bytes)
    pieces = [row.push(byte) for byte in text.encode()]
    assert all("\ufffd" not in piece for piece in pieces)
    assert "".join(pieces) + row.finish() == text


def test_broken_bytes_come_out_at_last() -> None:
    row = TextStream(from_bytes)
    pieces = [row.push(byte) for byte in b"ab\xe5\xba"]
    assert pieces == ["a", "b", "", ""]
    assert row.finish() == "\ufffd"
    row = TextStream(from_bytes)
    assert "".join(row.push(byte) for byte in b"\xff!") + row.finish() == "\ufffd!"


@pytest.mark.parametrize(
    ("text", "stops", "expected", "stopped"),
    [
        ("hello END more", ["END"], "hello ", True),
        ("hello EN", ["END"], "hello EN", False),
        ("aaab", ["aab"], "a", True),
        ("one\n\ntwo", ["\n\n", "e\n"], "on", True),
        ("abcabd", ["abd"], "abc", True),
        ("abc", ["abc"], "", True),
    ],
)
def test_stop_strings(text: str, stops: list[str], expected: str, stopped: bool) -> None:
    row = TextStream(from_bytes, stops)
    sent = ""
    for byte in text.encode():
        sent += row.push(byte)
        assert expected.startswith(sent), "nothing is sent that a stop string takes back"
    assert sent + row.finish() == expected
    assert row.stopped is stopped


def test_the_stop_condition_looks_at_the_last_tokens() -> None:
    stop = stop_at(["月光"], from_bytes)
    assert stop is not None
    tokens = list(("x" * 100 + "明月光").encode())
    assert stop(tokens)
    assert not stop(tokens[:-1])
    assert stop_at([], from_bytes) is None


def test_a_stream_is_the_chunks_of_the_engine(bigrams: Any) -> None:
    options = Sampling(n=3, max_tokens=12, stop=["c"], temperature=1.5)
    chunks = list(stream(bigrams(26), [[1], [2]], options, end_tokens=[25], seed=40, detokenize=from_letters))
    for index in range(6):
        own = [chunk for chunk in chunks if chunk.index == index]
        done = own[-1]
        assert isinstance(done, Done)
        text = "".join(chunk.part for chunk in own[:-1] if isinstance(chunk, Piece) and isinstance(chunk.part, str))
        assert "c" not in text
        assert done.usage.prompt == 1
        assert done.reason == ("length" if done.usage.generated == 12 and len(text) == 12 else "stop")
    alone = list(stream(bigrams(26), [[2]], options.model_copy(update={"n": 1}), end_tokens=[25], seed=44, detokenize=from_letters))
    assert pieces_of(alone, 0) == pieces_of(chunks, 4), "content i has the seed of the request plus i"


def test_closing_the_stream_closes_the_decoding(bigrams: Any) -> None:
    chunks: Any = stream(bigrams(26), [[1]], Sampling(max_tokens=10_000), end_tokens=[], seed=0, detokenize=from_letters)
    next(chunks)
    chunks.close()
    assert next(chunks, None) is None


def pieces_of(chunks: list[Any], index: int) -> list[Any]:
    return [chunk.part for chunk in chunks if isinstance(chunk, Piece) and chunk.index == index]
