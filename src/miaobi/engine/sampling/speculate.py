"""Guessing ahead without a second model: what followed the same tokens before, in the prompt or the text, is checked in one pass.

Prompt lookup (Saxena, 2023, https://github.com/apoorvumang/prompt-lookup-decoding). Unlike in Leviathan et al. (2023, arXiv:2211.17192) no
guess is accepted by chance: one counts only if it is the very token that the row draws at its place, with the random number that it would
have drawn with anyway. So the text is the same with and without guesses, at every temperature and under every constraint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeGuard, runtime_checkable

from miaobi.engine.sampling.stepper import Array, Stepper

SIZES = (4, 3, 2)  # tokens that have to agree, the most first: one alone agrees too often by chance


@runtime_checkable
class Verifier(Stepper, Protocol):
    """A stepper that reads several tokens of its only row at once, tells what follows each, and can forget the last ones."""

    looks_ahead: bool  # whether the weights, as they are stored, let it tell that

    def verify(self, tokens: Sequence[int]) -> Array:
        """Append T tokens to the only row; returns logits (T, V), one for what follows each."""
        ...

    def forget(self, count: int) -> None:
        """Take the last tokens of the only row back."""
        ...


class Lookup:
    """A text as it grows, and where in it each short run of tokens was last followed by something."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        for token in tokens:
            self.push(token)

    def push(self, token: int) -> None:
        """The next token of the text."""
        for size in SIZES:
            if len(self.tokens) >= size:
                self._after[tuple(self.tokens[-size:])] = len(self.tokens)
        self.tokens.append(token)

    def guess(self, most: int) -> list[int]:
        """What may come next: what came after the last tokens the last time that they stood together. At most so many."""
        for size in SIZES:
            place = self._after.get(tuple(self.tokens[-size:]))
            if place is not None:
                return self.tokens[place : place + max(0, most)]
        return []


def can_verify(stepper: Stepper) -> TypeGuard[Verifier]:
    """Whether guesses may be put to it."""
    return isinstance(stepper, Verifier) and stepper.looks_ahead
