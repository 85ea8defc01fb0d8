"""A prompt and its continuation, over any stepper."""

from __future__ import annotations

from collections.abc import Iterator

from miaobi.core.types import Chunk, Request
from miaobi.engine.sampling.stepper import Stepper
from miaobi.models.common.continuation import continue_text
from miaobi.models.common.text_codec import TextCodec
from miaobi.models.gpt.schema import Options


def continue_prompt(stepper: Stepper, codec: TextCodec, request: Request) -> Iterator[Chunk]:
    """Chunks of `options.n` continuations.

    Raises:
        UsageError: the prompt leaves no room in the context.
    """
    options = Options.model_validate(dict(request.options))
    yield from continue_text(
        stepper, codec, request.prompt, options, seed=request.seed, context=codec.context, slide=options.window == "slide"
    )
