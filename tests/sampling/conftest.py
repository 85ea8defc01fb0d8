"""Real steppers for the tests of sampling: a table of bigram logits, and a tiny random GPT-2 read anew at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest


class Bigrams:
    """Logits are a row of a table, chosen by the last token; the simplest model that decodes."""

    def __init__(self, table: np.ndarray) -> None:
        self.vocab_size = table.shape[1]
        self.rows: list[int] = []
        self.num_prompts_read = 0
        self._table = table

    @classmethod
    def random(cls, size: int, *, seed: int = 0, scale: float = 2.0) -> Bigrams:
        """A table of normal logits."""
        return cls((np.random.default_rng(seed).normal(size=(size, size)) * scale).astype(np.float32))

    def start(self, prompts: Sequence[Sequence[int]]) -> np.ndarray:
        self.num_prompts_read += len(prompts)
        self.rows = [prompt[-1] for prompt in prompts]
        return self._table[self.rows]

    def step(self, tokens: Sequence[int]) -> np.ndarray:
        assert len(tokens) == len(self.rows)
        self.rows = list(tokens)
        return self._table[self.rows]

    def reorder(self, rows: Sequence[int]) -> None:
        self.rows = [self.rows[row] for row in rows]


class Recomputing:
    """A transformers model without a cache: every step reads the whole row again, so no cache can hide an error of the loop."""

    def __init__(self, model: Any, *, as_numpy: bool) -> None:
        self.vocab_size = model.config.vocab_size
        self.rows: list[list[int]] = []
        self._model = model
        self._as_numpy = as_numpy

    def start(self, prompts: Sequence[Sequence[int]]) -> Any:
        self.rows = [list(prompt) for prompt in prompts]
        return self._logits()

    def step(self, tokens: Sequence[int]) -> Any:
        for row, token in zip(self.rows, tokens, strict=True):
            row.append(token)
        return self._logits()

    def reorder(self, rows: Sequence[int]) -> None:
        self.rows = [list(self.rows[row]) for row in rows]

    def _logits(self) -> Any:
        import torch

        with torch.no_grad():
            logits = torch.stack([self._model(torch.tensor([row])).logits[0, -1] for row in self.rows])
        return logits.numpy() if self._as_numpy else logits


@pytest.fixture(scope="session")
def gpt2() -> Any:
    """A random GPT-2 of 23 tokens with steep logits; token 0 ends a text."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.set_num_threads(1)  # the model is so small that threads only wait for each other
    torch.manual_seed(0)
    shape = GPT2Config(vocab_size=23, n_positions=64, n_embd=16, n_layer=2, n_head=2, initializer_range=0.6)
    shape.bos_token_id, shape.eos_token_id, shape.pad_token_id = 1, 0, 0
    return GPT2LMHeadModel(shape).eval()


@pytest.fixture
def bigrams() -> Callable[..., Bigrams]:
    """`bigrams(size, seed=0, scale=2.0)` is a stepper over a random table."""
    return Bigrams.random


@pytest.fixture
def recomputing() -> type[Recomputing]:
    """`recomputing(model, as_numpy=...)` is a stepper over a transformers model."""
    return Recomputing
