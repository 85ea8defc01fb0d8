"""What an evaluation asks of a model: the requests that held-out records would have answered, and the contents that come back.

A picture with captions in two languages is asked for in both, one request beside the other, so that the languages are compared on the same
pictures; the record that a sample then refers to has the captions of its own language only.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import MiaobiError
from miaobi.core.protocols import Model, Score
from miaobi.core.recipe import Generate
from miaobi.core.types import Media, Options, Record, Request, Turn
from miaobi.engine.generate import collect
from miaobi.engine.metrics import Sample
from miaobi.trust import safety

BATCH = 16  # so many contents of one prompt are asked for at once


@runtime_checkable
class Prompter(Protocol):
    """A model that knows what request a real record would have answered (its title, its form; its caption, its style)."""

    def request_for(self, record: Record, /) -> Request | None:
        """The request, without a seed; None when the model could not be asked for such a record."""
        ...


@runtime_checkable
class Reader(Protocol):
    """A model whose contents hold less (or more) than a record's text."""

    def text_of(self, record: Record, /) -> str:
        """The stretch of the record that a generated content corresponds to."""
        ...


@runtime_checkable
class Reconstructor(Protocol):
    """A model that puts a picture into few numbers and makes the picture of them again."""

    def reconstruct(self, pixels: Sequence[NDArray[np.uint8]], /) -> Sequence[NDArray[np.uint8]]:
        """Of each picture (H, W, 4) what the model makes of it, in the model's own size."""
        ...


@runtime_checkable
class PseudoScorer(Protocol):
    """A model that tells each token of a text from all the others."""

    def pseudo_score(self, records: Sequence[Record], /) -> Iterator[Score]:
        """One score for each record, in order; their bits are no likelihood."""
        ...


@runtime_checkable
class Qualified(Protocol):
    """A model whose bits are not plainly -log2 p of a text: reports say so beside them."""

    likelihood: str
    """`bound`: the text takes at most so many; `given`: so many for who knows the text that the model reads."""


@runtime_checkable
class Abstainer(Protocol):
    """A model of a kind that makes things, which may have been made so that it cannot: the latent codec of another model."""

    def abstains(self) -> str:
        """Why it makes nothing of its own; empty where it does."""
        ...


def draw(records: Sequence[Record], count: int, *, seed: int) -> list[Record]:
    """At most `count` records, drawn at random and kept in their order.

    Raises:
        MiaobiError: there are none.
    """
    if not len(records):
        raise MiaobiError("there are no held-out records to evaluate on. Give the recipe a split, e.g. --set data.split.val=0.02")
    chosen = sorted(random.Random(seed).sample(range(len(records)), min(count, len(records))))
    return [records[index] for index in chosen]


def sample(model: Model, requests: Iterable[tuple[Request, Record | None]]) -> Iterator[Sample | None]:
    """Generate what is asked, as a user would get it; None stands for a content that the word list held back."""
    words = safety.load()
    for request, reference in requests:
        wanted = int(request.options["n"])
        try:
            contents = collect(model, request, words=words)
        except safety.Refused:
            contents = []
        yield from (Sample(content=content, reference=reference) for content in contents)
        yield from [None] * (wanted - len(contents))


def requests_for(
    model: Model, records: Sequence[Record], recipe: Generate, *, count: int, seed: int = 0, change: Options | None = None
) -> list[tuple[Request, Record | None]]:
    """Requests for `count` contents: one for each held-out record where the model knows how to ask, else the recipe's prompts in turn.

    The recipe's options are the default, the record's come before them, and `change` comes last. Seeds differ from request to request.
    """
    asked: list[tuple[Request, Record | None, int]] = []
    if isinstance(model, Prompter):
        shuffled = random.Random(seed).sample(list(records), len(records))  # a split begins with its first source
        pairs = ((model.request_for(version), version) for record in shuffled for version in in_each_language(record))
        asked = list(islice(((request, record, 1) for request, record in pairs if request is not None), count))
    if not asked:
        prompts = recipe.prompts or [""]
        sizes = [min(BATCH, count - start) for start in range(0, count, BATCH)]
        asked = [(Request.of(prompts[index % len(prompts)]), None, size) for index, size in enumerate(sizes)]
    return [
        (
            Request(
                turns=request.turns, options={**recipe.options, **request.options, **(change or {}), "n": n}, seed=seed + BATCH * index
            ),
            record,
        )
        for index, (request, record, n) in enumerate(asked)
    ]


def asked_in(record: Record) -> Request | None:
    """What a record asks: the prompt of a preference, or what a conversation says before its last answer; None of a plain text."""
    prompt = record.meta.get("prompt")
    turns: list[dict[str, Any]] = prompt if isinstance(prompt, list) else spoken_before(record)
    if not turns:
        return None
    said = tuple(Turn(role=turn["role"], parts=(turn["content"],)) for turn in turns)
    return Request(turns=said, options=dict(record.meta.get("options") or {}))


def spoken_before(record: Record) -> list[dict[str, Any]]:
    """The turns of a conversation before its last answer; none of a plain text."""
    messages = record.meta.get("messages") or []
    last = max((place for place, message in enumerate(messages) if message["role"] == "assistant"), default=0)
    return list(messages[:last])


def in_each_language(record: Record) -> list[Record]:
    """A picture's record once for each language of its captions, without the others; any other record as it is."""
    captions = record.meta.get("caption")
    if not isinstance(captions, dict) or len(captions) < 2:
        return [record]
    return [replace(record, meta={**record.meta, "caption": {language: captions[language]}}) for language in captions]


def as_record(made: Sample, number: int, *, by: str = "") -> Record:
    """A generated picture with what it was asked for, and no more: a caption or a class that stood in the prompt, a style.

    `by` is a field of the held-out record's meta that is kept as well.
    """
    label, real = made.content.label, made.reference.meta if made.reference else {}
    meta = {key: real[key] for key in ("concept", "class") if key in real and label.prompt}
    meta |= {by: real[by]} if by in real else {}
    if by != "class" and meta.get("class") != label.prompt:
        meta.pop("class", None)
    captions = {language: [label.prompt] for language in real.get("caption", {}) if label.prompt in _texts(real["caption"][language])}
    style = str(label.options.get("style") or "")
    meta |= {"caption": captions} if captions else {}
    meta |= {"style": style} if style else {}
    return Record(id=f"{number}", parts=tuple(part for part in made.content.parts if isinstance(part, Media)), meta=meta)


def _texts(captions: str | Sequence[str]) -> Sequence[str]:
    return [captions] if isinstance(captions, str) else captions
