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
    stepper: Stepper, codec: TextCodec, text: str, options: Sampling, *, seed: int, context: int | None = None, slide: bool = False
) -> Iterator[Chunk]:
    """Chunks of `options.n` continuations of the text. `context` is the most tokens that the model reads; None is without end.

    With `slide`, only the end of a longer text is read, and a quarter of the context at most is left for what is asked.

    Raises:
        UsageError: the text leaves no room in the context.
    """
    prompt = codec.prompt(text)
    if context is not None and slide:
        kept = context - max(1, min(options.max_tokens, context // 4))
        prompt = prompt if len(prompt) <= kept else prompt[:1] + prompt[len(prompt) - kept + 1 :]  # the mark at the beginning stays
    if context is not None:
        room = context - len(prompt)
        if room < 1:
            raise UsageError(
                "the prompt has {tokens} tokens; this model reads {context}, and at least one is needed for the answer. "
                "Shorten the prompt, or let its beginning go with the option window=slide",
                tokens=len(prompt),
                context=context,
            )
        options = options.model_copy(update={"max_tokens": min(options.max_tokens, room), "min_tokens": min(options.min_tokens, room)})
    yield from stream(stepper, [prompt], options, end_tokens=[codec.end], seed=seed, detokenize=codec.text, spelling=codec.spelling)
