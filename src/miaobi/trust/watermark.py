"""An invisible mark in a picture's pixels: 64 bits that survive JPEG and resizing, and a p-value for whether they are there at all.

Wavelet, singular values and quantisation, after the DWT-DCT-SVD scheme (Navas et al. 2008; the package blind-watermark). The luminance's
low band after one Haar step is cut into blocks of 4 x 4, and each block's largest singular value is moved into the half of a quantisation
cell that says its bit. The scheme's DCT is left out: it is orthogonal, so the singular values are the same with and without it.

New here is the dither (Chen and Wornell 2001): each block's cells are shifted by a random amount drawn from the key. In a picture without
the mark the phase of every block is then uniform over the draw of the key, whatever the picture shows (flat white paper, too), so the
null distribution is known and a p-value means what it says. Anyone can look for the mark, since the key is public; so can anyone who
wants to wear it off. A crop or a turn moves the blocks and is not survived. Small pictures hold few blocks: see docs/labels.md.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

NAME = "dwt-svd-1"
BITS = 64
STEP = 48.0  # the width of a cell; a moved block changes the brightness of its pixels by at most STEP / 16 = 3 levels
SMALLEST = 64  # pixels a side: one block for each bit
CERTAIN = 1e-6  # the p-value below which the mark counts as found
AGREEING = 56  # bits in which a payload that was read is the one that was written
DIFFERING = 44  # bits below which it is another one, and not the same, worn off; another agrees in so many once in 550 times
_KEY = 0x6D69616F6269
_LUMINANCE = np.array([0.299, 0.587, 0.114])
_WHITE = 8 * 255.0  # the singular value of a white block: 4 x 4 entries of 2 x 255
_ROUNDS = 4  # clipping to 0..255 undoes a part of each move
_EDGE = 45.0  # the second singular value at which a block counts half: edges suffer most from JPEG and resizing
_SIDES = (64, 96, 128, 192, 256, 384, 512, 768, 1024)  # of square pictures as generators make them
_FACTORS = (4 / 3, 2.0, 0.5, 1.5, 2 / 3, 0.75, 1.25, 0.8, 4.0, 0.25)
_MOST_PIXELS = 1 << 20  # of a size that is tried

Pixels = NDArray[np.uint8]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """What was found. `p_value` is the chance of so strong a pattern in something without the mark, all that was tried counted."""

    p_value: float
    payload: int  # meaningless where nothing was found
    size: tuple[int, int]  # width and height at which it was read; samples and channels of a sound
    name: str = NAME  # of the kind of mark

    @property
    def found(self) -> bool:
        """Whether the mark is there beyond doubt."""
        return self.p_value < CERTAIN

    def describe(self) -> str:
        """The mark as a label names it."""
        return describe(self.payload, self.name)

    def agreeing(self, payload: int) -> int:
        """How many of the 64 bits are those of `payload`."""
        return BITS - (self.payload ^ payload).bit_count()

    def contradicts(self, payload: int) -> bool:
        """Whether it is beyond doubt that there is a mark, and that it is of another payload."""
        return self.found and self.agreeing(payload) < DIFFERING

    def carries(self, payload: int) -> bool:
        """Whether it is this payload, a few bits worn off: the chance that another agrees in so many is 3e-10."""
        return self.found and self.agreeing(payload) >= AGREEING


def payload_of(source: str, request_sha256: str, index: int) -> int:
    """The 64 bits of a content: which model made it from what request, and its number among several, as its label has them."""
    return int.from_bytes(hashlib.sha256(f"{source}/{request_sha256}/{index}".encode()).digest()[:8], "big")


def describe(payload: int, name: str = NAME) -> str:
    """The mark as a label names it."""
    return f"{name}:{payload:016x}"


def described(text: str, name: str = NAME) -> int | None:
    """The payload that a label names; None where it names no mark of this kind."""
    given, _, digits = text.partition(":")
    if given != name or len(digits) != BITS // 4 or not set(digits) <= set("0123456789abcdef"):
        return None
    return int(digits, 16)


def embed(pixels: Pixels, payload: int) -> Pixels:
    """The picture (height, width, 4) with the payload in it. Blocks that are not opaque throughout stay as they are.

    The mark may be too weak to find where the picture is smaller than 64 x 64 or mostly transparent; `detect` tells.
    """
    height, width = (side // 8 * 8 for side in pixels.shape[:2])
    if not height or not width:
        return pixels.copy()
    area = pixels[:height, :width]
    opaque = _opaque(area)
    slots, dither = _layout(len(opaque))
    bits = np.array([payload >> bit & 1 for bit in range(BITS)])[slots]
    colours = area[..., :3].astype(np.float64)
    for _ in range(_ROUNDS):
        left, values, right = np.linalg.svd(_blocks(_low_band(colours @ _LUMINANCE)))
        move = np.where(opaque, _target(values[:, 0], dither, bits) - values[:, 0], 0.0)
        blocks = move[:, None, None] * left[:, :, :1] * right[:, :1, :]  # rank one: only the largest singular value moves
        shift = blocks.reshape(height // 8, width // 8, 4, 4).swapaxes(1, 2).reshape(height // 2, width // 2) / 2
        colours = np.clip(colours + np.kron(shift, np.ones((2, 2)))[..., None], 0, 255)
    marked = pixels.copy()
    marked[:height, :width, :3] = np.rint(colours)
    return marked


def detect(pixels: Pixels) -> Detection:
    """Look for the mark in a picture (height, width, 4) as it is, and as it may have been before somebody resized it."""
    sizes = list(_sizes(pixels.shape[1], pixels.shape[0]))
    best = Detection(p_value=1.0, payload=0, size=(pixels.shape[1], pixels.shape[0]))
    for size in sizes:
        one = _read(_resized(pixels, size), size)
        one = replace(one, p_value=min(1.0, one.p_value * len(sizes)))  # as many chances to be struck by accident
        best = min(best, one, key=lambda found: found.p_value)
        if best.found:
            break
    return best


def _read(pixels: Pixels, size: tuple[int, int]) -> Detection:
    """What stands at this very size.

    With phases uniform and independent, as in any unmarked picture, each bit's sum S of w cos(phase) has E S^2 = A / 2 and
    var S^2 = A^2 / 2 - 3 B / 8, where A and B are the sums of w^2 and w^4; the sum of S^2 over the bits is close to a gamma variable.
    """
    height, width = (side // 8 * 8 for side in pixels.shape[:2])
    area = pixels[:height, :width]
    values = np.linalg.svd(_blocks(_low_band(area[..., :3] @ _LUMINANCE)), compute_uv=False)  # (blocks, 4)
    slots, dither = _layout(len(values))
    weights = _opaque(area) / (1 + (values[:, 1] / _EDGE) ** 2)
    sums = np.bincount(slots, -weights * np.sin(2 * np.pi * (values[:, 0] + dither) / STEP), BITS)
    squares, fourths = np.bincount(slots, weights**2, BITS), np.bincount(slots, weights**4, BITS)
    p_value = gamma_tail(float((sums**2).sum()), float((squares / 2).sum()), float((squares**2 / 2 - 3 * fourths / 8).sum()))
    return Detection(p_value=p_value, payload=sum(1 << int(bit) for bit in np.flatnonzero(sums > 0)), size=size)


def _opaque(area: Pixels) -> NDArray[np.bool_]:
    """Which blocks are opaque throughout."""
    opaque: NDArray[np.bool_] = _blocks(_low_band(area[..., 3] / 2.0)).min(axis=(1, 2)) >= 255
    return opaque


def _layout(count: int) -> tuple[NDArray[np.int64], Values]:
    """Which bit each block carries, and by how much its cells are shifted; both follow from the key and the number of blocks."""
    rng = np.random.Generator(np.random.PCG64([_KEY, count]))
    order = rng.random(count).argsort(kind="stable")  # numpy keeps `random` the same for all time, `permutation` it does not
    return order % BITS, rng.random(count) * STEP


def _target(values: Values, dither: Values, bits: NDArray[np.int64]) -> Values:
    """The nearest value whose phase is at a quarter (bit 0) or three quarters (bit 1) of a cell, inside what a block can have."""
    offset = (0.25 + 0.5 * bits) * STEP - dither
    target = offset + STEP * np.rint((values - offset) / STEP)
    target = np.where(target > _WHITE, target - STEP, target)
    return np.where(target < 0, target + STEP, target)


def _low_band(plane: Values) -> Values:
    """One step of the Haar wavelet: (H, W) to (H / 2, W / 2)."""
    return (plane[0::2, 0::2] + plane[0::2, 1::2] + plane[1::2, 0::2] + plane[1::2, 1::2]) / 2


def _blocks(band: Values) -> Values:
    """(H, W) as (blocks, 4, 4), row by row."""
    rows, columns = band.shape[0] // 4, band.shape[1] // 4
    return band.reshape(rows, 4, columns, 4).swapaxes(1, 2).reshape(rows * columns, 4, 4)


def _sizes(width: int, height: int) -> Iterator[tuple[int, int]]:
    """The size that the picture has, then those that it may have had."""
    likely = [(side, side) for side in _SIDES] if width == height else []
    likely += [(round(width * factor), round(height * factor)) for factor in _FACTORS]
    seen = {(width, height)}
    if min(width, height) >= 8:
        yield width, height
    for size in likely:
        if size not in seen and min(size) >= SMALLEST and size[0] * size[1] <= _MOST_PIXELS:
            seen.add(size)
            yield size


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    if size == (pixels.shape[1], pixels.shape[0]):
        return pixels
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def gamma_tail(value: float, mean: float, variance: float) -> float:
    """P(X >= value) of the gamma distribution with this mean and variance, its shape rounded to a whole number."""
    if mean <= 0 or variance <= 0:
        return 1.0
    shape = max(1, round(mean * mean / variance))
    x = value * shape / mean
    if x <= 0:
        return 1.0
    logs = [number * math.log(x) - math.lgamma(number + 1) for number in range(shape)]  # a Poisson sum, in logarithms
    top = max(logs)
    return min(1.0, math.exp(top - x) * sum(math.exp(log - top) for log in logs)) if top - x > -745 else 0.0
