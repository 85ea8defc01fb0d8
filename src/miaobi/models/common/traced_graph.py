"""A torch module as an ONNX graph, by tracing, and the session that runs it without torch.

For small convolutional networks, where tracing gives no more nodes than a hand would write; `picture_graph` writes by hand those of
denoising networks, whose eight bits are computed with. torch no longer adds to its tracing exporter, but the one that it recommends needs
more packages. Eight bits are here a way to store: every weight matrix becomes bytes with one scale for each output channel, which ONNX
Runtime unfolds when it loads the graph.
"""

from __future__ import annotations

import importlib.util
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.artifact import write_bytes
from miaobi.core.errors import ArtifactError, MissingExtra, unknown

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMATS = ("fp32", "int8")
OPSET = 17
MOST_THREADS = 8
LEAST = 1024  # weights below so many numbers stay as they are
TOLERANCE = {"fp32": 1e-3, "int8": 0.5}


def file_of(name: str, form: str = "fp32") -> str:
    """Where the graph `name` (decoder, generator) stands in an artifact."""
    return f"onnx/{name}.onnx" if form == "fp32" else f"onnx/{name}_{form}.onnx"


def export(
    module: nn.Module,
    folder: Path,
    name: str,
    inputs: Mapping[str, Tensor],
    *,
    formats: Sequence[str],
    outputs: Sequence[str] = (),
    any_size: bool = False,
    axes: Mapping[str, Mapping[int, str]] | None = None,
) -> dict[str, dict[str, float]]:
    """Write the graph of `module` for batches of any size, and compare it with the module on `inputs`.

    Args:
        outputs: what the module gives, where that is a tuple; otherwise it is called `name`.
        any_size: heights and widths (of what has four dimensions) may differ from those of `inputs`.
        axes: further dimensions that may differ, named, by input and output.

    Returns for each format the largest error of an output, as a share of the largest number of that output.

    Raises:
        UsageError: an unknown format.
        MissingExtra: the package `onnx` is not installed.
        ArtifactError: a graph is too far off, so it is not kept.
    """
    if importlib.util.find_spec("onnx") is None:
        raise MissingExtra("export", "train", "onnx")
    for form in formats:
        if form not in FORMATS:
            raise unknown("format", form, FORMATS)
    import torch

    with torch.inference_mode():
        given = module(*inputs.values())
    expected = [tensor.float().numpy() for tensor in (given if outputs else (given,))]
    traced = _traced(module, inputs, dict(zip(outputs or (name,), expected, strict=True)), any_size=any_size, axes=axes or {})
    errors = {}
    for form in formats:
        path = folder / file_of(name, form)
        write_bytes(path, _with_bytes(traced) if form == "int8" else traced)
        found = Session(path).all({key: tensor.numpy() for key, tensor in inputs.items()})
        error = max(_error(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
        if not error <= TOLERANCE[form]:
            path.unlink()
            raise ArtifactError(
                "the exported graph differs from the model by {error:.1%} of the largest number; it was not kept", error=error
            )
        errors[form] = {f"{name}_error": error}
    return errors


def _error(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-12))


def _traced(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, NDArray[Any]],
    *,
    any_size: bool,
    axes: Mapping[str, Mapping[int, str]],
) -> bytes:
    import torch

    buffer: Any = io.BytesIO()
    shapes = {key: tuple(value.shape) for key, value in inputs.items()} | {key: value.shape for key, value in outputs.items()}
    sides = {key: {2: f"{key}_height", 3: f"{key}_width"} if any_size and len(shape) == 4 else {} for key, shape in shapes.items()}
    named = {key: {0: "batch"} | free | dict(axes.get(key, {})) for key, free in sides.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it recommends the exporter that needs three more packages
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            buffer,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=named,
            opset_version=OPSET,
            dynamo=False,
        )
    return bytes(buffer.getvalue())


def _with_bytes(graph: bytes) -> bytes:
    """The graph with its large weights as int8 and one scale for each first index."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(graph)
    kept, nodes = [], []
    for tensor in model.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if weights.dtype != np.float32 or weights.ndim < 2 or weights.size < LEAST:
            kept.append(tensor)
            continue
        scales = np.abs(weights).reshape(len(weights), -1).max(axis=1) / 127
        shape = (-1, *(1,) * (weights.ndim - 1))
        rounded = np.rint(weights / np.where(scales == 0, 1, scales).reshape(shape)).astype(np.int8)
        stored, scale = f"{tensor.name}.bytes", f"{tensor.name}.scale"
        kept += [numpy_helper.from_array(rounded, stored), numpy_helper.from_array(scales.astype(np.float32), scale)]
        nodes.append(helper.make_node("DequantizeLinear", [stored, scale], [tensor.name], axis=0))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    nodes += list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


class Session:
    """A graph on ONNX Runtime's CPU provider."""

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        """Load the graph.

        Raises:
            ArtifactError: it is missing or damaged.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        options.intra_op_num_threads = threads or min(cores, MOST_THREADS)
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library raises classes of its own that it does not export
            raise ArtifactError("the graph {path} cannot be read: {error}", path=path, error=error) from None
        self.inputs: tuple[str, ...] = tuple(value.name for value in self._session.get_inputs())

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The graph's output, or the first of several; inputs that the graph does not have are left out."""
        return self.all(inputs)[0]

    def all(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        """All outputs, in the order in which the module gave them."""
        found: list[NDArray[np.float32]] = self._session.run(None, {name: inputs[name] for name in self.inputs})
        return found


def open_graph(folder: Path, name: str, *, threads: int | None = None) -> Session:
    """The graph of an artifact: in fp32 where it is there, which is as fast as eight bits that are unfolded.

    Raises:
        ArtifactError: there is none, or it is damaged.
    """
    for form in FORMATS:
        if (folder / file_of(name, form)).is_file():
            return Session(folder / file_of(name, form), threads=threads)
    raise ArtifactError("{folder} holds no ONNX graph. Write one with: miaobi export {folder}", folder=folder)
