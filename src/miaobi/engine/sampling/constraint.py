"""Constraints on decoding as pure automata: a state says which tokens may follow, and a token leads to the next state.

States are immutable values, so beams share them and a rejected continuation costs nothing to forget.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

S = TypeVar("S")


class Constraint(Protocol[S]):
    """What may be generated in one row. The prompt is not seen: `start` is the state before the first generated token.

    A constraint that can end must allow an end token in its final states; one that allows nothing stops the decoding with an error.
    """

    def start(self) -> S:
        """The state before the first generated token."""
        ...

    def allowed(self, state: S) -> NDArray[np.bool_] | None:
        """Which tokens may come next, shape (V,); None allows all. The array is read, never written, so it may be shared."""
        ...

    def advance(self, state: S, token: int) -> S:
        """The state after `token`, which `allowed` had allowed (or was an end token)."""
        ...


class All:
    """Several constraints at once: a token must be allowed by each. The state is the tuple of their states."""

    def __init__(self, constraints: Sequence[Constraint[Any]]) -> None:
        self._constraints = tuple(constraints)

    def start(self) -> tuple[Any, ...]:
        return tuple(constraint.start() for constraint in self._constraints)

    def allowed(self, state: tuple[Any, ...]) -> NDArray[np.bool_] | None:
        result: NDArray[np.bool_] | None = None
        for constraint, inner in zip(self._constraints, state):
            mask = constraint.allowed(inner)
            if mask is not None:
                result = mask if result is None else result & mask
        return result

    def advance(self, state: tuple[Any, ...], token: int) -> tuple[Any, ...]:
        return tuple(constraint.advance(inner, token) for constraint, inner in zip(self._constraints, state))


class OneOf:
    """Exactly one of the given token sequences, then an end token. The state is what was generated so far."""

    def __init__(self, sequences: Sequence[Sequence[int]], *, vocab_size: int, end_token: int) -> None:
        import numpy as np

        self._masks: dict[tuple[int, ...], NDArray[np.bool_]] = {}
        for sequence in sequences:
            for length, token in enumerate([*sequence, end_token]):
                mask = self._masks.setdefault(tuple(sequence[:length]), np.zeros(vocab_size, dtype=bool))
                mask[token] = True

    def start(self) -> tuple[int, ...]:
        return ()

    def allowed(self, state: tuple[int, ...]) -> NDArray[np.bool_] | None:
        return self._masks[state]

    def advance(self, state: tuple[int, ...], token: int) -> tuple[int, ...]:
        return (*state, token)
