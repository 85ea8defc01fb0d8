"""Guesses save passes and change nothing: greedy, drawn, penalised, constrained, with log-probabilities and stop strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from miaobi.core.types import Piece, TokenLogprob
from miaobi.engine.sampling.options import Sampling
from miaobi.engine.sampling.speculate import Lookup, Verifier
from miaobi.engine.sampling.spelling import Spelling
from miaobi.engine.sampling.text import stream

torch = pytest.importorskip("torch")
V, END = 64, 0
SPELLING = Spelling.of([chr(33 + token) for token in range(V)] + ["{", "}"], marks=[END])
PROMPT = [3, 4, 5, 6, 7, 8, 9, 3, 4, 5]


def test_lookup_finds_what_followed() -> None:
    lookup = Lookup([1, 2, 3, 4, 1, 2])
    assert lookup.guess(3) == [3, 4, 1]
    lookup.push(3)
    assert lookup.guess(9) == [4, 1, 2, 3]
    assert lookup.guess(0) == []
    lookup.push(9)
    assert lookup.guess(5) == []
    assert Lookup([7]).guess(5) == []


class Counting:
    """The real stepper, its passes counted."""

    def __init__(self, stepper: Any) -> None:
        self.vocab_size, self.looks_ahead = stepper.vocab_size, stepper.looks_ahead
        self.passes, self._stepper = 0, stepper

    def start(self, prompts: Sequence[Sequence[int]]) -> Any:
        return self._stepper.start(prompts)

    def step(self, tokens: Sequence[int]) -> Any:
        self.passes += 1
        return self._stepper.step(tokens)

    def reorder(self, rows: Sequence[int]) -> None:
        self._stepper.reorder(rows)

    def verify(self, tokens: Sequence[int]) -> Any:
        self.passes += 1
        return self._stepper.verify(tokens)

    def forget(self, count: int) -> None:
        self._stepper.forget(count)


@pytest.fixture(scope="module")
def network() -> Any:
    """A tiny Transformer that repeats itself, as one with random weights does when it is greedy."""
    from miaobi.models.common.language import new_network, shape
    from miaobi.models.gpt.schema import Config

    torch.set_num_threads(1)
    config = Config(width=32, layers=2, heads=2, context=256)
    return new_network(shape(config.model_dump(), vocab_size=V), 1).eval()


def letters(tokens: Sequence[int]) -> str:
    return "".join(SPELLING.name(token) for token in tokens if token != END)


def write(network: Any, *, draft: int, **options: Any) -> tuple[str, list[TokenLogprob], int]:
    from miaobi.models.common.transformer import TorchStepper

    stepper = Counting(TorchStepper(network))
    assert isinstance(stepper, Verifier)
    chosen = Sampling(max_tokens=120, draft=draft, **options)
    chunks = stream(stepper, [PROMPT], chosen, end_tokens=[END], seed=4, detokenize=letters, spelling=lambda: SPELLING)
    pieces = [chunk for chunk in chunks if isinstance(chunk, Piece)]
    return "".join(str(piece.part) for piece in pieces), [entry for piece in pieces for entry in piece.logprobs], stepper.passes


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"temperature": 0, "min_tokens": 100},
        {"temperature": 0, "repetition_penalty": 1.3, "frequency_penalty": 0.1},
        {"temperature": 0, "regex": "[!-@]{0,40}"},
        {"temperature": 0, "logprobs": 3},
        {"temperature": 1.0},
        {"temperature": 0.3, "top_p": 0.9, "logprobs": 0},
        {"temperature": 0, "n": 2},
    ],
    ids=str,
)
def test_the_text_is_the_same(network: Any, options: dict[str, Any]) -> None:
    text, told, passes = write(network, draft=0, **options)
    assert len(text) > 10
    for draft in (1, 5, 16):
        again, told_again, fewer = write(network, draft=draft, **options)
        assert again == text
        assert [(entry.token, [other.token for other in entry.top]) for entry in told_again] == [
            (entry.token, [other.token for other in entry.top]) for entry in told
        ]
        assert [entry.logprob for entry in told_again] == pytest.approx([entry.logprob for entry in told], abs=1e-4)
        assert fewer <= passes


def test_a_text_that_repeats_itself_takes_fewer_passes(network: Any) -> None:
    text, _, passes = write(network, draft=0, temperature=0, min_tokens=119)
    again, _, fewer = write(network, draft=8, temperature=0, min_tokens=119)
    assert again == text
    assert fewer <= 0.6 * passes
