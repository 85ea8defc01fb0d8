"""What a request for a picture holds: pictures that it starts from, and the class that its prompt names."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.random import Generator

from miaobi.core.errors import UsageError, unknown
from miaobi.core.types import Media, Modality, Request
from miaobi.data.pictures import Pixels, decode


def pictures_in(request: Request, name: str = "image") -> list[Pixels]:
    """The pictures of that name in the request; nameless ones count as `image`.

    Raises:
        DataError: one of them cannot be read.
    """
    media = [part for turn in request.turns for part in turn.parts if isinstance(part, Media) and part.modality is Modality.IMAGE]
    return [decode(part.data) for part in media if (part.name or "image") == name]


def picture_in(request: Request, name: str = "image") -> Pixels:
    """The last picture of that name, where there has to be one.

    Raises:
        UsageError: there is none.
        DataError: it cannot be read.
    """
    found = pictures_in(request, name)
    if not found:
        raise UsageError("the request has no picture '{name}', which this model looks at", name=name)
    return found[-1]


def class_number(request: Request, classes: Sequence[str], rng: Generator) -> int | None:
    """The class that the prompt names, one drawn from `rng` when the prompt is empty; None for a model without classes.

    Raises:
        UsageError: there is no such class, or a prompt for a model without classes.
    """
    prompt = request.prompt.strip()
    if not classes:
        if prompt:
            raise UsageError("this model reads no words, it learned from pictures alone; leave the prompt empty")
        return None
    if not prompt:
        return int(rng.integers(len(classes)))
    if prompt not in classes:
        raise unknown("class", prompt, classes)
    return classes.index(prompt)
