"""A Hugging Face folder as numpy: the tensors of `*.safetensors` in fp32, one at a time, whatever float type they are stored in.

No torch. bfloat16 is not a numpy type; `ml_dtypes`, which `onnx` brings, adds it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from miaobi.core.errors import ArtifactError

Array = npt.NDArray[Any]
PREFIX = "transformer."  # GPT-2 checkpoints exist with and without it


class Tensors(Mapping[str, Array]):
    """The tensors of a decoder in fp32, by Hugging Face's names without `transformer.`."""

    def optional(self, name: str) -> Array | None:
        """The tensor, or None where there is none (a bias, mostly)."""
        if name not in self:
            return None
        return self[name]


class StoredTensors(Tensors):
    """The tensors of a folder by name, read and converted to fp32 at each access: never two copies of a model in memory."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, Any] = {}
        for path in _weight_files(folder):
            opened = _open(path)
            for name in opened.keys():  # noqa: SIM118  (safe_open is no mapping)
                self._files[name.removeprefix(PREFIX)] = (opened, name)

    def __getitem__(self, name: str) -> Array:
        if name not in self._files:
            raise ArtifactError("the weights lack the tensor {name}", name=name)
        opened, stored = self._files[name]
        tensor: Array = np.asarray(opened.get_tensor(stored), dtype=np.float32)
        return tensor

    @property
    def numel(self) -> int:
        """How many numbers are stored."""
        return sum(math.prod(opened.get_slice(stored).get_shape()) for opened, stored in self._files.values())

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _weight_files(folder: Path) -> list[Path]:
    """`model.safetensors`, or the shards that the index names."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        raise ArtifactError("{folder} has no model.safetensors, so there are no weights to export", folder=folder)
    names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    for name in names:
        if not (folder / name).is_file():
            raise ArtifactError("artifact {folder}: the file {name} is missing. Fetch or train the model again", folder=folder, name=name)
    return [folder / name for name in names]


def _open(path: Path) -> Any:
    import ml_dtypes  # noqa: F401  (registers bfloat16 with numpy)
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="np")
    except SafetensorError as error:
        raise ArtifactError("{path} is damaged ({error}). Fetch or train the model again", path=path, error=error) from None
