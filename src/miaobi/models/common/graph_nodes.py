"""ONNX graphs written node by node for networks over pictures: names out, names in, and weights that are stored in 32 or 8 bits.

Unusual: eight bits are for the size of the file only. A weight is stored as bytes with a scale for each output channel, and made a float
again when the graph is loaded (ONNX Runtime folds constants). So every picture is computed in fp32, and only the rounding is seen.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.artifact import write_bytes
from miaobi.core.errors import ArtifactError, MissingExtra

OPSET = 21
SMALL = 1024  # weights of fewer numbers stay as they are: nothing is saved
MOST_THREADS = 8
FLOAT = 1  # onnx.TensorProto.FLOAT


class Nodes:
    """Nodes and initialisers as they are added. Every method returns the name of the value that it adds."""

    def __init__(self, *, quantised: bool) -> None:
        if importlib.util.find_spec("onnx") is None:
            raise MissingExtra("export", "train", "onnx")
        self.quantised = quantised
        self.nodes: list[Any] = []
        self.initialisers: dict[str, Any] = {}

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output."""
        from onnx import helper

        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Add an initialiser once."""
        from onnx import numpy_helper

        if name not in self.initialisers:
            self.initialisers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def integers(self, *values: int) -> str:
        """A one-dimensional int64 constant."""
        return self.constant("i" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def weight(self, name: str, array: NDArray[np.float32], *, axis: int = 0) -> str:
        """A weight, in eight bits where the graph is quantised; `axis` counts its outputs."""
        if not self.quantised or array.size < SMALL:
            return self.constant(name, array.astype(np.float32))
        others = tuple(number for number in range(array.ndim) if number != axis)
        scales = np.abs(array).max(axis=others, keepdims=True) / 127
        scales = np.where(scales == 0, 1, scales).astype(np.float32)
        values = np.clip(np.rint(array / scales), -127, 127).astype(np.int8)
        stored = self.op("Cast", self.constant(f"{name}.bytes", values), to=FLOAT)
        return self.op("Mul", stored, self.constant(f"{name}.scales", scales))

    def linear(self, x: str, name: str, matrix: NDArray[np.float32], bias: NDArray[np.float32] | None = None) -> str:
        """x (..., in) times `matrix` (out, in), plus bias."""
        y = self.op("MatMul", x, self.weight(name, np.ascontiguousarray(matrix.T), axis=1))
        return y if bias is None else self.op("Add", y, self.constant(f"{name}.bias", bias))

    def silu(self, x: str) -> str:
        """x times its sigmoid."""
        return self.op("Mul", x, self.op("Sigmoid", x))

    def save(
        self, path: Path, *, inputs: Sequence[tuple[str, Sequence[int | str]]], outputs: Sequence[tuple[str, str, Sequence[int | str]]]
    ) -> None:
        """Write the model. `inputs` are names and shapes, `outputs` names, the values that they are, and shapes; all of floats."""
        from onnx import helper

        for name, value, _ in outputs:
            self.nodes.append(helper.make_node("Identity", [value], [name], name=name))
        graph = helper.make_graph(
            self.nodes,
            "picture",
            [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs],
            [helper.make_tensor_value_info(name, FLOAT, shape) for name, _, shape in outputs],
            list(self.initialisers.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10, producer_name="miaobi")
        write_bytes(path, model.SerializeToString())


def open_graph(folder: Path, files: Iterable[str], *, threads: int | None = None) -> Any:
    """An ONNX Runtime session of the first of these files that is in `folder`.

    Raises:
        ArtifactError: none of them is there, or it is damaged.
    """
    import onnxruntime

    names = list(files)
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise ArtifactError("{folder} has no {file}; write it with: miaobi export {folder}", folder=folder, file=names[-1])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or min(_cores(), MOST_THREADS)
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base but RuntimeError's
        raise ArtifactError("{path} is damaged ({error}). Fetch or train the model again", path=path, error=error) from None


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
