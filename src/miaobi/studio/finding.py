"""How the library page finds: by words, by meaning, by what is seen in pictures, and by a picture that others are to look like.

What looks at pictures is an image-text scorer of the pool: it computes in a process of its own, is let go when memory is short, and nobody
loads it a second time.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from miaobi.core.errors import UsageError
from miaobi.core.language import tr
from miaobi.core.shelf import Known, list_models
from miaobi.library.meaning import PictureSpace, search
from miaobi.library.store import EVERYTHING, Kept, Query
from miaobi.studio.given import picture_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from miaobi.library.meaning import Floats
    from miaobi.serve.pool import Pool
    from miaobi.studio.room import Room

How = Literal["words", "meaning", "seen"]
HOW = {"words": "by words", "meaning": "by meaning", "seen": "by what is seen"}
SCORER = "scorer"  # the family of the models that see
AT_ONCE = 8  # pictures on their way to the pool's process


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is looked for. With a picture the nearest to it come first; words then only narrow."""

    text: str = ""
    how: How = "words"
    picture: str = ""
    """As a canvas tells it: `content/ID/PART`, or a data URL."""
    query: Query = EVERYTHING


class Eyes:
    """A scorer of the pool, asked from a thread beside the server's event loop."""

    def __init__(self, pool: Pool, model: str, loop: asyncio.AbstractEventLoop) -> None:
        self.pool, self.model, self.loop = pool, model, loop

    def embed_pictures(self, pixels: Sequence[NDArray[np.uint8]], /) -> Floats:
        """Unit vectors (N, E), N > 0."""
        starts = range(0, len(pixels), AT_ONCE)
        return np.concatenate([self._asked("embed_pictures", list(pixels[start : start + AT_ONCE])) for start in starts])

    def embed_texts(self, texts: Sequence[str], /) -> Floats:
        """Unit vectors (N, E)."""
        return self._asked("embed_texts", list(texts))

    def _asked(self, method: str, values: list[Any]) -> Floats:
        return np.asarray(asyncio.run_coroutine_threadsafe(self.pool.call(self.model, method, values), self.loop).result(), np.float32)


def scorer_of(room: Room) -> Known | None:
    """The model that sees: the first of its family that this server serves."""
    served = {each.name for each in room.state.pool.models() if each.family == SCORER}
    return next((known for known in list_models() if known.name in served), None)


def found(room: Room, wanted: Wanted, limit: int, loop: asyncio.AbstractEventLoop) -> tuple[list[Kept], int | None]:
    """What fits, the best first, and how many fit in all: None where everything fits more or less.

    Raises:
        UsageError: there is nothing that could see, or what was given is no picture.
        MissingExtra: there is nothing that could compare meanings.
    """
    if wanted.picture or (wanted.how == "seen" and wanted.text.strip()):
        return _seen(room, wanted, limit, loop), None
    if wanted.how == "meaning" and wanted.text.strip():
        with room.alone:
            nearest = search(room.library, room.meaning, wanted.text, query=wanted.query, limit=limit)
        return [each.kept for each in nearest], None
    query = _narrowed(wanted)
    return room.library.find(query, limit=limit), room.library.count(query)


def _narrowed(wanted: Wanted) -> Query:
    """The query with the words in it, where they are to stand in the contents."""
    return dataclasses.replace(wanted.query, text=wanted.text) if wanted.how == "words" else wanted.query


def _seen(room: Room, wanted: Wanted, limit: int, loop: asyncio.AbstractEventLoop) -> list[Kept]:
    """The pictures that look most like a picture, or like what words say."""
    from miaobi.data.pictures import decode

    known = scorer_of(room)
    if known is None:
        raise UsageError(
            "pictures are compared by an image-text scorer, and no such model is here; `miaobi train` makes one: recipes/scorer.yaml"
        )
    space = PictureSpace(Eyes(room.state.pool, known.name, loop), known.source)
    question = space.seen(decode(picture_of(room, wanted.picture))) if wanted.picture else wanted.text
    query = _narrowed(wanted) if wanted.picture else wanted.query
    return [each.kept for each in search(room.library, space, question, query=query, limit=limit)]


def summary(count: int, total: int | None) -> str:
    """How many there are, in words."""
    return tr("the {count} nearest", count=count) if total is None else tr("{count} contents", count=total)
