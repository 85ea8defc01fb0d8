"""A picture and captions to the captions in the order of how well they fit; the same for both runtimes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import UsageError
from miaobi.core.language import tr
from miaobi.core.types import Chunk, Done, Piece, Request, Usage
from miaobi.data.pictures import Pixels
from miaobi.models.common.picture_request import picture_in
from miaobi.models.scorer.schema import Options


class Embedder(Protocol):
    """What both runtimes are."""

    @property
    def temperature(self) -> float:
        """What cosines are multiplied by to become logits."""
        ...

    def embed_pictures(self, pictures: Sequence[Pixels], /) -> NDArray[np.float32]:
        """Unit vectors (N, D) of pictures (H, W, 4)."""
        ...

    def embed_texts(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Unit vectors (N, D) of captions, Chinese or English."""
        ...


def why_nothing_of_its_own() -> str:
    """Why an evaluation has no samples of it."""
    return tr("it chooses among captions that it is given, and writes none")


def choose(model: Embedder, request: Request) -> Iterator[Chunk]:
    """The `n` best captions, one content each; the notes give cosine and probability among those that were offered.

    Raises:
        UsageError: no picture, no captions, or fewer than `n`.
    """
    options = Options.model_validate(dict(request.options))
    captions = list(dict.fromkeys([*filter(None, map(str.strip, request.prompt.splitlines())), *options.captions]))
    if len(captions) < options.n:
        raise UsageError(
            "{n} captions are wanted and {count} are offered: write them as lines of the prompt", n=options.n, count=len(captions)
        )
    picture = model.embed_pictures([picture_in(request)])[0]  # (D,)
    cosines = model.embed_texts(captions) @ picture  # (N,)
    odds = np.exp(model.temperature * (cosines - cosines.max()).astype(np.float64))
    for index, best in enumerate(np.argsort(-cosines, kind="stable")[: options.n]):
        notes: dict[str, Any] = {"cosine": round(float(cosines[best]), 4), "probability": round(float(odds[best] / odds.sum()), 4)}
        yield Piece(part=captions[best], index=index)
        yield Done(index=index, usage=Usage(prompt=len(captions), generated=1), notes=notes)
