"""A prompt and its continuation, over any stepper."""

from __future__ import annotations

from collections.abc import Iterator

from miaobi.core.errors import UsageError
from miaobi.core.types import Chunk, Request
from miaobi.engine.sampling.stepper import Stepper
from miaobi.engine.sampling.text import stream
from miaobi.models.gpt.codec import TextCodec
from miaobi.models.gpt.schema import Options


def continue_prompt(stepper: Stepper, codec: TextCodec, request: Request) -> Iterator[Chunk]:
    """Chunks of `options.n` continuations.

    Raises:
        UsageError: the prompt leaves no room in the context.
    """
    options = Options.model_validate(dict(request.options))
    prompt = codec.prompt(request.prompt)
    room = codec.context - len(prompt)
    if room < 1:
        raise UsageError(
            "the prompt has {tokens} tokens; this model reads {context}, and at least one is needed for the answer. Shorten the prompt",
            tokens=len(prompt),
            context=codec.context,
        )
    options = options.model_copy(update={"max_tokens": min(options.max_tokens, room), "min_tokens": min(options.min_tokens, room)})
    yield from stream(stepper, [prompt], options, end_tokens=[codec.end], seed=request.seed, detokenize=codec.text)
