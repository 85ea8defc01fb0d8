"""From tokens to text as it streams: no half characters, no beginnings of a stop string, and chunks for the engine.

A byte-level token may end in the middle of a character, and a stop string may begin in one token and end in the next; what could still
turn out so is held back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from miaobi.core.errors import UsageError
from miaobi.core.types import Chunk, Done, Piece, TokenLogprob, Usage
from miaobi.engine.sampling.constraint import All, Constraint
from miaobi.engine.sampling.grammar import Grammar, grammar_of
from miaobi.engine.sampling.options import Sampling
from miaobi.engine.sampling.spelling import Spelling
from miaobi.engine.sampling.stepper import Stepper
from miaobi.engine.sampling.tokens import Finished, Stop, Token, decode

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
    spelling: Callable[[], Spelling] | None = None,
    constraints: Sequence[Constraint[Any] | None] | None = None,
) -> Iterator[Chunk]:
    """Generate text: `decode` with stop strings, as the chunks of `Model.generate`. Content i is row i and has the seed `seed + i`.

    `spelling` gives the bytes of the vocabulary, when they are needed: for a schema, an expression, or log-probabilities. Closing the
    iterator ends the generation.

    Raises:
        UsageError: a schema or an expression that cannot be followed.
    """
    num_rows = len(prompts) * options.n
    texts = [TextStream(detokenize, options.stop) for _ in range(num_rows)]
    told = None if options.logprobs is None else [Told(spelling, detokenize) for _ in range(num_rows)]
    events = decode(
        stepper,
        prompts,
        options,
        end_tokens=end_tokens,
        seeds=range(seed, seed + num_rows),
        constraints=_joined(constraints, follow(options, spelling, size=stepper.vocab_size, end_tokens=end_tokens), num_rows),
        stop=stop_at(options.stop, detokenize),
        alternatives=options.logprobs or 0,
        draft=options.draft,
    )
    with contextlib.closing(events):
        for event in events:
            if told is not None and isinstance(event, Token):
                told[event.row].push(event)
            text = texts[event.row].finish() if isinstance(event, Finished) else texts[event.row].push(event.token)
            if text:
                yield Piece(part=text, index=event.row, logprobs=told[event.row].take() if told is not None else ())
            if isinstance(event, Finished):
                usage = Usage(prompt=len(prompts[event.row // options.n]), generated=len(event.tokens))
                yield Done(reason=event.reason, usage=usage, index=event.row)


def follow(options: Sampling, spelling: Callable[[], Spelling] | None, *, size: int, end_tokens: Collection[int]) -> Grammar | None:
    """The constraint of `json_schema` or `regex`; None when neither is asked for.

    Raises:
        UsageError: it cannot be followed, or not by this kind of model.
    """
    if options.json_schema is None and not options.regex:
        return None
    if spelling is None:
        raise UsageError("this kind of model follows no schema and no regular expression: nobody knows how its tokens are spelled")
    return grammar_of(options, spelling(), size=size, end_tokens=end_tokens)


def _joined(
    constraints: Sequence[Constraint[Any] | None] | None, grammar: Grammar | None, num_rows: int
) -> Sequence[Constraint[Any] | None] | None:
    """Both rules for each row that has two."""
    if grammar is None:
        return constraints
    return [grammar if rule is None else All([rule, grammar]) for rule in constraints or [None] * num_rows]


class Told:
    """The log-probabilities of tokens whose text is not certain yet."""

    def __init__(self, spelling: Callable[[], Spelling] | None, detokenize: Detokenize) -> None:
        self._spelling = spelling() if spelling is not None else None
        self._detokenize = detokenize
        self._waiting: list[TokenLogprob] = []

    def push(self, event: Token) -> None:
        """One more token."""
        top = tuple(self._named(token, logprob) for token, logprob in event.top)
        self._waiting.append(self._named(event.token, event.logprob, top))

    def take(self) -> tuple[TokenLogprob, ...]:
        """Those of the text that leaves now. What a stop string takes back never leaves."""
        taken, self._waiting = tuple(self._waiting), []
        return taken

    def _named(self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        if self._spelling is None:
            text = self._detokenize([token])
            return TokenLogprob(token=text, bytes=text.encode("utf-8", "replace"), logprob=logprob, top=top)
        return TokenLogprob(token=self._spelling.name(token), bytes=self._spelling.bytes_of(token), logprob=logprob, top=top)
