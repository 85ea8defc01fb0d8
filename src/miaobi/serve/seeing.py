"""An image-text scorer of the pool as a judge of pictures: it computes in a process of its own, is let go when memory is short, and nobody
loads it a second time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from miaobi.core.errors import UsageError
from miaobi.core.shelf import list_models
from miaobi.library.meaning import PictureSpace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from miaobi.core.shelf import Known
    from miaobi.library.meaning import Floats
    from miaobi.serve.pool import Pool

SCORER = "scorer"  # the family of the models that see
AT_ONCE = 8  # pictures on their way to the pool's process


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


def scorer_of(pool: Pool) -> Known | None:
    """The model that sees: the first of its family that the pool serves, the built-in one before others."""
    served = {each.name for each in pool.models() if each.family == SCORER}
    return next((known for known in list_models() if known.name in served), None)


def space_of(pool: Pool, loop: asyncio.AbstractEventLoop) -> PictureSpace:
    """Where pictures lie by what is seen in them; to be used in a thread beside the loop.

    Raises:
        UsageError: the pool serves no model that sees.
    """
    known = scorer_of(pool)
    if known is None:
        raise UsageError("pictures are compared by an image-text scorer, and this server serves none; start it with --model scorer as well")
    return PictureSpace(Eyes(pool, known.name, loop), known.source)
