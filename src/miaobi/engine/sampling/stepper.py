"""What can be decoded from: anything that gives logits for the next token of several rows at once, and can keep, drop and copy rows.

A stepper owns its state (a key-value cache, the last characters of an n-gram), the decoding loop owns everything else. So one loop
serves a numpy n-gram, an ONNX graph and a torch model on a GPU.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol, runtime_checkable

Array = Any  # a numpy array or a torch tensor: the array API has no nominal type


@runtime_checkable
class Stepper(Protocol):
    """B rows that grow by one token a step; V is `vocab_size`.

    Logits are unnormalised natural-log scores, floating point, numpy or torch, always finite or -inf. The loop never writes into them,
    so a stepper may hand out a buffer that its next `step` overwrites. A stepper with a longest context says so in its family: the
    family lowers `max_tokens` before it calls `decode`.
    """

    vocab_size: int

    def start(self, prompts: Sequence[Sequence[int]]) -> Array:
        """Forget everything, read B prompts (each of at least one token, of unequal lengths) and return logits (B, V) for what follows."""
        ...

    def step(self, tokens: Sequence[int]) -> Array:
        """Append one token to every row, in row order; returns logits (B, V) for what follows."""
        ...

    def reorder(self, rows: Sequence[int]) -> None:
        """Row i becomes a copy of the former row `rows[i]`: B may shrink (rows that finished) or grow (copies of a prompt)."""
        ...


class Kept(Protocol):
    """What a stepper has read of a text, on its own: it outlives the row that it was copied from, and never changes."""

    @property
    def num_bytes(self) -> int:
        """The memory that it takes."""
        ...


@runtime_checkable
class Joinable(Stepper, Protocol):
    """A stepper whose batch others may join and leave while it is under way, so that many requests compute together.

    Rows have lengths of their own, and no row's numbers depend on another's (`engine.sampling.shared`).
    """

    context: int
    column_bytes: int  # of memory that one token of one row takes

    @property
    def weights(self) -> Hashable:
        """Steppers with equal ones compute the same, so that their requests may share one; None: this one must stay alone."""
        ...

    def fresh(self) -> Joinable:
        """Another stepper on the same weights, without a row."""
        ...

    def join(self, prompts: Sequence[Sequence[int]]) -> Array:
        """Add a row behind the others for each prompt; returns their logits (prompts, V)."""
        ...

    def restore(self, kept: Any, length: int) -> None:
        """Add a row that has read the first `length` tokens of what a stepper of these weights kept."""
        ...

    def extend(self, row: int, tokens: Sequence[int]) -> Array:
        """Append several tokens to one row; returns its logits (1, V)."""
        ...

    def step_some(self, tokens: Sequence[int | None]) -> Array:
        """`step`, in which rows with None stay as they are; their logits mean nothing."""
        ...

    def keep(self, row: int) -> Kept:
        """What this row has read."""
        ...
