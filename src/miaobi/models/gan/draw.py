"""A request to pictures, or to a walk between pictures. The same for both runtimes, in numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from miaobi.core.types import Chunk, Done, Piece, Request, Usage
from miaobi.models.common import sheet
from miaobi.models.common.picture_codec import Floats, to_pixels
from miaobi.models.common.picture_request import class_number
from miaobi.models.gan.schema import Config, Options


class Artist(Protocol):
    """What both runtimes are."""

    config: Config
    classes: tuple[str, ...]

    def paint(self, latents: Floats, labels: Sequence[int], /) -> Floats:
        """Pictures (B, C, S, S) in [-1, 1] of latents (B, L)."""
        ...


def draw(model: Artist, request: Request) -> Iterator[Chunk]:
    """One picture or animation for each content. Content i depends on the seed and i alone, whatever `n` is.

    Raises:
        UsageError: an unknown class, or a prompt for a model that knows no classes.
    """
    options = Options.model_validate(dict(request.options))
    for index in range(options.n):
        rng = np.random.default_rng((request.seed, index))
        label = class_number(request, model.classes, rng)
        drawn = rng.standard_normal((max(1, options.walk), model.config.latent))
        latents = (options.temperature * drawn).astype(np.float32)
        if options.walk:
            latents = sheet.path(latents, options.frames * (options.walk - 1) + 1)
        pictures = to_pixels(model.paint(latents, [label or 0] * len(latents)))
        if options.walk:  # GIF knows no half transparency, so white lies under it
            media = sheet.animation(pictures, background="white" if options.background == "transparent" else options.background)
        else:
            media = sheet.picture(pictures[0], background=options.background)
        yield Piece(part=media, index=index)
        notes = {} if label is None else {"class": model.classes[label]}
        yield Done(index=index, usage=Usage(generated=1), notes=notes)
