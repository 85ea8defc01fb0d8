"""A request to pictures, the same for both runtimes, in NumPy: noise, conditions, guidance, sampling, and what starts from a picture.

Content i of a request depends on the seed and i alone: it has its own generator, and batches only share the passes of the network.
Shapes: B contents, C channels, H and W of what is denoised, D width of the condition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from miaobi.core.errors import UsageError
from miaobi.core.types import Chunk, Done, Piece, Progress, Request, Usage
from miaobi.engine.sampling import denoise as sampling
from miaobi.engine.sampling.denoise import Denoise, Step
from miaobi.engine.sampling.noise import Process, draw_noise, slerp
from miaobi.models.common import sheet
from miaobi.models.common.picture_codec import Floats, to_pixels
from miaobi.models.diffusion.codec import DiffusionCodec
from miaobi.models.diffusion.given import Given, read_given
from miaobi.models.diffusion.schema import Config, Options

AT_ONCE = 16  # contents that share a pass of the network
STRENGTH = 0.6
PROJECTIONS = 8
ENLARGED = 1  # marks the random numbers of an upscaler


@dataclass(frozen=True, slots=True)
class Condition:
    """What the network is told: a vector (B, D) and tokens (B, K, D); None where it takes none."""

    vector: Floats | None
    tokens: Floats | None

    def rows(self, rows: Any) -> Condition:
        """Some of the rows, or some again."""
        return Condition(*(None if part is None else part[rows] for part in (self.vector, self.tokens)))

    def towards(self, other: Condition, shares: Floats) -> Condition:
        """Row i at `shares[i]` of the way to the other condition."""

        def mixed(a: Floats | None, b: Floats | None) -> Floats | None:
            if a is None or b is None:
                return None
            share = shares.reshape(-1, *([1] * (a.ndim - 1)))
            return (1 - share) * a + share * b

        return Condition(mixed(self.vector, other.vector), mixed(self.tokens, other.tokens))

    def beside(self, other: Condition) -> Condition:
        """Both, one after the other: (2 B, ...)."""

        def joined(a: Floats | None, b: Floats | None) -> Floats | None:
            return None if a is None or b is None else np.concatenate([a, b])

        return Condition(joined(self.vector, other.vector), joined(self.tokens, other.tokens))


class Painter(Protocol):
    """What both runtimes are."""

    config: Config
    codec: DiffusionCodec
    shape: tuple[int, int, int]  # (C, H, W) of what is denoised

    @property
    def upscaler(self) -> Painter | None:
        """What makes the pictures larger, if it is there."""
        ...

    def condition(self, texts: Sequence[str], style: int, label: int, /) -> Condition:
        """What the network is told of each text, in one style and class."""
        ...

    def predict(self, x: Floats, time: float, condition: Condition, low: Floats | None, /) -> Floats:
        """The network's prediction for noisy `x` (B, C, H, W) at a time in [0, 1]."""
        ...

    def encode(self, pixels: Floats, /) -> Floats:
        """What is denoised, (B, C, H, W), of pictures (B, channels, S, S)."""
        ...

    def decode(self, x: Floats, /) -> Floats:
        """The inverse."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A request, checked: everything that does not differ between its contents."""

    options: Options
    steps: int
    guidance: float
    sampler: str
    wanted: Condition  # (1, ...)
    target: Condition  # where a way between two prompts leads; the same as `wanted` otherwise
    unwanted: Condition
    given: Given
    strength: float
    notes: dict[str, Any]


def paint(model: Painter, request: Request) -> Iterator[Chunk]:
    """Pictures, in the order of their index; progress on the way.

    Raises:
        UsageError: an unknown style or class, a size that the model cannot make, a mask of another size, a picture that is missing.
    """
    plan = _plan(model, request)
    indices = range(plan.options.n)
    groups = [indices[first : first + AT_ONCE] for first in range(0, len(indices), AT_ONCE)]
    for number, group in enumerate(groups):
        last: Step | None = None
        for last in _steps(model, plan, request.seed, group):
            preview = None
            if plan.options.previews and last.number < last.total:
                preview = _finished(model, plan, last.clean[:1])[0]
            done = number * last.total + last.number
            yield Progress(step=done, total=len(groups) * last.total, preview=preview, index=group[0])
        assert last is not None
        seeds = [(request.seed, index, ENLARGED) for index in group]
        for index, media in zip(group, _finished(model, plan, last.x, seeds)):
            yield Piece(part=media, index=index)
            yield Done(index=index, usage=Usage(generated=plan.steps), notes=plan.notes)


# ---------------------------------------------------------------------- what is asked


def _plan(model: Painter, request: Request) -> Plan:
    options = Options.model_validate(dict(request.options))
    config, codec = model.config, model.codec
    _check(model, options)
    prompt = request.prompt.strip()
    style, label = codec.style(options.style), 0
    if codec.vocabulary is None:
        if prompt and not codec.classes:
            raise UsageError("this model reads no words, it learned from pictures alone; leave the prompt empty")
        label, prompt = codec.label(prompt), ""
    wanted = model.condition([prompt], style, label)
    target = wanted
    if options.to:
        target = model.condition([options.to], style, label) if codec.vocabulary else model.condition([""], style, codec.label(options.to))
    defaults = recommended(config)
    given = read_given(model, request, options.size or config.size, margin=options.margin)
    sampler = defaults["sampler"] if options.sampler == "auto" else options.sampler
    steps = options.steps or defaults["steps"]
    guidance = defaults["guidance"] if options.guidance is None else options.guidance
    _check_effect(options, given, words=codec.vocabulary is not None, guidance=guidance)
    strength = options.strength or (STRENGTH if given.start is not None and given.mask is None else 1.0)
    notes = {"steps": steps, "guidance": guidance, "sampler": sampler} | ({"style": options.style} if options.style else {})
    return Plan(
        options=options,
        steps=steps,
        guidance=guidance,
        sampler=sampler,
        wanted=wanted,
        target=target,
        unwanted=model.condition([options.negative], 0, 0),
        given=given,
        strength=strength,
        notes=notes,
    )


def recommended(config: Config) -> dict[str, Any]:
    """Steps, guidance and sampler of a request that names none."""
    if config.distill:
        return {"steps": 4, "guidance": 1.0, "sampler": "euler"}
    guidance = 3.0 if "text" in config.conditions else 2.0 if config.conditions else 1.0
    if config.upscale > 1:
        return {"steps": 8, "guidance": 1.0, "sampler": "euler"}
    return {"steps": 24, "guidance": guidance, "sampler": "euler" if config.schedule == "flow" else "dpmpp-2m"}


def _check(model: Painter, options: Options) -> None:
    """Refuse what the model cannot do."""
    config = model.config
    sizes = [config.size] + ([model.upscaler.config.size] if model.upscaler is not None else [])
    if options.size not in (None, *sizes):
        raise UsageError(
            "this model makes pictures of {sizes} pixels, not of {asked}", sizes=", ".join(map(str, sizes)), asked=options.size
        )
    if options.background == "transparent" and config.channels != 4:
        raise UsageError("this model knows no transparency; name a colour as background")
    if options.background != "transparent":
        from miaobi.data.pictures import colour

        colour(options.background)


def _check_effect(options: Options, given: Given, *, words: bool, guidance: float) -> None:
    """Refuse what would change nothing, so that nobody wonders why."""
    several = {"to": bool(options.to), "to_seed": options.to_seed is not None, "variation": options.variation < 1}
    for name in (name for name, asked in several.items() if asked and options.n == 1):
        raise UsageError("{option} is about several pictures; ask for 2 or more with n", option=name)
    if options.strength is not None and given.start is None:
        raise UsageError("strength says how much of a start picture may change; give one as image")
    if options.negative and not words:
        raise UsageError("this model reads no words; leave out negative")
    if options.negative and guidance == 1:
        raise UsageError("negative works through guidance, and with guidance 1 it does nothing; ask for more, such as 3")


# ---------------------------------------------------------------------- how it is made


def _steps(model: Painter, plan: Plan, seed: int, group: Sequence[int]) -> Iterator[Step]:
    """The sampler on its way from noise to what was asked, for the contents of a group."""
    config, B = model.config, len(group)
    generators = [np.random.default_rng((seed, index)) for index in group]
    like = np.zeros((B, *model.shape), dtype=np.float32)
    x = draw_noise(generators, like)
    shares = np.array([index / max(plan.options.n - 1, 1) for index in group], dtype=np.float32)
    if plan.options.to_seed is not None:
        ends = [draw_noise([np.random.default_rng((end, 0))], like[:1]) for end in (seed, plan.options.to_seed)]
        x = np.concatenate([slerp(ends[0], ends[1], float(share)) for share in shares])
    elif plan.options.to:
        x = np.repeat(draw_noise([np.random.default_rng((seed, 0))], like[:1]), B, axis=0)
    elif plan.options.variation < 1:
        first = draw_noise([np.random.default_rng((seed, 0))], like[:1])
        x = np.concatenate(
            [first if index == 0 else slerp(first, x[row : row + 1], plan.options.variation) for row, index in enumerate(group)]
        )
    wanted = plan.wanted.rows(np.zeros(B, dtype=int)).towards(plan.target.rows(np.zeros(B, dtype=int)), shares)
    process = Process(config.schedule)
    levels = process.levels(plan.steps)
    if plan.given.start is not None:
        x, levels = sampling.start(np.repeat(plan.given.start, B, axis=0), x, levels, strength=plan.strength)
    denoise = _denoise(model, plan, wanted)
    yield from sampling.SAMPLERS[plan.sampler](denoise, x.astype(np.float32), levels, lambda like: draw_noise(generators, like))


def _denoise(model: Painter, plan: Plan, wanted: Condition) -> Denoise:
    """The clean picture that the guided network sees in a noisy one."""
    config = model.config
    B = len(wanted.vector) if wanted.vector is not None else 0

    def under(condition: Condition) -> Denoise:
        def predict(x: Floats, time: float) -> Floats:
            low = None if plan.given.low is None else np.repeat(plan.given.low, len(x), axis=0)
            return model.predict(x, time, condition, low)

        return sampling.denoiser(predict, config.predict)

    denoise = under(wanted)
    if plan.guidance != 1 and B:
        both = wanted.beside(plan.unwanted.rows(np.zeros(B, dtype=int)))
        denoise = sampling.guide(denoise, under(both), scale=plan.guidance)
    if not config.codec:
        denoise = sampling.clip(denoise)
    if plan.given.mask is not None and plan.given.start is not None:
        denoise = sampling.keep_known(denoise, plan.given.start, plan.given.mask)
    return denoise


def _finished(model: Painter, plan: Plan, x: Floats, seeds: Sequence[tuple[int, ...]] = ()) -> list[Any]:
    """Pictures as files, at the size that was asked for (of a preview, without `seeds`, at the model's own)."""
    values = model.decode(x)
    if seeds and model.upscaler is not None and plan.options.size == model.upscaler.config.size:
        values = enlarge(model.upscaler, values, seeds)
    pictures = [plan.given.around(pixels) for pixels in to_pixels(values)]
    return [sheet.picture(pixels, background=plan.options.background) for pixels in pictures]


def enlarge(upscaler: Painter, values: Floats, seeds: Sequence[tuple[int, ...]]) -> Floats:
    """Pictures (B, C, s, s) at the size of an upscaler (B, C, S, S), each with the noise of its seed."""
    config = upscaler.config
    nothing = Condition(None, None)
    larger = []
    for picture, seed in zip(values, seeds):
        low = picture[None].repeat(config.upscale, axis=2).repeat(config.upscale, axis=3)

        def predict(x: Floats, time: float, low: Floats = low) -> Floats:
            return upscaler.predict(x, time, nothing, low)

        denoise = sampling.clip(sampling.denoiser(predict, config.predict))
        noise = draw_noise([np.random.default_rng(seed)], np.zeros((1, *upscaler.shape), dtype=np.float32))
        levels = Process(config.schedule).levels(recommended(config)["steps"])
        larger.append(faithful(sampling.sample(sampling.euler(denoise, noise, levels)), picture[None]))
    return np.concatenate(larger)


def faithful(large: Floats, small: Floats) -> Floats:
    """A picture (B, C, S, S) whose blocks have the means that the small one (B, C, s, s) shows, as far as -1 and 1 allow.

    Back-projection (Irani and Peleg, 1991). An upscaler's last errors are a faint pattern, seen where the small picture is plain or
    transparent; edges inside the blocks stay as they were drawn.
    """
    factor = large.shape[-1] // small.shape[-1]
    B, C, s, _ = small.shape
    for _ in range(PROJECTIONS):
        means = large.reshape(B, C, s, factor, s, factor).mean((3, 5))
        large = np.clip(large + (small - means).repeat(factor, axis=2).repeat(factor, axis=3), -1, 1).astype(np.float32)
    return large
