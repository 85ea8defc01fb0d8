"""Which values a model knows for an option that its schema leaves open: styles, voices, classes.

Two conventions, both read without loading the model: `config.json` lists the plural of the option's name (`styles` for `style`), or a file
of the model named by the plural holds one entry for each (`voices.safetensors` for `voice`).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from miaobi.core.artifact import read_text
from miaobi.core.errors import MiaobiError

LARGEST_HEAD = 1 << 20  # bytes of the head of a safetensors file
MOST = 2000


def choices_of(folder: Path) -> Mapping[str, Sequence[str]]:
    """Values by option; empty where a model has none of these files."""
    found: dict[str, Sequence[str]] = {}
    for name, values in _config(folder).items():
        if name.endswith("s") and isinstance(values, list) and values and all(isinstance(value, str) for value in values):
            found[name.removesuffix("s")] = values[:MOST]
    for path in sorted(folder.glob("*s.safetensors")):
        names = _entries(path)
        if names:
            found[path.stem.removesuffix("s")] = names[:MOST]
    return found


def _config(folder: Path) -> Mapping[str, object]:
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        values = json.loads(read_text(path))
    except (ValueError, MiaobiError):
        return {}
    return values if isinstance(values, dict) else {}


def _entries(path: Path) -> list[str]:
    """The names of the tensors, from the head of the file alone; an entry of several (`a.left`, `a.right`) is one."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            head = json.loads(file.read(length)) if length <= LARGEST_HEAD else {}
    except (OSError, ValueError, struct.error):
        return []
    return sorted({name.partition(".")[0] for name in head if name != "__metadata__"})
