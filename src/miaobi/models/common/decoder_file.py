"""A graph's weights on their way to the disk: small ones stay in the graph, others go to a file beside it as they come.

So an export never holds a model twice, and ONNX Runtime maps what lies beside the graph instead of reading it into its own memory first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np

from miaobi.core.artifact import explain_os_errors, write_bytes

if TYPE_CHECKING:
    from miaobi.models.common.decoder_weights import Array

INLINE_BYTES = 64_000_000  # a graph with fewer is one file
LEAST_BYTES = 4096  # of one array: smaller ones stay in the graph, whose shapes are computed from some of them
PAGE = 4096  # where an array in the file may begin, so that it can be mapped


class GraphFile:
    """`path` and, where the weights are many, `<path>_data`. Nothing of either is there before `write` has been called."""

    def __init__(self, path: Path, *, on_bytes: Callable[[int], None] | None = None) -> None:
        """`on_bytes` is told after each array how many bytes all of them have."""
        self.path, self.data = path, path.with_name(path.name + "_data")
        self._temporary = path.with_name(f".{self.data.name}.{os.getpid()}.tmp")
        self._file: IO[bytes] | None = None
        self._inline: list[Any] = []  # TensorProto of those that are still in memory
        self._inline_bytes = 0
        self._on_bytes, self._bytes = on_bytes, 0

    def __enter__(self) -> Self:
        with explain_os_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def tensor(self, name: str, array: Array) -> Any:
        """The `onnx.TensorProto` of an array."""
        from onnx import numpy_helper

        made = numpy_helper.from_array(np.asarray(array, order="C"), name)
        self._bytes += array.nbytes
        if self._on_bytes is not None:
            self._on_bytes(self._bytes)
        if array.nbytes < LEAST_BYTES:
            return made
        self._inline.append(made)
        self._inline_bytes += array.nbytes
        if self._file is not None or self._inline_bytes > INLINE_BYTES:
            self._spill()
        return made

    def rows(self, tensor: Any, name: str, start: int, stop: int) -> Any | None:
        """Rows of an array that lies in the file, under a name of their own and without a second copy; None of one that does not."""
        if not tensor.external_data:
            return None
        place = {entry.key: entry.value for entry in tensor.external_data}
        row_bytes = int(place["length"]) // tensor.dims[0]
        made = type(tensor)(
            name=name, data_type=tensor.data_type, dims=[stop - start, *tensor.dims[1:]], data_location=tensor.data_location
        )
        for key, value in (
            ("location", place["location"]),
            ("offset", int(place["offset"]) + start * row_bytes),
            ("length", (stop - start) * row_bytes),
        ):
            made.external_data.add(key=key, value=str(value))
        return made

    def write(self, model: Any) -> None:
        """The `onnx.ModelProto` of these tensors: first the weights, then the graph, so that what is there is whole."""
        if self._file is None:
            write_bytes(self.path, model.SerializeToString())
            self.data.unlink(missing_ok=True)
            return
        with explain_os_errors(self.data):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._temporary.replace(self.data)
        write_bytes(self.path, model.SerializeToString())

    def _spill(self) -> None:
        """What is in memory goes into the file."""
        from onnx import TensorProto

        with explain_os_errors(self.data):
            if self._file is None:
                self._file = self._temporary.open("wb")
            for tensor in self._inline:
                self._file.write(bytes(-self._file.tell() % PAGE))
                place = {"location": self.data.name, "offset": self._file.tell(), "length": len(tensor.raw_data)}
                self._file.write(tensor.raw_data)
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
                for key, value in place.items():
                    tensor.external_data.add(key=key, value=str(value))
        self._inline.clear()
