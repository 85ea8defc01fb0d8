"""A picture's prefix and a request to a caption, over any stepper: the same for both runtimes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from miaobi.core.types import Chunk, Piece, Record, Request
from miaobi.data.pictures import Pixels
from miaobi.engine.sampling.stepper import Stepper
from miaobi.engine.sampling.text import stream
from miaobi.models.caption.schema import Config, Options
from miaobi.models.caption.vocabulary import END, Vocabulary
from miaobi.models.common.captions import LANGUAGES, captions_of
from miaobi.models.common.picture_codec import picture_of
from miaobi.models.common.picture_request import picture_in


def describe(look: Callable[[Pixels], Stepper], vocabulary: Vocabulary, config: Config, request: Request) -> Iterator[Chunk]:
    """Chunks of `options.n` captions. `look` gives a stepper whose rows begin with the picture.

    Raises:
        UsageError: the request has no picture.
        DataError: it cannot be read.
    """
    options = Options.model_validate(dict(request.options))
    stepper = look(picture_in(request))
    begun = vocabulary.encode(request.prompt)[: config.length - 2]
    room = config.length - len(begun)
    options = options.model_copy(update={"max_tokens": min(options.max_tokens, room), "min_tokens": min(options.min_tokens, room)})
    if begun:
        yield from (Piece(part=vocabulary.decode(begun), index=index) for index in range(options.n))
    prompt = [vocabulary.begin(options.language), *begun]
    yield from stream(
        stepper,
        [prompt],
        options,
        end_tokens=[END],
        seed=request.seed,
        detokenize=vocabulary.decode,
        spelling=vocabulary.spelling,
    )


def request_for(record: Record) -> Request | None:
    """What a person would have asked to get the record's caption: the picture, and the first language that it has one in."""
    language = next((language for language in LANGUAGES if captions_of(record, language)), None)
    return Request.of(replace(picture_of(record), name="image"), language=language) if language else None
