"""A prompt and its continuation, over any stepper and any tokenizer."""

from __future__ import annotations

from collections.abc import Iterator

from miaobi.core.errors import UsageError
from miaobi.core.types import Chunk
from miaobi.engine.sampling.options import Sampling
from miaobi.engine.sampling.stepper import Stepper
from miaobi.engine.sampling.text import stream
from miaobi.models.common.text_codec import TextCodec


def continue_text(
    stepper: Stepper, codec: TextCodec, text: str, options: Sampling, *, seed: int, context: int | None = None
) -> Iterator[Chunk]:
    """Chunks of `options.n` continuations of the text. `context` is the most tokens that the model reads; None is without end.

    Raises:
        UsageError: the text leaves no room in the context.
    """
    prompt = codec.prompt(text)
    if context is not None:
        room = context - len(prompt)
        if room < 1:
            raise UsageError(
                "the prompt has {tokens} tokens; this model reads {context}, and at least one is needed for the answer. Shorten the prompt",
                tokens=len(prompt),
                context=context,
            )
        options = options.model_copy(update={"max_tokens": min(options.max_tokens, room), "min_tokens": min(options.min_tokens, room)})
    yield from stream(stepper, [prompt], options, end_tokens=[codec.end], seed=seed, detokenize=codec.text, spelling=codec.spelling)
