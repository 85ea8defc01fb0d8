"""A denoising network without torch: a graph of `picture_graph` run by ONNX Runtime, called as the network itself is called."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from miaobi.core.errors import ArtifactError
from miaobi.engine.sampling.together import together

Array = npt.NDArray[Any]
PRECISIONS = ("int8", "fp16", "fp32")  # quickest and smallest first
MOST_THREADS = 16


def file_of(name: str, precision: str) -> str:
    """Where the graph `name` stands in an artifact."""
    return f"onnx/{name}.onnx" if precision == "fp32" else f"onnx/{name}_{precision}.onnx"


def find(folder: Path, name: str = "network", *, precisions: Sequence[str] = PRECISIONS) -> Path:
    """The first graph of these precisions that an artifact has.

    Raises:
        ArtifactError: it has none.
    """
    for precision in precisions:
        path = folder / file_of(name, precision)
        if path.is_file():
            return path
    raise ArtifactError("{folder} has no {file}; write it with: miaobi export {folder}", folder=folder, file=file_of(name, precisions[-1]))


class PictureRuntime:
    """A session that is called as `UNet` and `DiT` are, with numpy arrays."""

    def __init__(self, graph: Path | bytes, *, threads: int | None = None) -> None:
        """Load the graph from a file, or from its bytes.

        Raises:
            ArtifactError: it is missing or damaged.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or min(_cores(), MOST_THREADS)
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        source = str(graph) if isinstance(graph, Path) else graph
        try:
            self._session: Any = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions have no common base but RuntimeError's
            place = graph if isinstance(graph, Path) else "<bytes>"
            raise ArtifactError("{path} is damaged ({error}). Fetch or train the model again", path=place, error=error) from None
        self._shapes: dict[str, Sequence[int | str]] = {value.name: value.shape for value in self._session.get_inputs()}
        self._outputs: list[str] = [value.name for value in self._session.get_outputs()]

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that the graph takes; None for any."""
        height, width = self._shapes["x"][2:]
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def __call__(
        self, x: Array, time: Array | float, *, vector: Array | None = None, tokens: Array | None = None, mask: Array | None = None
    ) -> npt.NDArray[np.float32]:
        """The prediction (B, C, H, W) for noisy pictures at time (B,), or at one time for all."""
        prediction: npt.NDArray[np.float32] = together(id(self._session), self._predict, self._feeds(x, time, vector, tokens, mask))
        return prediction

    def _predict(self, feeds: Mapping[str, Array]) -> Array:
        """The graph rounds each row on its own, so rows of several requests may share a call."""
        prediction: Array = self._session.run(["prediction"], dict(feeds))[0]
        return prediction

    def everything(
        self, x: Array, time: Array | float, *, vector: Array | None = None, tokens: Array | None = None, mask: Array | None = None
    ) -> dict[str, npt.NDArray[np.float32]]:
        """All outputs by name: a graph that is watched has more than the prediction."""
        feeds = self._feeds(x, time, vector, tokens, mask)
        return dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))

    def _feeds(
        self, x: Array, time: Array | float, vector: Array | None, tokens: Array | None, mask: Array | None
    ) -> dict[str, npt.NDArray[Any]]:
        """The graph's inputs; a condition that is left out is the network's "not told": zeros, or no tokens."""
        given = {"vector": vector, "tokens": tokens, "mask": mask}
        for name, value in given.items():
            assert value is None or name in self._shapes, f"the graph takes no {name}"
        B = len(x)
        feeds: dict[str, npt.NDArray[Any]] = {
            "x": np.ascontiguousarray(x, dtype=np.float32),
            "time": np.broadcast_to(np.asarray(time, dtype=np.float32), (B,)).copy(),
        }
        if "vector" in self._shapes:
            feeds["vector"] = np.zeros((B, int(self._shapes["vector"][1])), np.float32) if vector is None else _float(vector)
        if "tokens" in self._shapes:
            feeds["tokens"] = np.zeros((B, 0, int(self._shapes["tokens"][2])), np.float32) if tokens is None else _float(tokens)
        if "mask" in self._shapes:
            feeds["mask"] = np.ones(feeds["tokens"].shape[:2], dtype=np.bool_) if mask is None else np.asarray(mask, dtype=np.bool_)
        return feeds


def _float(array: Array) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(array, dtype=np.float32)


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
