"""What was read of texts, kept for requests that begin alike: a system's instructions, the turns so far of a conversation.

The least recently used goes first. A lookup compares with every entry: there are tens of them, and a step costs more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from miaobi.engine.sampling.stepper import Kept

SHORTEST = 32  # tokens; to read fewer again is quicker than to look for them


class PrefixCache:
    """Token sequences with what a stepper knows after them, up to so many bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes, self.num_bytes = limit_bytes, 0
        self._entries: OrderedDict[tuple[int, ...], Kept] = OrderedDict()

    def find(self, tokens: Sequence[int]) -> tuple[Kept, int] | None:
        """The entry that shares the longest beginning with the tokens, and its length, which leaves at least one token to read."""
        best, length = None, SHORTEST - 1
        for entry in self._entries:
            common = _common(entry, tokens)
            if common > length:
                best, length = entry, common
        if best is None:
            return None
        self._entries.move_to_end(best)
        return self._entries[best], min(length, len(tokens) - 1)

    def wants(self, tokens: Sequence[int]) -> bool:
        """Whether these are worth keeping: long enough, and not known already."""
        if len(tokens) < SHORTEST or not self.limit_bytes:
            return False
        return not any(_common(entry, tokens) == len(tokens) for entry in self._entries)

    def add(self, tokens: Sequence[int], kept: Kept) -> None:
        """Keep it, and let go what it contains and what there is no room for."""
        whole = tuple(tokens)
        for entry in [entry for entry in self._entries if whole[: len(entry)] == entry]:
            self._drop(entry)
        self._entries[whole] = kept
        self.num_bytes += kept.num_bytes
        while self.num_bytes > self.limit_bytes:
            self._drop(next(iter(self._entries)))

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, entry: tuple[int, ...]) -> None:
        self.num_bytes -= self._entries.pop(entry).num_bytes


def _common(entry: Sequence[int], tokens: Sequence[int]) -> int:
    """How many first tokens are the same."""
    most = min(len(entry), len(tokens))
    return next((place for place in range(most) if entry[place] != tokens[place]), most)
