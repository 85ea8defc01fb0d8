"""The graph of a pulled model: written once, checked and measured, so that a CPU answers several times faster and without torch.

Eight bits a weight where they cost next to nothing, else the weights as they are. What rounding costs is measured without any text: both
write the model's own words side by side, and the divergence between what they expect next is how many bits more a token takes. A graph is a
convenience: what stands in its way is told, and the model answers by torch.
"""

from __future__ import annotations

import importlib.util
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from miaobi.core.errors import MiaobiError
from miaobi.core.families import Family
from miaobi.core.language import tr
from miaobi.core.protocols import Model
from miaobi.engine.sampling.processors import log_softmax
from miaobi.engine.sampling.stepper import Stepper

OnBytes = Callable[[str, int, int], None]  # file, bytes that are written, bytes in all
FOLDER = "onnx"
MOST_BITS = 0.03  # more a token than the exact weights: what eight bits may cost, about a hundredth of what a token of English holds
ROWS, TOKENS = 8, 32  # texts that are written for the measurement, and their length


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A graph that could be written: its file, about how many bytes, and what stands in its way."""

    file: str
    bytes: int = 0
    obstacle: str = ""


@runtime_checkable
class Light(Protocol):
    """A runtime of graphs that knows without loading anything what a model's graph would be."""

    @classmethod
    def plan(cls, folder: Path, form: str, /) -> Plan:
        """The graph of that form (int8, fp32) of the checkpoint in `folder`.

        Raises:
            MiaobiError: the checkpoint cannot be loaded.
        """
        ...


class Writes(Model, Protocol):
    """The weights, which become a graph."""

    def export(self, folder: Path, /, *, formats: Any, on_bytes: Callable[[str, int], None] | None = None) -> Any:
        """Write the graphs, and compare them."""
        ...


def write(kind: Family, folder: Path, *, on_bytes: OnBytes | None = None) -> dict[str, Any]:
    """Write the fastest graph that says what the model in `folder` says, and return what is to be told of it.

    Either `file` and `bits`, how many more a token costs in it than in the exact weights (`bits_if_rounded` where those were kept for that
    reason); or `without`, the reason why there is none; or nothing, of a family that has no such graphs.
    """
    try:
        light = kind.runtime_class()
        if light is None or not issubclass(light, Light):
            return {}
        return _written(kind, light, folder, on_bytes)
    except (MiaobiError, MemoryError) as error:
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        said = str(error).replace(str(folder), folder.name.removesuffix(".tmp"))  # by the name that it will have
        return {"without": said or tr("the memory is full")}


def _written(kind: Family, light: type[Any], folder: Path, on_bytes: OnBytes | None) -> dict[str, Any]:
    if importlib.util.find_spec("onnx") is None:
        return {"without": tr("the package {name} is not installed", name="onnx")}
    plan: Plan = light.plan(folder, "int8")
    if plan.obstacle:
        return {"without": plan.obstacle}
    model: Any = kind.model_class().load(folder)
    _export(model, folder, "int8", plan, on_bytes)
    bits = excess_bits(model.stepper(), light.load(folder).stepper(), begin=model.codec.begin, context=model.context)
    if bits <= MOST_BITS:
        return {"file": plan.file, "bits": round(bits, 5)}
    shutil.rmtree(folder / FOLDER)
    plan = light.plan(folder, "fp32")
    if plan.obstacle:
        return {"without": plan.obstacle}
    _export(model, folder, "fp32", plan, on_bytes)
    return {"file": plan.file, "bits_if_rounded": round(bits, 5)}


def _export(model: Writes, folder: Path, form: str, plan: Plan, on_bytes: OnBytes | None) -> None:
    def told(file: str, done: int) -> None:
        if on_bytes is not None:
            on_bytes(file, done, max(done, plan.bytes))

    model.export(folder, formats=(form,), on_bytes=told)


def excess_bits(exact: Stepper, rounded: Stepper, *, begin: int, context: int, seed: int = 0) -> float:
    """How many bits more a token of its own texts costs the rounded model: the Kullback-Leibler divergence from the exact one, averaged."""
    generator, steppers = np.random.default_rng(seed), (exact, rounded)
    length, total = min(TOKENS, context - 1), 0.0
    logits = [stepper.start([[begin]] * ROWS) for stepper in steppers]
    for place in range(length):
        wanted, found = (np.asarray(log_softmax(np.asarray(given, dtype=np.float64))) for given in logits)  # (ROWS, V)
        chances = np.exp(wanted)
        total += float((chances * (wanted - found)).sum()) / ROWS
        if place + 1 < length:
            sums = chances.cumsum(axis=-1)
            tokens = [int(np.searchsorted(row, generator.random() * row[-1])) for row in sums]
            logits = [stepper.step(tokens) for stepper in steppers]
    return total / length / math.log(2)
