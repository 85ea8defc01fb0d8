"""A request as the arguments of a pipeline, and its pictures as chunks.

Pipelines differ in what they take; an option that was set and that this pipeline lacks is an error, never dropped. Content i draws from a
generator of its own, seeded by (seed, i), so it is the same in every batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from miaobi.core.errors import UsageError
from miaobi.core.types import Chunk, Done, Media, Modality, Piece, Progress, Request, Usage
from miaobi.data import pictures
from miaobi.models.common.picture_request import pictures_in
from miaobi.models.hf_diffusers.schema import Options
from miaobi.models.hf_diffusers.watch import Report, Watched

PREVIEWS = 8  # at most so many of each picture
Unit = NDArray[np.float32]  # (B, H, W, C) in [0, 1]


@dataclass(frozen=True, slots=True)
class Step:
    """Step `number` of the `total` of a batch is done; the pictures as they are now, where previews are wanted."""

    number: int
    total: int
    pictures: Unit | None


def paint(pipeline: Any, request: Request, options: Options) -> Iterator[Chunk]:
    """The `n` pictures, batch by batch.

    Raises:
        UsageError: the pipeline takes no such option, or refuses a value (a size, mostly).
    """
    arguments = _arguments(pipeline, request, options)
    groups = [range(start, min(start + options.batch, options.n)) for start in range(0, options.n, options.batch)]
    for number, group in enumerate(groups):
        watched = Watched[Step, Any](lambda report, group=group: _call(pipeline, arguments, request, options, group, report))  # type: ignore[misc]
        steps = iter(watched)
        try:
            for step in steps:
                done, total = number * step.total + step.number, len(groups) * step.total
                for place, index in enumerate(group if step.pictures is not None else group[:1]):
                    preview = None if step.pictures is None else _media(step.pictures[place])
                    yield Progress(step=done, total=total, preview=preview, index=index)
        except ValueError as error:  # how pipelines say that a value does not suit them
            raise UsageError("the pipeline refuses this request: {problem}", problem=error) from None
        finally:
            steps.close()  # type: ignore[attr-defined]
        flagged = getattr(watched.result, "nsfw_content_detected", None) or [False] * len(group)
        for place, index in enumerate(group):
            yield Piece(part=_media(watched.result.images[place]), index=index)
            notes = {"flagged": True} if flagged[place] else {}  # the pipeline's own checker has blackened it
            yield Done(index=index, usage=Usage(generated=options.steps), notes=notes)


def _arguments(pipeline: Any, request: Request, options: Options) -> dict[str, Any]:
    """What is the same for every batch."""
    taken = inspect.signature(pipeline.__call__).parameters
    given: dict[str, Any] = {"num_inference_steps": options.steps, "output_type": "np"}
    optional = {
        "negative_prompt": options.negative or None,
        "guidance_scale": options.guidance,
        "true_cfg_scale": (options.guidance or 4.0) if options.negative and "true_cfg_scale" in taken else None,
    }
    wanted = {name: value for name, value in optional.items() if value is not None}
    if "use_resolution_binning" in taken and (options.width or options.height):
        given["use_resolution_binning"] = False  # the size that was asked for, not the nearest that it was trained at
    if request.prompt.strip() and "prompt" not in taken:
        raise UsageError("the pipeline {name} reads no words; leave the prompt empty", name=type(pipeline).__name__)
    start = pictures_in(request)[-1:]
    _check_mask(request, start)
    sizes = _sizes(pipeline, options, start[0].shape[:2] if start else None)
    if not start:
        wanted |= {name: size for name, size in sizes.items() if size}
    for name in wanted:
        if name not in taken:
            raise UsageError("the pipeline {name} has no {option}; leave it out", name=type(pipeline).__name__, option=name)
    return {**given, **wanted, **(_start(request, options, taken, start[0], sizes) if start else {})}


def _check_mask(request: Request, start: Sequence[pictures.Pixels]) -> None:
    """Raise `UsageError` for a mask without a picture or of another size."""
    for mask in pictures_in(request, "mask")[-1:]:
        if not start:
            raise UsageError("a mask needs the picture that it lies on; give an image too")
        (height, width), (other_height, other_width) = mask.shape[:2], start[0].shape[:2]
        if (height, width) != (other_height, other_width):
            raise UsageError(
                "the mask has {width} by {height} pixels and the picture {other_width} by {other_height}; they should be alike",
                width=width,
                height=height,
                other_width=other_width,
                other_height=other_height,
            )


def _sizes(pipeline: Any, options: Options, start: tuple[int, ...] | None) -> dict[str, int]:
    """Width and height as asked, otherwise the nearest to those of a start picture that can be made, otherwise 0.

    Raises:
        UsageError: what was asked cannot be made. Some pipelines would make the next smaller size and say nothing.
    """
    step = step_of(pipeline)
    for size in (options.width, options.height):
        if size % step:
            raise UsageError(
                "the pipeline {name} makes widths and heights that are multiples of {step}; {size} is none",
                name=type(pipeline).__name__,
                step=step,
                size=size,
            )
    height, width = (max(side // step, 1) * step for side in start) if start else (0, 0)
    return {"width": options.width or width, "height": options.height or height}


def step_of(pipeline: Any) -> int:
    """What widths and heights have to be multiples of: a latent, times the side of a Transformer's patches."""
    processor, network = getattr(pipeline, "image_processor", None), getattr(pipeline, "transformer", None)
    latent = int(getattr(pipeline, "vae_scale_factor", 1))
    patch = network.config.get("patch_size", 1) if network is not None else 1
    packed = (
        processor.config.get("vae_scale_factor", 1) if processor is not None and hasattr(processor, "config") else 1
    )  # Flux's knows its packets
    at_least = 8 if getattr(pipeline, "unet", None) is not None and latent > 1 else 1  # written so in the pipelines of UNets
    return max(latent * patch if isinstance(patch, int) else latent, int(packed), at_least)


def _start(
    request: Request, options: Options, taken: Mapping[str, Any], start: pictures.Pixels, sizes: Mapping[str, int]
) -> dict[str, Any]:
    """The start picture and its mask, at the size of the result, which pipelines of flows have to be told as well."""
    shape = (sizes["width"], sizes["height"])
    given: dict[str, Any] = {"image": Image.fromarray(pictures.over(pictures.resize(start, shape)))}
    given |= {name: size for name, size in sizes.items() if name in taken}
    if "strength" in taken:
        given["strength"] = options.strength
    for mask in pictures_in(request, "mask")[-1:]:
        given["mask_image"] = Image.fromarray(pictures.over(pictures.resize(mask, shape))).convert("L")
    return given


def _call(
    pipeline: Any, arguments: Mapping[str, Any], request: Request, options: Options, group: Sequence[int], report: Report[Step]
) -> Any:
    """One batch."""
    taken, count = inspect.signature(pipeline.__call__).parameters, len(group)
    given = {**arguments, "generator": [generator(request.seed, index) for index in group]}
    if "prompt" in taken:
        given["prompt"] = [request.prompt] * count
    else:
        given["batch_size"] = count
    for name in ("negative_prompt", "image", "mask_image"):
        if name in given:
            given[name] = [given[name]] * count

    def on_step(_: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        total = int(getattr(pipeline, "num_timesteps", options.steps))  # Heun takes two passes a step, a start picture leaves some out
        shown = options.previews and (step + 1) % -(-total // PREVIEWS) == 0 and step + 1 < total
        size = (int(given.get("width", 0)), int(given.get("height", 0)))
        report(Step(step + 1, total, preview(pipeline, values["latents"], size) if shown else None))
        return values

    if "callback_on_step_end" in taken:
        given["callback_on_step_end"] = on_step
    with torch.inference_mode():
        return pipeline(**given)


def generator(seed: int, index: int) -> torch.Generator:
    """Of content number `index`; on the CPU, so that every device draws the same."""
    (state,) = np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def preview(pipeline: Any, latents: torch.Tensor, size: tuple[int, int] = (0, 0)) -> Unit | None:
    """What the latents of pictures of that width and height (0 is the pipeline's own) look like now; None where nothing decodes them."""
    decoder = getattr(pipeline, "vae", None)
    if decoder is None:
        return None
    if latents.ndim == 3 and hasattr(pipeline, "_unpack_latents"):  # Flux packs two by two latents into one of a row
        side = getattr(pipeline, "default_sample_size", 0) * pipeline.vae_scale_factor
        width, height = (length or side for length in size)
        if latents.shape[1] != (width // step_of(pipeline)) * (height // step_of(pipeline)):
            return None
        latents = pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)
    if latents.ndim != 4 or latents.shape[1] != decoder.config.latent_channels:
        return None
    shift = getattr(decoder.config, "shift_factor", None) or 0.0
    decoded = decoder.decode((latents / decoder.config.scaling_factor + shift).to(decoder.dtype)).sample
    found: Unit = ((decoded.float().clamp(-1, 1) + 1) / 2).movedim(1, -1).cpu().numpy()
    return found


def _media(picture: Any) -> Media:
    """A picture (H, W, C) in [0, 1] as PNG."""
    unit = np.clip(np.nan_to_num(np.asarray(picture, dtype=np.float32)), 0, 1)
    pixels = np.rint(unit * 255).astype(np.uint8)
    return Media(modality=Modality.IMAGE, mime="image/png", data=pictures.encode(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))
