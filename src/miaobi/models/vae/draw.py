"""A request to pictures: samples from the prior, a picture again, a walk between pictures. The same for both runtimes, in numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.random import Generator

from miaobi.core.errors import UsageError
from miaobi.core.language import tr
from miaobi.core.types import Chunk, Done, Media, Piece, Request, Usage
from miaobi.data.pictures import fit
from miaobi.engine.sampling.options import Sampling
from miaobi.engine.sampling.stepper import Stepper
from miaobi.engine.sampling.tokens import Token, decode
from miaobi.models.common import sheet
from miaobi.models.common.picture_codec import Floats, Pixels, from_pixels, to_pixels
from miaobi.models.common.picture_request import class_number, pictures_in
from miaobi.models.vae.schema import Config, Options


class Artist(Protocol):
    """What both runtimes are. Latents are those of the network, before whitening."""

    config: Config
    classes: tuple[str, ...]
    latent_shape: tuple[int, int, int]  # (L, H, W)

    def encode(self, pixels: Floats, labels: Sequence[int], /) -> tuple[Floats, Floats]:
        """Mean and deviation (B, L, H, W) of the latents of pictures (B, C, S, S)."""
        ...

    def decode(self, latents: Floats, labels: Sequence[int], /) -> Floats:
        """Pictures (B, C, S, S) in [-1, 1] of latents (B, L, H, W)."""
        ...

    def prior(self) -> Stepper:
        """What draws the codes of a codebook, row by row."""
        ...

    def embed(self, codes: Sequence[int], /) -> Floats:
        """The latents (L, H, W) of the codes of one picture."""
        ...


def abstains(config: Config) -> str:
    """Why a model of that configuration draws nothing of its own; empty where it has a prior to draw from."""
    return (
        tr("this autoencoder has no prior to draw from; only what it makes of other pictures can be measured")
        if config.kind == "plain"
        else ""
    )


def draw(model: Artist, request: Request) -> Iterator[Chunk]:
    """One picture or animation for each content. Content i depends on the seed and i alone, whatever `n` is.

    Raises:
        UsageError: an unknown class, a prompt that is none, a comparison of nothing, or samples of a model that has no prior.
    """
    options = Options.model_validate(dict(request.options))
    given = [fit(pixels, model.config.size, mode=model.config.fit) for pixels in pictures_in(request)]
    if options.compare and not given:
        raise UsageError("a comparison needs a picture; give one, or leave out compare")
    for index in range(options.n):
        rng = np.random.default_rng((request.seed, index))
        label = class_number(request, model.classes, rng)
        if given and label is not None and not request.prompt.strip():
            (label,) = _best_labels(model, _values(model, given[:1]))
        media = _walk(model, given, options, label, rng) if options.walk else _still(model, given, options, label, rng)
        yield Piece(part=media, index=index)
        notes = {} if label is None else {"class": model.classes[label]}
        yield Done(index=index, usage=Usage(generated=1), notes=notes)


def _still(model: Artist, given: Sequence[Pixels], options: Options, label: int | None, rng: Generator) -> Media:
    latents = _near(model, given[0], options, label, rng) if given else _sample(model, options, label, rng)
    (pixels,) = _decoded(model, latents[None], label)
    if options.compare:
        pixels = sheet.grid([[given[0], pixels]], background=options.background)
    return sheet.picture(pixels, background=options.background)


def _walk(model: Artist, given: Sequence[Pixels], options: Options, label: int | None, rng: Generator) -> Media:
    """An animation through the latents of the given pictures and of samples; GIF knows no half transparency, so white lies under it."""
    stops = [_near(model, pixels, options, label, rng) for pixels in given[: options.walk]]
    stops += [_sample(model, options, label, rng) for _ in range(options.walk - len(stops))]
    latents = sheet.path(np.stack(stops), options.frames * (options.walk - 1) + 1)
    background = "white" if options.background == "transparent" else options.background
    return sheet.animation(_decoded(model, latents, label), background=background)


def _sample(model: Artist, options: Options, label: int | None, rng: Generator) -> Floats:
    """Latents (L, H, W) from the prior.

    Raises:
        UsageError: plain latents have none.
    """
    if abstains(model.config):
        raise UsageError(
            "this autoencoder draws nothing of its own: it has no prior. Give it a picture, or train a diffusion on its latents"
        )
    if model.config.kind == "kl":
        drawn: Floats = (options.temperature * rng.standard_normal(model.latent_shape)).astype(np.float32)
        return drawn
    _, height, width = model.latent_shape
    marks = {model.config.codes + number: -100.0 for number in range(max(1, len(model.classes)))}  # these begin a picture, never go on
    sampling = Sampling(max_tokens=height * width, temperature=max(options.temperature, 0.01), logit_bias=marks)
    seed = int(rng.integers(2**62))
    events = decode(model.prior(), [[model.config.codes + (label or 0)]], sampling, end_tokens=(), seeds=[seed])
    return model.embed([event.token for event in events if isinstance(event, Token)])


def _near(model: Artist, pixels: Pixels, options: Options, label: int | None, rng: Generator) -> Floats:
    """Latents (L, H, W) of a picture, or at `variation` near them."""
    mean, deviation = model.encode(_values(model, [pixels]), [label or 0])
    noise: Floats = rng.standard_normal(mean.shape).astype(np.float32)
    near: Floats = (mean + np.float32(options.variation) * deviation * noise)[0]
    return near


def _decoded(model: Artist, latents: Floats, label: int | None) -> list[Pixels]:
    return to_pixels(model.decode(latents, [label or 0] * len(latents)))


def _values(model: Artist, pictures: Sequence[Pixels]) -> Floats:
    """Pictures of the model's size as it reads them (B, C, S, S)."""
    return from_pixels(pictures, model.config.channels, background=model.config.ground)


def _best_labels(model: Artist, values: Floats) -> list[int]:
    """The class of each picture, where nobody says it: the one told which the model gives the picture back best."""
    errors = []
    for label in range(len(model.classes)):
        told = [label] * len(values)
        errors.append(np.square(model.decode(model.encode(values, told)[0], told) - values).mean(axis=(1, 2, 3)))
    best: list[int] = np.argmin(errors, axis=0).tolist()
    return best


def reconstruct(model: Artist, pictures: Sequence[Pixels]) -> list[Pixels]:
    """Pictures through encoder and decoder, at the model's size."""
    values = _values(model, [fit(pixels, model.config.size, mode=model.config.fit) for pixels in pictures])
    labels = _best_labels(model, values) if model.classes else [0] * len(values)
    return to_pixels(model.decode(model.encode(values, labels)[0], labels))


def reconstruction_sheet(model: Artist, pictures: Sequence[Pixels], *, columns: int = 8) -> Pixels:
    """Originals in rows of `columns`, and below each row what the model makes of them."""
    originals = [fit(pixels, model.config.size, mode=model.config.fit) for pixels in pictures]
    empty = [np.zeros_like(originals[0])] * (-len(originals) % columns)
    both = [[*originals, *empty], [*reconstruct(model, pictures), *empty]]
    return sheet.grid([row[start : start + columns] for start in range(0, len(both[0]), columns) for row in both])
