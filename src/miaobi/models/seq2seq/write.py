"""A text from the prompt, over anything that takes one step of the decoder: torch's network or an exported graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from miaobi.core.errors import UsageError
from miaobi.core.types import Chunk, Request
from miaobi.engine.sampling.text import stream
from miaobi.models.seq2seq.codec import PairCodec
from miaobi.models.seq2seq.schema import Options

Array = Any  # numpy's, or torch's: both are indexed alike
Advance = Callable[[Array, Array, Array], tuple[Array, Array]]  # tokens (B, 1), past, cross: logits (B, V), the longer past


def write(advance: Advance, look: Callable[[Sequence[int]], tuple[Array, Array]], codec: PairCodec, request: Request) -> Iterator[Chunk]:
    """Chunks of `options.n` texts. `look` reads a row of ids: the decoder's empty past, and what it sees of the text.

    Raises:
        UsageError: the prompt is longer than what the model reads.
    """
    options = Options.model_validate(dict(request.options))
    ids = codec.tokens.ids(request.prompt)
    if len(ids) > codec.config.context - 1:
        raise UsageError(
            "the prompt has {tokens} tokens; this model reads {context}. Shorten the prompt",
            tokens=len(ids),
            context=codec.config.context - 1,
        )
    stepper = WriteStepper(advance, *look(codec.read(request.prompt)), vocab_size=codec.tokens.vocab_size)
    limits = {name: min(getattr(options, name), codec.config.context) for name in ("max_tokens", "min_tokens")}
    yield from stream(
        stepper,
        [[codec.tokens.begin]],
        options.model_copy(update=limits),
        end_tokens=[codec.tokens.end],
        seed=request.seed,
        detokenize=codec.tokens.text,
        spelling=codec.tokens.spelling,
    )


class WriteStepper:
    """Rows of what one text is answered with, as a `Stepper`; what they look at is the same for all and stored once."""

    def __init__(self, advance: Advance, past: Array, cross: Array, *, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self._advance, self._empty, self._cross = advance, past, cross
        self._past = past

    def start(self, prompts: Sequence[Sequence[int]]) -> Array:
        """Forget everything; all prompts are of one length, the mark of the beginning."""
        self._past = self._empty[[0] * len(prompts)]
        for place in range(len(prompts[0])):
            logits = self.step([prompt[place] for prompt in prompts])
        return logits

    def step(self, tokens: Sequence[int]) -> Array:
        """Append one token a row; logits (B, V) of the next."""
        logits, self._past = self._advance(np.array(tokens, dtype=np.int64)[:, None], self._past, self._cross)
        return logits

    def reorder(self, rows: Sequence[int]) -> None:
        """Row i becomes what row `rows[i]` was."""
        self._past = self._past[list(rows)]
