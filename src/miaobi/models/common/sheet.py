"""Several pictures as one file: rows of a grid, and an animation of a walk through a model's latents.

An animation is a GIF with one palette for all frames, so that nothing flickers, played to and fro.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.types import Media, Modality

FRAME_SECONDS = 0.08


def picture(pixels: NDArray[np.uint8], *, name: str = "", background: str = "transparent") -> Media:
    """One picture as PNG, over a colour where one is named."""
    from miaobi.data.pictures import encode, over, rgba

    pixels = rgba(pixels) if background == "transparent" else over(pixels, background)
    return Media(modality=Modality.IMAGE, mime="image/png", data=encode(pixels), name=name)


def grid(rows: Sequence[Sequence[NDArray[np.uint8]]], *, background: str = "white") -> NDArray[np.uint8]:
    """Rows of pictures of one size as one picture, pixel by pixel."""
    from miaobi.data.pictures import contact_sheet

    height, width = rows[0][0].shape[:2]
    flat = [pixels for row in rows for pixels in row]
    return contact_sheet(flat, columns=len(rows[0]), size=(width, height), background=background, gap=max(1, width // 32))


def animation(frames: Sequence[NDArray[np.uint8]], *, name: str = "", background: str = "white", seconds: float = FRAME_SECONDS) -> Media:
    """Frames (H, W, 4) over a colour as a GIF that plays to and fro for ever."""
    from PIL import Image

    from miaobi.data.pictures import over

    there_and_back = [*frames, *frames[-2:0:-1]]
    images: list[Any] = [Image.fromarray(over(frame, background)) for frame in there_and_back]
    strip = Image.fromarray(np.concatenate([np.asarray(image) for image in images[: len(frames)]]))
    palette = strip.quantize(256)
    indexed = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    buffer = io.BytesIO()
    indexed[0].save(buffer, "GIF", save_all=True, append_images=indexed[1:], duration=round(seconds * 1000), loop=0, optimize=False)
    return Media(modality=Modality.IMAGE, mime="image/gif", data=buffer.getvalue(), name=name)


def path(points: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """`frames` latents on the way through normal latents (P, ...), by great circles (White, 2016).

    A straight line between two normal vectors passes too near the origin, where the model has seen nothing; on a circle the length is kept.
    """
    flat = points.reshape(len(points), -1)
    places = np.linspace(0, len(points) - 1, frames)
    walked = [_slerp(flat, min(int(place), len(points) - 2), place - min(int(place), len(points) - 2)) for place in places]
    return np.stack(walked).reshape(frames, *points.shape[1:]).astype(np.float32)


def _slerp(flat: NDArray[np.float32], first: int, share: float) -> NDArray[np.float32]:
    """The point at `share` of the way from row `first` to the next."""
    a, b = flat[first], flat[first + 1]
    cosine = float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))
    angle = float(np.arccos(np.clip(cosine, -1, 1)))
    if np.sin(angle) < 1e-4:
        mixed: NDArray[np.float32] = (1 - share) * a + share * b
        return mixed
    turned: NDArray[np.float32] = (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
    return turned
