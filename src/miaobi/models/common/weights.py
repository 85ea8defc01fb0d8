"""A network's weights in `model.safetensors`, in the numbers that the model is stored in; what cannot be read is said as one error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from miaobi.core.errors import ArtifactError

WEIGHTS = "model.safetensors"
FLOATS = {"fp32": torch.float32, "fp16": torch.float16}  # what a configuration's `stored` means


def save_weights(tensors: Mapping[str, Tensor], folder: Path, *, dtype: torch.dtype | None = None) -> None:
    """Write the tensors; numbers with a fraction become `dtype`, where one is given."""
    stored = {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None).contiguous() for name, tensor in tensors.items()
    }
    save_file(stored, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # the library makes it readable for its owner only, and models are shared


@contextmanager
def reading_weights(folder: Path) -> Iterator[None]:
    """While weights are read and put into a network.

    Raises:
        ArtifactError: the file is missing or damaged, or does not fit the configuration.
    """
    try:
        yield
    except (OSError, KeyError, TypeError, RuntimeError, ValueError, SafetensorError) as error:
        raise ArtifactError("the weights in {folder} cannot be read: {error}", folder=folder, error=error) from None
