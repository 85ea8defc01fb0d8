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
    """A step of a batch is done; the pictures as they are now, where previews are wanted."""

    number: int
    pictures: Unit | None


def paint(pipeline: Any, request: Request, options: Options) -> Iterator[Chunk]:
    """The `n` pictures, batch by batch.

    Raises:
        UsageError: the pipeline takes no such option, or refuses a value (a size, mostly).
    """
    arguments = _arguments(pipeline, request, options)
    groups = [range(start, min(start + options.batch, options.n)) for start in range(0, options.n, options.batch)]
    total = options.steps * len(groups)
    for number, group in enumerate(groups):
        watched = Watched[Step, Any](lambda report, group=group: _call(pipeline, arguments, request, options, group, report))  # type: ignore[misc]
        steps = iter(watched)
        try:
            for step in steps:
                done = number * options.steps + step.number
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
        "width": options.width or None,
        "height": options.height or None,
    }
    wanted = {name: value for name, value in optional.items() if value is not None}
    if "use_resolution_binning" in taken and (options.width or options.height):
        given["use_resolution_binning"] = False  # the size that was asked for, not the nearest that it was trained at
    if request.prompt.strip() and "prompt" not in taken:
        raise UsageError("the pipeline {name} reads no words; leave the prompt empty", name=type(pipeline).__name__)
    for name in wanted:
        if name not in taken:
            raise UsageError("the pipeline {name} has no {option}; leave it out", name=type(pipeline).__name__, option=name)
    return {**given, **wanted, **_start(request, options, taken)}


def _start(request: Request, options: Options, taken: Mapping[str, Any]) -> dict[str, Any]:
    """The start picture and its mask, at the size of the result."""
    start = pictures_in(request)[-1:]
    if not start:
        return {}
    height, width = options.height or start[0].shape[0], options.width or start[0].shape[1]
    given: dict[str, Any] = {"image": Image.fromarray(pictures.over(pictures.resize(start[0], (width, height))))}
    if "strength" in taken:
        given["strength"] = options.strength
    for mask in pictures_in(request, "mask")[-1:]:
        given |= {"mask_image": Image.fromarray(pictures.over(pictures.resize(mask, (width, height)))).convert("L")}
        given |= {name: value for name, value in (("width", width), ("height", height)) if name in taken}
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
    every = -(-options.steps // PREVIEWS)

    def on_step(_: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        shown = options.previews and (step + 1) % every == 0 and step + 1 < options.steps
        report(Step(step + 1, preview(pipeline, values["latents"]) if shown else None))
        return values

    if "callback_on_step_end" in taken:
        given["callback_on_step_end"] = on_step
    with torch.inference_mode():
        return pipeline(**given)


def generator(seed: int, index: int) -> torch.Generator:
    """Of content number `index`; on the CPU, so that every device draws the same."""
    (state,) = np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def preview(pipeline: Any, latents: torch.Tensor) -> Unit | None:
    """What the latents look like now; None where they are packed or there is no decoder of one's own."""
    decoder = getattr(pipeline, "vae", None)
    if decoder is None or latents.ndim != 4 or latents.shape[1] != decoder.config.latent_channels:
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
