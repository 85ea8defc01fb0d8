"""Masked language models: gaps in a text are filled, the surest first, and a text is scored by what each of its tokens costs in a gap.

Filling is iterative unmasking (Ghazvininejad et al., 2019, "Mask-Predict", arXiv:1904.09324; Chang et al., 2022, MaskGIT): a prompt without
a gap gets `max_tokens` of them behind it. Scoring is pseudo-likelihood (Salazar et al., 2020, arXiv:1910.14659). Shapes: T tokens, V
vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from miaobi.core.errors import UsageError
from miaobi.core.types import Chunk, Done, Piece, Progress, Request, Usage
from miaobi.engine.sampling import choice, processors
from miaobi.models.hf_transformers.codec import OpenCodec
from miaobi.models.hf_transformers.schema import Options

MASKS = ("[MASK]", "<mask>")  # what people write for a gap, whatever the model calls it
TOGETHER = 32  # gapped copies of a text that are scored at once


def fill(network: Any, codec: OpenCodec, request: Request) -> Iterator[Chunk]:
    """The prompt with its gaps filled, `options.n` times.

    Raises:
        UsageError: several turns or tools, or more tokens than the model reads.
    """
    options = Options.model_validate(dict(request.options))
    if options.tools or len(request.turns) > 1:
        raise UsageError("a model that fills gaps takes one text, no conversation and no tools")
    mask = _mask(codec)
    ids, gaps = _gapped(codec, request.prompt, options.max_tokens, mask)
    if len(ids) > codec.reads:
        raise UsageError(
            "the text has {tokens} tokens with its gaps; this model reads {context}. Shorten it", tokens=len(ids), context=codec.reads
        )
    banned = torch.tensor([number for number in codec.silent if number < network.config.vocab_size])
    for index in range(options.n):
        rng = np.random.default_rng(request.seed + index)
        filled, open_gaps = list(ids), list(gaps)
        while open_gaps:
            logits = _logits(network, [filled])[0][open_gaps]  # (gaps, V)
            logits[:, banned] = -math.inf
            place, token = _surest(logits, options, rng)
            filled[open_gaps.pop(place)] = token
            yield Progress(step=len(gaps) - len(open_gaps), total=len(gaps), index=index)
        yield Piece(part=codec.text(filled), index=index)
        yield Done(usage=Usage(prompt=len(ids) - len(gaps), generated=len(gaps)), index=index)


def bits(network: Any, codec: OpenCodec, text: str) -> tuple[float, int]:
    """-log2 of the pseudo-likelihood of a text, and its tokens; long ones in stretches."""
    mask, total, count = _mask(codec), 0.0, 0
    body = codec.ids(text)
    head, tail = _around(codec)
    room = max(1, min(codec.reads, 512) - len(head) - len(tail))
    for start in range(0, len(body), room):
        piece = [*head, *body[start : start + room], *tail]
        places = range(len(head), len(piece) - len(tail))
        for first in range(0, len(places), TOGETHER):
            now = places[first : first + TOGETHER]
            rows = [[mask if place == gap else token for place, token in enumerate(piece)] for gap in now]
            logs = torch.log_softmax(_logits(network, rows), dim=-1)
            total -= sum(float(logs[row, gap, piece[gap]]) for row, gap in enumerate(now)) / math.log(2)
            count += len(now)
    return total, count


@torch.inference_mode()
def _logits(network: Any, rows: Sequence[Sequence[int]]) -> Tensor:
    """Logits (rows, T, V) of every place."""
    found: Tensor = network(input_ids=torch.tensor([list(row) for row in rows], device=network.device)).logits
    return found.float().cpu()


def _surest(logits: Tensor, options: Options, rng: np.random.Generator) -> tuple[int, int]:
    """Which gap is filled next, and with what: the likeliest token of the surest gap, or one drawn there."""
    place = int(torch.log_softmax(logits, dim=-1).max(dim=-1).values.argmax())
    row = logits[place : place + 1].numpy()
    row = processors.process(row, [[]], [[]], options, end_tokens=frozenset())
    token = choice.draw(row, options, [rng.random()])[0] if options.temperature > 0 else choice.likeliest(row)[0]
    return place, int(token)


def _gapped(codec: OpenCodec, text: str, count: int, mask: int) -> tuple[list[int], list[int]]:
    """The ids of the text, and where its gaps are; without one it is gone on with."""
    head, tail = _around(codec)
    name = next((name for name in MASKS if name in text), None)
    pieces = text.split(name) if name else [text, ""]
    body = codec.ids(pieces[0])
    for piece in pieces[1:]:
        body += [mask] * (1 if name else count) + codec.ids(piece)
    ids = [*head, *body, *tail]
    return ids, [place for place, token in enumerate(ids) if token == mask]


def _around(codec: OpenCodec) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and behind a text."""
    whole, plain = codec.whole("a"), codec.ids("a")
    start = next((place for place in range(len(whole)) if whole[place : place + len(plain)] == plain), 0)
    return whole[:start], whole[start + len(plain) :]


def _mask(codec: OpenCodec) -> int:
    for name in MASKS:
        number = codec.number(name)
        if number is not None:
            return number
    raise UsageError("the tokenizer has no mark for a gap: neither {names}", names=", ".join(MASKS))
