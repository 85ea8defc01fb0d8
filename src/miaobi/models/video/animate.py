"""A request to clips, the same for both runtimes, in NumPy: the first frame, noise, guidance, sampling, and frames from what was made.

Content i of a request depends on the seed and i alone: it has its own generator, and batches only share the passes of the network.
Shapes: B contents, F frames, C channels, H and W of what is denoised, S side of the first frame as the model sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from miaobi.core.errors import UsageError
from miaobi.core.types import Chunk, Done, Media, Modality, Piece, Progress, Request, Usage
from miaobi.data.pictures import Pixels, colour, over, rgba
from miaobi.engine.sampling import denoise as sampling
from miaobi.engine.sampling.denoise import Denoise, Step
from miaobi.engine.sampling.noise import Level, Process, draw_noise
from miaobi.models.common.picture_codec import Floats, from_pixels, to_pixels
from miaobi.models.video import flow
from miaobi.models.video.codec import ClipCodec
from miaobi.models.video.first import First, first_of
from miaobi.models.video.schema import Config, Options

AT_ONCE = 8  # contents that share a pass of the network
STEPS = 24


class Animator(Protocol):
    """What both runtimes are."""

    config: Config
    codec: ClipCodec
    shape: tuple[int, int, int]  # (C, H, W) of a frame of what is denoised

    def read(self, texts: Sequence[str], /) -> Floats:
        """Each text as a vector (B, W)."""
        ...

    def predict(self, x: Floats, time: float, vector: Floats, first: Floats, given: Floats, /) -> Floats:
        """The network's prediction for noisy `x` (B, F, C, H, W) at a time in [0, 1]."""
        ...

    def encode(self, frames: Floats, /) -> Floats:
        """Latents (B, C, H, W) of frames (B, channels, S, S), by the codec of a model of latents."""
        ...

    def decode(self, latents: Floats, /) -> Floats:
        """The inverse."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A request, checked: everything that does not differ between its contents."""

    options: Options
    steps: int
    guidance: float
    wanted: Floats  # (1, W)
    unwanted: Floats
    first: First
    notes: dict[str, Any]


def animate(model: Animator, request: Request) -> Iterator[Chunk]:
    """Clips as WebP loops without loss, in the order of their index; progress on the way.

    Raises:
        UsageError: no picture where one is needed, an unknown colour, a size that the model cannot make.
        DataError: the picture cannot be read.
    """
    plan = _plan(model, request)
    indices = range(plan.options.n)
    groups = [indices[first : first + AT_ONCE] for first in range(0, len(indices), AT_ONCE)]
    for number, group in enumerate(groups):
        last: Step | None = None
        for last in _steps(model, plan, request.seed, group):
            yield Progress(step=number * last.total + last.number, total=len(groups) * last.total, index=group[0])
        assert last is not None
        for index, made in zip(group, last.x):
            yield Piece(part=_media(model, plan, made), index=index)
            yield Done(index=index, usage=Usage(generated=plan.steps), notes=plan.notes)


def _plan(model: Animator, request: Request) -> Plan:
    options, config = Options.model_validate(dict(request.options)), model.config
    if options.size not in (None, config.size) and config.space != "flow":
        raise UsageError("this model makes pictures of {sizes} pixels, not of {asked}", sizes=config.size, asked=options.size)
    if options.background != "transparent":
        colour(options.background)
    first = first_of(config, request, options)
    steps = options.steps or STEPS
    guidance = (1.0 if config.space == "flow" else 2.0) if options.guidance is None else options.guidance
    prompt = request.prompt.strip() if model.codec.vocabulary is not None else ""
    return Plan(
        options=options,
        steps=steps,
        guidance=guidance,
        wanted=model.read([prompt]),
        unwanted=model.read([options.negative if model.codec.vocabulary is not None else ""]),
        first=first,
        notes={"steps": steps, "guidance": guidance} | ({"painter": first.drawn_by} if first.drawn_by else {}),
    )


def _steps(model: Animator, plan: Plan, seed: int, group: Sequence[int]) -> Iterator[Step]:
    """The sampler on its way from noise to clips (B, F, C, H, W), for the contents of a group."""
    config = model.config
    generators = [np.random.default_rng((seed, index)) for index in group]
    x = draw_noise(generators, np.zeros((len(group), config.frames, *model.shape), dtype=np.float32))
    levels = Process("flow" if config.predict != "velocity" else "cosine").levels(plan.steps)
    yield from sampling.euler(_denoise(model, plan), x.astype(np.float32), levels)


def _denoise(model: Animator, plan: Plan) -> Denoise:
    """The clean clip that the guided network sees in a noisy one; its first frame is the given one."""
    config, first = model.config, plan.first
    seen = first.seen if first.seen is not None else np.zeros((1, config.channels, config.size, config.size), np.float32)

    def under(vectors: Sequence[Floats]) -> Denoise:
        def predict(x: Floats, time: float) -> Floats:
            B = len(x)
            told = np.concatenate([np.repeat(vector, B // len(vectors), axis=0) for vector in vectors])
            given = np.full(B, float(first.seen is not None), np.float32)
            return model.predict(x, time, told, np.repeat(seen, B, axis=0), given)

        return sampling.denoiser(predict, config.predict)

    denoise = under([plan.wanted])
    if plan.guidance != 1 and model.codec.vocabulary is not None:
        denoise = sampling.guide(denoise, under([plan.wanted, plan.unwanted]), scale=plan.guidance)
    if config.space == "flow" and config.loop and config.harmonics:
        return _swinging(denoise, flow.smoothing(config.frames, config.harmonics))
    if config.space == "pixels":
        denoise = sampling.clip(denoise)
    if first.seen is None:
        return denoise
    known = np.zeros((1, config.frames, *model.shape), np.float32)
    if config.space != "flow":
        known[:, 0] = first.seen if config.space == "pixels" else model.encode(first.seen)
    free = np.ones((1, config.frames, 1, 1, 1), np.float32)
    free[:, 0] = 0
    return sampling.keep_known(denoise, known, free)


def _swinging(denoise: Denoise, moments: Floats) -> Denoise:
    """The clean motion that a noisy one comes from, smooth in time; its first frame does not move."""

    def smooth(x: Floats, level: Level) -> Floats:
        smoothed: Floats = np.einsum("ef,bfchw->bechw", moments, denoise(x, level), optimize=True)
        return smoothed

    return smooth


def _media(model: Animator, plan: Plan, made: Floats) -> Media:
    """A clip (F, C, H, W) as a loop of pictures."""
    from miaobi.data.videos import Clip, encode

    frames, times = _frames(model, plan, made)
    if plan.options.background != "transparent":
        frames = np.stack([rgba(over(frame, plan.options.background)) for frame in frames])
    fps = plan.options.fps or min(model.config.fps * times, 50.0)
    return Media(modality=Modality.VIDEO, mime="image/webp", data=encode(Clip(frames, fps), "image/webp"))


def _frames(model: Animator, plan: Plan, made: Floats) -> tuple[Pixels, int]:
    """Frames (F, H, W, 4), and how many are shown for each that was made."""
    config, options = model.config, plan.options
    if config.space != "flow":
        values = made if config.space == "pixels" else model.decode(made)
        return np.stack(to_pixels(values)), 1
    assert plan.first.pixels is not None, "a flow moves a picture"
    moved = flow.between(made * config.reach * options.motion, options.smooth, loop=config.loop)
    picture = np.moveaxis(from_pixels([plan.first.pixels], 4)[0], 0, -1)  # (H, W, 4), premultiplied
    return np.stack(to_pixels(np.moveaxis(flow.warp(picture, moved), -1, 1))), options.smooth
