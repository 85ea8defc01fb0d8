"""From tokens to text as it streams: no half characters, no beginnings of a stop string, and chunks for the engine.

A byte-level token may end in the middle of a character, and a stop string may begin in one token and end in the next; what could still
turn out so is held back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from miaobi.core.types import Chunk, Done, Piece, Usage
from miaobi.engine.sampling.constraint import Constraint
from miaobi.engine.sampling.options import Sampling
from miaobi.engine.sampling.stepper import Stepper
from miaobi.engine.sampling.tokens import Finished, Stop, decode

Detokenize = Callable[[Sequence[int]], str]
_BROKEN = "\ufffd"  # what a tokenizer gives for the first bytes of a character


class TextStream:
    """One row's text. `push` gives what is certain after each token, `finish` the rest."""

    def __init__(self, detokenize: Detokenize, stops: Sequence[str] = ()) -> None:
        self.stopped = False
        self._detokenize = detokenize
        self._stops = tuple(stops)
        self._tokens: list[int] = []
        self._context = 0  # tokens from here on are decoded again: some tokenizers look at the token before
        self._emitted = 0  # tokens up to here are text already
        self._held = ""

    def push(self, token: int) -> str:
        """The text that this token makes certain, often its own."""
        self._tokens.append(token)
        before = self._detokenize(self._tokens[self._context : self._emitted])
        text = self._detokenize(self._tokens[self._context :])
        if text.endswith(_BROKEN) or len(text) <= len(before):
            return ""
        self._context, self._emitted = self._emitted, len(self._tokens)
        return self._release(text[len(before) :])

    def finish(self) -> str:
        """What was held back, now that nothing follows."""
        before = self._detokenize(self._tokens[self._context : self._emitted])
        text = self._release(self._detokenize(self._tokens[self._context :])[len(before) :])
        rest, self._held = self._held, ""
        return text + ("" if self.stopped else rest)

    def _release(self, new: str) -> str:
        if self.stopped:
            return ""
        text = self._held + new
        places = [place for place in (text.find(stop) for stop in self._stops) if place >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        hold = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]


def _overlap(text: str, stop: str) -> int:
    """How many last characters of the text are the beginning of the stop string."""
    longest = min(len(text), len(stop) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)


def stop_at(stops: Sequence[str], detokenize: Detokenize) -> Stop | None:
    """The condition for `decode`: one of the stop strings is in the text of the last tokens. None when there are no stop strings."""
    if not stops:
        return None
    window = max(len(stop.encode()) for stop in stops) + 4  # a token has a byte at least; a character has up to four

    def stop_found(tokens: Sequence[int]) -> bool:
        text = detokenize(tokens[-window:])
        return any(stop in text for stop in stops)

    return stop_found


def stream(
    stepper: Stepper,
    prompts: Sequence[Sequence[int]],
    options: Sampling,
    *,
    end_tokens: Collection[int],
    seed: int,
    detokenize: Detokenize,
    constraints: Sequence[Constraint[Any] | None] | None = None,
) -> Iterator[Chunk]:
    """Generate text: `decode` with stop strings, as the chunks of `Model.generate`. Content i is row i and has the seed `seed + i`.

    Closing the iterator ends the generation.
    """
    num_rows = len(prompts) * options.n
    texts = [TextStream(detokenize, options.stop) for _ in range(num_rows)]
    events = decode(
        stepper,
        prompts,
        options,
        end_tokens=end_tokens,
        seeds=range(seed, seed + num_rows),
        constraints=constraints,
        stop=stop_at(options.stop, detokenize),
    )
    with contextlib.closing(events):
        for event in events:
            text = texts[event.row].finish() if isinstance(event, Finished) else texts[event.row].push(event.token)
            if text:
                yield Piece(part=text, index=event.row)
            if isinstance(event, Finished):
                usage = Usage(prompt=len(prompts[event.row // options.n]), generated=len(event.tokens))
                yield Done(reason=event.reason, usage=usage, index=event.row)
