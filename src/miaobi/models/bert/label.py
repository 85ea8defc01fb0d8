"""What a classifier or a tagger says of a text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import UsageError
from miaobi.core.types import Chunk, Done, Piece, Record, Request, Usage
from miaobi.models.bert.codec import MaskCodec
from miaobi.models.bert.fill import Predict
from miaobi.models.bert.schema import Options


def classify(predict: Predict, codec: MaskCodec, request: Request) -> Iterator[Chunk]:
    """The `n` likeliest classes, the likeliest first; the notes of its end hold each one's probability, and how many tokens went unread.

    Raises:
        UsageError: more classes are asked for than there are.
    """
    count = Options.model_validate(dict(request.options)).n
    if count > len(codec.labels):
        raise UsageError("there are {known} classes; {count} cannot be named", known=len(codec.labels), count=count)
    read = codec.cut(request.prompt)
    unread = len(codec.ids(request.prompt)) - codec.room
    probabilities = chances(predict, codec, read)
    for index, label in enumerate(np.argsort(-probabilities, kind="stable")[:count]):
        yield Piece(part=codec.labels[label], index=index)
        notes = {"probability": round(float(probabilities[label]), 4)} | ({"unread": unread} if unread > 0 else {})
        yield Done(usage=Usage(prompt=len(read), generated=1), index=index, notes=notes)


def chances(predict: Predict, codec: MaskCodec, ids: list[int]) -> NDArray[np.float64]:
    """The probability (C,) of each class of a row."""
    tokens, real = codec.padded([ids])
    found: NDArray[np.float64] = softmax(predict(tokens, real, real))[0]
    return found


def tag(predict: Predict, codec: MaskCodec, request: Request) -> Iterator[Chunk]:
    """A line for each token: the token, a tab, its likeliest tag. A long text is read stretch by stretch."""
    ids = codec.tokens.ids(request.prompt)
    labels: list[str] = []
    for window in filter(None, codec.windows(ids)):
        tokens, real = codec.padded([codec.row(window)])
        wanted = real.copy()
        wanted[:, [0, -1]] = False  # the marks carry no tag
        labels += [codec.labels[place] for place in predict(tokens, real, wanted).argmax(axis=-1)]
    for index in range(Options.model_validate(dict(request.options)).n):
        if labels:
            yield Piece(part=lines(codec, ids, labels), index=index)
        yield Done(usage=Usage(prompt=len(ids), generated=len(labels)), index=index)


def lines(codec: MaskCodec, ids: list[int], labels: list[str]) -> str:
    """Tokens and tags as `tag` writes them; of the tokens' white space nothing is left."""
    return "\n".join(f"{codec.tokens.text([token]).strip()}\t{label}" for token, label in zip(ids, labels))


def expected(codec: MaskCodec, record: Record) -> str:
    """What should be said of a record."""
    if codec.config.task == "classify":
        return str(record.meta.get(codec.config.field, ""))
    return lines(codec, codec.tokens.ids(record.text), codec.tags(record))


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities along the last axis."""
    shares = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    total: NDArray[np.float64] = shares / shares.sum(axis=-1, keepdims=True)
    return total
