"""Schedulers by name: those that suit what a network has learned, and what its pipeline does with them.

The library lists which schedulers of noisy pictures may stand for each other, but for flows it lists none. Two of its solvers know flows as
well, where they are told so; whether one can be taken depends on the pipeline. Most pipelines of flows hand their own levels of noise to
the scheduler, which only Euler's takes. Left out is the library's DPM++ SDE: it draws from no generator that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from miaobi.core.errors import unknown

KARRAS = {
    "ddpm": "DDPMScheduler",
    "ddim": "DDIMScheduler",
    "pndm": "PNDMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "dpmpp-2m": "DPMSolverMultistepScheduler",
    "dpmpp-2m-sde": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "lms": "LMSDiscreteScheduler",
}
FLOWS = {"flow-euler": "FlowMatchEulerDiscreteScheduler", "flow-heun": "FlowMatchHeunDiscreteScheduler"}
BOTH = ("dpmpp-2m", "unipc")  # know flows too
LEAVE_LEVELS = ("StableDiffusion3", "AuraFlow", "Sana")  # beginnings of pipelines that leave the levels of noise to their scheduler
CHANGES: Mapping[str, Mapping[str, Any]] = {  # what a scheduler is told besides what its network needs
    "dpmpp-2m": {"algorithm_type": "dpmsolver++"},
    "dpmpp-2m-sde": {"algorithm_type": "sde-dpmsolver++"},
    "pndm": {"skip_prk_steps": True},  # as Stable Diffusion has it; its first steps, of another method, fail when there are few
}

Maker = Callable[[], Any]


def scheduler(pipeline: Any, own: Any, name: str, *, from_picture: bool) -> Any:
    """The scheduler of that name for the pipeline whose own one is `own`; `auto` is that one.

    Raises:
        UsageError: there is none of that name, or it does not suit the pipeline.
    """
    if name == "auto":
        return own
    makers = _of_flows(pipeline, own, from_picture=from_picture) if is_flow(own) else _of_noise(own)
    if name not in makers:
        raise unknown("sampler", name, makers)
    return makers[name]()


def is_flow(own: Any) -> bool:
    """Whether the network has learned a flow from noise to pictures."""
    return "FlowMatch" in type(own).__name__ or own.config.get("prediction_type") == "flow_prediction"


def _of_noise(own: Any) -> Mapping[str, Maker]:
    kinds = {kind.__name__: kind for kind in [*getattr(own, "compatibles", []), type(own)]}
    return {name: partial(kinds[full].from_config, own.config, **CHANGES.get(name, {})) for name, full in KARRAS.items() if full in kinds}


def _of_flows(pipeline: Any, own: Any, *, from_picture: bool) -> Mapping[str, Maker]:
    """A flow that begins at a picture needs a scheduler that mixes picture and noise as flows do."""
    import diffusers

    found: dict[str, Maker] = {}
    for name, full in (FLOWS | {name: KARRAS[name] for name in BOTH}).items():
        kind = getattr(diffusers, full)
        if isinstance(own, kind):
            found[name] = lambda kind=kind: kind.from_config(own.config)  # type: ignore[misc]
        elif _takes_others(pipeline, own) and not (from_picture and not hasattr(kind, "scale_noise")):
            found[name] = lambda kind=kind, name=name: kind(**_settings(own, name))  # type: ignore[misc]
    return found


def _takes_others(pipeline: Any, own: Any) -> bool:
    return type(pipeline).__name__.startswith(LEAVE_LEVELS) and not own.config.get("use_dynamic_shifting")


def _settings(own: Any, name: str) -> dict[str, Any]:
    """What another kind of scheduler has to know of the flow: two words for the same shift of the levels."""
    shift = own.config.get("shift") or own.config.get("flow_shift") or 1.0
    settings = {"num_train_timesteps": own.config.num_train_timesteps}
    if name in FLOWS:
        return settings | {"shift": shift}
    return settings | {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": shift}
