"""Rows of states as a `Stepper`, over numpy's cells or torch's network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = Any  # numpy's, or torch's: both are indexed alike
State = tuple[Array, ...]
Advance = Callable[[NDArray[np.int64], State | None], tuple[Array, State]]  # tokens (B, T), a state: logits (B, V), the state after


class RecurrentStepper:
    """Prompts of one length are read together, so that no row reads padding."""

    def __init__(self, advance: Advance, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self._advance = advance
        self._state: State = ()

    def start(self, prompts: Sequence[Sequence[int]]) -> Array:
        """Forget everything and read the prompts; logits (B, V) of the token after each."""
        lengths = np.array([len(prompt) for prompt in prompts])
        order: list[int] = []
        found: list[tuple[Array, State]] = []
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length).tolist()
            order += rows
            found.append(self._advance(np.array([prompts[row] for row in rows], dtype=np.int64), None))
        back = np.argsort(order).tolist()
        logits = _joined([logits for logits, _ in found])[back]
        self._state = tuple(_joined(parts)[back] for parts in zip(*(state for _, state in found)))
        return logits

    def step(self, tokens: Sequence[int]) -> Array:
        """Append one token a row; logits (B, V) of the next."""
        logits, self._state = self._advance(np.array(tokens, dtype=np.int64)[:, None], self._state)
        return logits

    def reorder(self, rows: Sequence[int]) -> None:
        """Row i becomes what row `rows[i]` was."""
        self._state = tuple(part[list(rows)] for part in self._state)


def _joined(parts: Sequence[Array]) -> Array:
    """The rows of all parts, one below the other."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch

    return torch.cat(list(parts))
