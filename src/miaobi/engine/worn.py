"""Pictures as lossy compression leaves them: made smaller and large again, and through JPEG, each by its own chance.

A classifier of styles that learned on clean pictures alone calls real ones that went through a latent codec no style at all (a little
softness is farther from what it knows than another style is). One that learned on worn pictures as well judges how a thing is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from miaobi.data.pictures import decode, encode, over

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

SHRINK = (0.45, 0.95)  # of the sides
QUALITY = (15, 70)  # of JPEG


def wear(pixels: NDArray[np.uint8], rng: Generator) -> NDArray[np.uint8]:
    """The picture (H, W, 4) on white, of the same size, with details lost."""
    from PIL import Image

    flat = Image.fromarray(over(pixels))
    share = rng.uniform(*SHRINK)
    small = flat.resize((max(1, round(flat.width * share)), max(1, round(flat.height * share))), Image.Resampling.BOX)
    soft = small.resize(flat.size, Image.Resampling.BILINEAR)
    return decode(encode(np.asarray(soft), "image/jpeg", quality=int(rng.integers(*QUALITY))))
