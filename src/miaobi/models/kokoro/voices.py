"""Voices: a style vector for every length of text, stored as a mean and few directions, mixed by weights.

A Kokoro voice is a table (510, 256): row n is the style of an utterance of n + 1 phonemes. The 54 tables hold far less than their 130,560
numbers: twelve directions give each back to within the rounding of float32 (tests hold it to 1e-5 of its size), at 38 KB instead of 522.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import ArtifactError, UsageError, unknown

FILE = "voices.safetensors"
LENGTHS, STYLE, RANK = 510, 256, 12
DEFAULT = {"zh": "zf_xiaobei", "en": "af_heart"}
BRITISH = "b"  # the first letter of such voices' names; a is American, z Mandarin; the second says f or m
Floats = NDArray[np.float32]


class Voices:
    """The voices of an artifact by name."""

    def __init__(self, tensors: Mapping[str, Floats]) -> None:
        self._tensors = tensors
        self.names = tuple(sorted(name.removesuffix(".mean") for name in tensors if name.endswith(".mean")))

    @classmethod
    def load(cls, folder: Path) -> Voices:
        """The voices that `packed` made.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return cls(load_file(folder / FILE))
        except (OSError, ValueError, SafetensorError) as error:
            raise ArtifactError("the voices in {folder} cannot be read: {error}", folder=folder, error=error) from None

    def style(self, mix: Mapping[str, float], length: int) -> Floats:
        """The style (256,) of an utterance of `length` phonemes in a mix of voices whose weights sum to 1."""
        row = min(length, LENGTHS) - 1
        parts = [
            weight * (self._tensors[f"{name}.mean"] + self._tensors[f"{name}.left"][row] @ self._tensors[f"{name}.right"])
            for name, weight in mix.items()
        ]
        style: Floats = np.sum(parts, axis=0, dtype=np.float32)
        return style

    def mix(self, text: str, language: str) -> dict[str, float]:
        """What `zf_xiaobei`, `zf_xiaobei,zm_yunxi` or `zf_xiaobei:0.7,zm_yunxi:0.3` says, weights summing to 1; empty takes the language's.

        Raises:
            UsageError: an unknown voice, with the list of the known ones, or a weight that is none.
        """
        found: dict[str, float] = {}
        for part in (text or DEFAULT[language]).replace("，", ",").split(","):
            name, _, weight = (word.strip() for word in part.replace("：", ":").partition(":"))
            if name not in self.names:
                raise unknown("voice", name, self.names)
            found[name] = found.get(name, 0.0) + _weight(weight, name)
        total = sum(found.values())
        return {name: weight / total for name, weight in found.items()}


def check(folder: Path, options: Mapping[str, Any], /) -> None:
    """Tell an unknown voice, or a mix that is none; see `core.families.Check`."""
    if options.get("voice"):
        Voices.load(folder).mix(options["voice"], "en")


def _weight(text: str, name: str) -> float:
    try:
        weight = float(text or 1)
    except ValueError:
        weight = 0.0
    if not 0 < weight < 1e6:
        raise UsageError("the weight '{weight}' of the voice {name} is no positive number; write {name}:0.5", weight=text, name=name)
    return weight


def packed(name: str, table: Floats) -> dict[str, Floats]:
    """A voice's table (510, 256) as its mean (256), and `RANK` directions with how far each row goes along them."""
    assert table.shape == (LENGTHS, STYLE)
    mean = table.mean(axis=0, dtype=np.float64)
    left, sizes, right = np.linalg.svd(table - mean, full_matrices=False)
    return {
        f"{name}.mean": mean.astype(np.float32),
        f"{name}.left": np.ascontiguousarray((left * sizes)[:, :RANK], np.float32),
        f"{name}.right": np.ascontiguousarray(right[:RANK], np.float32),
    }
