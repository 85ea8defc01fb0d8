"""The weights of a checkpoint, read one tensor at a time: never two copies of a model in memory.

Plain reads instead of a memory map: the pages of a mapped bfloat16 file would count beside the fp32 numbers made of them. The library
`safetensors` checks the header (no overlaps, no holes, nothing beyond the file) before a number is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from miaobi.core.errors import ArtifactError

TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


class StoredWeights(Mapping[str, Tensor]):
    """Tensors by name; numbers with a fraction become `dtype` as they are read."""

    def __init__(self, files: Sequence[Path], dtype: torch.dtype | None = torch.float32) -> None:
        """Read the headers.

        Raises:
            ArtifactError: a file is damaged.
        """
        self.dtype = dtype
        self._entries: dict[str, tuple[Path, int, dict[str, Any]]] = {}
        for path in files:
            start, header = _header(path)
            for name, entry in header.items():
                if name != "__metadata__":
                    self._entries[name] = (path, start, entry)

    @property
    def numel(self) -> int:
        """How many numbers are stored."""
        return sum(math.prod(entry["shape"]) for _, _, entry in self._entries.values())

    def __getitem__(self, name: str) -> Tensor:
        path, start, entry = self._entries[name]
        begin, end = entry["data_offsets"]
        data = bytearray(end - begin)
        with path.open("rb", buffering=0) as file:
            file.seek(start + begin)
            view = memoryview(data)
            while view:
                count = file.readinto(view)
                if not count:
                    raise ArtifactError("{path} is damaged ({error}). Fetch or train the model again", path=path, error="truncated")
                view = view[count:]
        kind = TYPES[entry["dtype"]]
        tensor = torch.frombuffer(data, dtype=kind) if data else torch.empty(0, dtype=kind)
        tensor = tensor.view(entry["shape"])
        return tensor.to(self.dtype) if self.dtype is not None and entry["dtype"] in FLOATS else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Where the numbers begin, and the header, after the library has found nothing wrong with it.

    Raises:
        ArtifactError: it is damaged, names a tensor twice, or has numbers of an unknown kind.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            names = list(opened.keys())
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length), object_pairs_hook=_once)
        unknown = {str(header[name]["dtype"]) for name in names} - TYPES.keys()
        if unknown:
            raise ValueError(f"numbers of the kind {', '.join(sorted(unknown))}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise ArtifactError("{path} is damaged ({error}). Fetch or train the model again", path=path, error=error) from None
    return 8 + length, header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice in the header")
    return found
