"""The models that are on this machine: built in, pulled into the home folder, trained in `artifacts/`; found by name, path or hash."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from miaobi.core.artifact import MANIFEST, is_model, open_artifact
from miaobi.core.errors import ArtifactError, unknown
from miaobi.core.home import builtin, home

ARTIFACTS = Path("artifacts")  # in the working folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A model that is on this machine."""

    name: str
    family: str
    licence: str
    source: str
    bytes: int
    folder: Path

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"folder": str(self.folder)}


def list_models() -> list[Known]:
    """Every model that `load` finds by name: built in, pulled into the home folder, and trained in `artifacts/`."""
    found: dict[str, Known] = {}
    for place in _places():
        for manifest in sorted(place.glob(f"*/{MANIFEST}")):
            folder = manifest.parent
            if folder.name in found or folder.suffix in (".tmp", ".old"):
                continue
            try:
                state = manifest.stat()
                found[folder.name] = _known(folder, (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns))
            except (ArtifactError, OSError):  # a damaged one does not hide the others; `load` says what is wrong with it
                continue
    return list(found.values())


@functools.lru_cache(maxsize=1024)
def _known(folder: Path, state: tuple[int, ...]) -> Known:
    """What a manifest says; a server asks every other second, and it is read again only when its `state` is another."""
    artifact = open_artifact(folder)
    return Known(
        name=folder.name,
        family=artifact.family,
        licence=artifact.licence,
        source=artifact.sha256,
        bytes=sum(entry["bytes"] for entry in artifact.files.values()),
        folder=folder,
    )


def find(model: str | Path) -> Path:
    """The model that a name or a path means: a known name, an artifact folder, a run's folder, a plain Hugging Face folder or a GGUF file.

    Raises:
        UsageError: an unknown name, with the nearest known one.
        ArtifactError: a folder without a finished model.
    """
    name = str(model)
    is_path = isinstance(model, Path) or "/" in name or "\\" in name or name.startswith(".")
    if not is_path:
        for place in _places():
            if name and is_model(place / name):
                return place / name
        if not Path(name).is_dir() and not is_model(Path(name)):
            raise unknown("model", name, [known.name for known in list_models()])
    folder = Path(model)
    return _of_run(folder) if (folder / "resolved.yaml").is_file() else folder


def _of_run(folder: Path) -> Path:
    """The finished artifact of a run's folder."""
    from miaobi.core.recipe import Recipe

    name = Recipe.load(folder / "resolved.yaml").name
    for candidate in (folder / "artifact", folder.parent.parent / ARTIFACTS / name, ARTIFACTS / name):
        if (candidate / MANIFEST).is_file():
            return candidate
    raise ArtifactError("the training in {folder} is not finished. Go on with: miaobi train RECIPE --resume", folder=folder)


def find_by_hash(source: str, name: str) -> Path:
    """The folder of the model with that artifact hash, whatever its name is now.

    Raises:
        ArtifactError: no such model is here.
    """
    for known in list_models():
        if known.source == source:
            return known.folder
    raise ArtifactError("the model {name} with the hash {source} is not here; name its folder with --model", name=name, source=source[:12])


def _places() -> Iterator[Path]:
    """Where models are, in the order in which a name is looked for."""
    yield from (builtin(), home() / "models", ARTIFACTS)
