"""A request's pictures to what the networks take, and what they make back to a picture of the size and opacity that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from miaobi.core.types import Chunk, Done, Media, Modality, Piece, Progress, Request, Usage
from miaobi.data import pictures
from miaobi.data.pictures import Pixels
from miaobi.models.common.picture_codec import from_pixels, to_pixels
from miaobi.models.common.picture_request import picture_in, pictures_in
from miaobi.models.style.schema import MULTIPLE, Options

LARGEST = 512  # the longer side of a result whose size is not asked for
SMALLEST = 32  # the eye halves a picture five times
CLEAR = "transparent"
YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Job:
    """The content at the size of the result, and both pictures as tensors (1, 3, H, W) in [-1, 1]; the content is padded."""

    picture: Pixels
    content: Tensor
    style: Tensor | None

    def preview(self, made: Tensor, step: int, options: Options) -> Progress:
        """How it looks after a step."""
        return Progress(step=step, total=options.steps, preview=_media(self, made, options))


def read_job(request: Request, options: Options, *, device: torch.device) -> Job:
    """The pictures of the request.

    Raises:
        UsageError: there is no content, or the background is no colour.
        DataError: a picture cannot be read.
    """
    content = picture_in(request)
    longest = max(content.shape[:2])
    side = options.size or min(longest, LARGEST)
    width, height = (max(SMALLEST, round(length * side / longest)) for length in (content.shape[1], content.shape[0]))
    content = pictures.resize(content, (width, height))
    background = "white" if options.background == CLEAR else options.background
    manner = None
    for style in pictures_in(request, "style_image")[-1:]:
        fitted = pictures.fit(style, max(SMALLEST, side), mode="cover")
        manner = torch.from_numpy(from_pixels([fitted], 3, background=background)).to(device)
    pixels = torch.from_numpy(from_pixels([content], 3, background=background)).to(device)
    return Job(content, F.pad(pixels, (0, -width % MULTIPLE, 0, -height % MULTIPLE), "replicate"), manner)


def show(job: Job, made: Tensor, options: Options) -> Iterator[Chunk]:
    """The finished picture."""
    yield Piece(part=_media(job, made, options))
    yield Done(usage=Usage(generated=options.steps if options.method == "pixels" else 1))


def _media(job: Job, made: Tensor, options: Options) -> Media:
    height, width = job.picture.shape[:2]
    found = to_pixels(made[..., :height, :width].detach().float().cpu().numpy())[0]
    if options.keep_colours:
        found[..., :3] = with_colours_of(found, job.content[..., :height, :width])
    if options.background == CLEAR:
        found[..., 3] = job.picture[..., 3]
    return Media(modality=Modality.IMAGE, mime="image/png", data=pictures.encode(found))


def with_colours_of(found: Pixels, content: Tensor) -> NDArray[np.uint8]:
    """The brightness of one picture (H, W, 4) with the two colour channels of YIQ of another (1, 3, H, W) in [-1, 1]: (H, W, 3)."""
    brightness = found[..., :3].astype(np.float32) / 255 @ YIQ[0]
    mixed = (np.moveaxis(content[0].cpu().numpy(), 0, -1) + 1) / 2 @ YIQ.T  # (H, W, 3)
    mixed[..., 0] = brightness
    coloured: NDArray[np.uint8] = np.rint(np.clip(mixed @ np.linalg.inv(YIQ).T, 0, 1) * 255).astype(np.uint8)
    return coloured
