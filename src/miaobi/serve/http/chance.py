"""What an answer has although nobody asked for it: an id, the second in which it was made, a seed.

They come from chance and the clock. In a batch they follow from the job and the line (`FIXED`): a line that is asked again, because the
process that answered it was killed, gets the same answer to the last byte.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import secrets
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from miaobi.serve.pool import Ask

ID_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """What one line of a job draws: `name` is no other line's, `created` is when the job was put in line, in ISO 8601."""

    name: str
    created: str
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def draw(self) -> bytes:
        """The next 32 bytes."""
        return hashlib.sha256(f"{self.name}/{next(self.numbers)}".encode()).digest()


FIXED: ContextVar[Fixed | None] = ContextVar("fixed", default=None)


def new_id(prefix: str = "") -> str:
    """An id that nobody guesses."""
    fixed = FIXED.get()
    return prefix + (secrets.token_bytes(ID_BYTES) if fixed is None else fixed.draw()[:ID_BYTES]).hex()


def now() -> int:
    """Seconds since 1970."""
    fixed = FIXED.get()
    return int(time.time() if fixed is None else datetime.fromisoformat(fixed.created).timestamp())


def settled(ask: Ask) -> Ask:
    """The request as its line of a job has it: with a time and, where none was given, a seed. Else as it is, and the pool draws."""
    fixed = FIXED.get()
    if fixed is None:
        return ask
    seed = int.from_bytes(fixed.draw()[:4], "big") >> 1 if ask.seed is None else ask.seed
    return dataclasses.replace(ask, seed=seed, created=fixed.created)
