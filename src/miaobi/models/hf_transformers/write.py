"""An answer of an open model, over any stepper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from miaobi.core.errors import UsageError
from miaobi.core.types import Chunk, Request
from miaobi.engine.sampling.stepper import Stepper
from miaobi.engine.sampling.text import stream
from miaobi.models.hf_transformers.codec import OpenCodec
from miaobi.models.hf_transformers.schema import Options


def answer(stepper: Stepper, codec: OpenCodec, request: Request, *, prompt: Sequence[int] = ()) -> Iterator[Chunk]:
    """Chunks of `options.n` answers. `prompt` is what they begin with, where that is not what the request says.

    Raises:
        UsageError: the conversation leaves no room in the context.
    """
    options = Options.model_validate(dict(request.options))
    prompt = list(prompt) or codec.request(request, options)
    room = codec.reads - len(prompt)
    if room < 1:
        raise UsageError(
            "the prompt has {tokens} tokens; this model reads {context}, and at least one is needed for the answer. Shorten the prompt, "
            "or let its beginning go with the option window=slide",
            tokens=len(prompt),
            context=codec.reads,
        )
    options = options.model_copy(update={"max_tokens": min(options.max_tokens, room), "min_tokens": min(options.min_tokens, room)})
    yield from stream(stepper, [prompt], options, end_tokens=codec.ends, seed=request.seed, detokenize=codec.text, spelling=codec.spelling)
