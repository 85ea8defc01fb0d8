"""Short texts in Chinese or English as bags of hashed features, so that no vocabulary is trained, shipped or outgrown.

The features are those of `text_units`: characters and their pairs, words and their letter triples. Each is hashed into a fixed number of
rows of a table (Weinberger et al., 2009), where rare collisions cost less than a list of what is known, and a name that no caption had is
still read by its parts. No torch: the light runtime reads the same rows.

Unlike `text_units.Vocabulary`, which lists what a model has learned and leaves the rest out, these rows are a rule: a scorer begins without
data, judges captions of models that it never saw, and every row of its table means the same for ever. Painters want the list, since an
unknown word should steer nothing, and since order and units matter to them; so there are both, over the same features.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from miaobi.models.common.text_units import key, units


@functools.lru_cache(maxsize=200_000)  # captions come again in every epoch
def hashed(text: str, buckets: int) -> tuple[int, ...]:
    """Rows of a table of `buckets` rows, one a feature. Row 0 stands for a text without letters and digits, and for nothing else."""
    assert buckets > 1
    return tuple(1 + key(feature) % (buckets - 1) for unit in units(text) for feature in unit) or (0,)


def bags(texts: Sequence[str], buckets: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of all texts one after another, and where each text begins (N,): what `embedding_bag` and `np.add.reduceat` take."""
    rows = [hashed(text, buckets) for text in texts]
    starts = np.cumsum([0, *map(len, rows)])[:-1].astype(np.int64)
    return np.array([row for each in rows for row in each], dtype=np.int64), starts
