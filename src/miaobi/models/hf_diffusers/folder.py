"""A diffusers folder is looked over before anything in it is loaded: no code of its own, no pickled weights, no network.

The library would import Python files that `model_index.json` names, and unpickle `.bin` files; both run whatever their author wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from miaobi.core.artifact import read_json
from miaobi.core.errors import ArtifactError

INDEX = "model_index.json"
LIBRARIES = ("diffusers", "transformers")
_VARIANT = re.compile(r"\.(\w+)(?:-\d+-of-\d+)?\.safetensors$")  # `model.fp16.safetensors`
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def check(folder: Path) -> Mapping[str, Any]:
    """The index of the folder, when all that it names may be loaded.

    Raises:
        ArtifactError: no readable index, a pipeline or component of unknown origin, or weights that are only there pickled.
    """
    index = read_index(folder)
    import diffusers

    name = index.get("_class_name")
    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not isinstance(kind, type) or not issubclass(kind, diffusers.DiffusionPipeline):
        raise ArtifactError(
            "{folder} holds a pipeline of the class {name}, which diffusers {version} does not have; code from a folder is never run",
            folder=folder,
            name=name,
            version=diffusers.__version__,
        )
    for part, origin in index.items():
        if part.startswith("_") or not isinstance(origin, list) or origin[:1] == [None]:
            continue
        library = str(origin[0])
        if library not in LIBRARIES and not hasattr(diffusers.pipelines, library):
            raise ArtifactError(
                "{folder}: the part {part} is code of {library}, which is never run", folder=folder, part=part, library=library
            )
        _check_weights(folder, part)
    return index


def variant(folder: Path, index: Mapping[str, Any]) -> str | None:
    """The name of the weights (`fp16`, mostly) where a part has them under such a name alone; None where every part has plain ones."""
    found: set[str] = set()
    for part in index:
        names = [path.name for path in (folder / part).glob("*.safetensors")]
        named = [match[1] for name in names if (match := _VARIANT.search(name))]
        if named and len(named) == len(names):
            found |= set(named)
    return "fp16" if "fp16" in found else min(found, default=None)


def read_index(folder: Path) -> dict[str, Any]:
    """What `model_index.json` holds.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    return read_json(folder / INDEX)


def _check_weights(folder: Path, part: str) -> None:
    """Pickled weights are passed over where safe ones stand beside them."""
    files = [path for path in (folder / part).glob("*") if path.is_file()]
    pickled = [path.name for path in files if path.suffix in PICKLED]
    if pickled and not any(path.suffix == ".safetensors" for path in files):
        raise ArtifactError(
            "{folder}: the weights of {part} are pickled ({file}), which could run anything. Take the model's safetensors files",
            folder=folder,
            part=part,
            file=pickled[0],
        )
