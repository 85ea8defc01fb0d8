"""What a thing on disk is, as plain values: a labelled file, a model, a dataset, a run or a recipe."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.core.artifact import Artifact, is_model, open_artifact
from miaobi.core.choices import choices_of
from miaobi.core.errors import MissingExtra, UsageError
from miaobi.core.families import Family, family
from miaobi.core.language import tr
from miaobi.core.recipe import Recipe
from miaobi.core.shelf import find
from miaobi.engine.load import choose, pulled

if TYPE_CHECKING:
    from miaobi.trust.media import MarkedMedia


def about(thing: str | Path) -> dict[str, Any]:
    """Its description; `kind` says what it is.

    Raises:
        UsageError: nothing of that name is here, or the file carries no label.
    """
    path = Path(thing)
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        return {"kind": "recipe", **Recipe.load(path).model_dump(mode="json")}
    if path.is_file() and not is_model(path):
        return _content(path)
    if (path / "resolved.yaml").is_file():
        return _run(path)
    if path.is_dir() and not is_model(path):
        from miaobi.data.dataset import Dataset

        dataset = Dataset.open(path)
        return {"kind": "dataset", "folder": str(path), "sha256": dataset.sha256, **dataset.card}
    return _model(open_artifact(found(thing)))


def found(thing: str | Path) -> Path:
    """The model's folder; a name that ends as files do, and is nothing here, is a missing file rather than an unknown model.

    Raises:
        UsageError: there is neither.
    """
    path = Path(thing)
    try:
        folder = find(thing)
    except UsageError:
        folder = path
        if not path.suffix:
            raise
    if path.suffix and not folder.exists():
        raise UsageError("there is no file at {path}", path=path)
    return folder


def _content(path: Path) -> dict[str, Any]:
    """The label; of a picture its size too, of a sound or a film how long it is."""
    from miaobi.trust import label
    from miaobi.trust.formats import Marked
    from miaobi.trust.media import MarkedMedia

    values, marked = label.to_dict(label.read(path)), label.read_marked(path)
    if isinstance(marked, Marked):
        return {"kind": "content", **values}
    if isinstance(marked, MarkedMedia):
        return {"kind": "content", str(marked.modality): _medium(marked), **values}
    height, width = marked.pixels.shape[:2]
    return {"kind": "content", "picture": f"{width} × {height} {marked.mime}", **values}


def _medium(marked: MarkedMedia) -> str:
    """`3.00 s, 44100 Hz, 2 channels audio/wav`; of a film its size and rate, of a score only its kind."""
    from miaobi.core.types import Modality

    if marked.modality is Modality.AUDIO:
        from miaobi.trust.media import length

        count, channels, rate = length(marked.data)
        return f"{count / rate:.2f} s, {rate} Hz, {channels} channels {marked.mime}"
    if marked.modality is Modality.VIDEO:
        from miaobi.data.videos import probe

        film = probe(marked.data if isinstance(marked.data, bytes) else marked.data.path)
        return f"{film.seconds:.2f} s, {film.width} × {film.height}, {film.fps:g} frames a second {marked.mime}"
    return marked.mime


def _model(artifact: Artifact) -> dict[str, Any]:
    kind = family(artifact.family)
    card, evaluation = artifact.folder / "README.md", artifact.folder / "eval.json"
    figures = json.loads(evaluation.read_text(encoding="utf-8"))["figures"] if evaluation.is_file() else {}
    return {
        "kind": "model",
        "name": artifact.name,
        "family": artifact.family,
        "summary": kind.summary,
        "runtime": _runtime(artifact, kind),
        "choices": {name: list(values) for name, values in choices_of(artifact.folder).items() if name in kind.schemas()[1].model_fields},
        "licence": artifact.licence,
        "base": artifact.base,
        "data": list(artifact.data),
        "source": artifact.sha256,
        "folder": str(artifact.folder),
        "card": str(card) if card.is_file() else "",
        "files": {name: entry["bytes"] for name, entry in artifact.files.items()},
        "figures": {name: figure["value"] for name, figure in figures.items()},
    }


def _runtime(artifact: Artifact, kind: Family) -> dict[str, Any]:
    """What computes it on a CPU and why; what rounding its graph cost; which package that would need is not here."""
    choice = choose(artifact, kind)
    found = {"computes": choice.computes, "why": choice.why}
    bits = pulled(artifact.folder).get("graph", {}).get("bits")
    if choice.computes == "onnx" and bits is not None:
        found["rounding"] = tr("{bits:+.4f} bits a token, in texts of its own", bits=bits)
    lacking = next((package for package in kind.packages if find_spec(package) is None), "")
    if lacking and not choice.light:
        found["missing"] = str(MissingExtra(tr("family '{name}'", name=kind.name), kind.extra, lacking))
    return found


def _run(folder: Path) -> dict[str, Any]:
    log = folder / "log.jsonl"
    last: dict[str, Any] = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else ():
        event = json.loads(line)
        last[event.get("kind", "step")] = event
    recipe = Recipe.load(folder / "resolved.yaml")
    checkpoints = sorted(path.name for path in (folder / "checkpoints").glob("step-*") if path.suffix == "")
    state = {"kind": "run", "name": recipe.name, "family": recipe.model.family, "steps": recipe.train.steps}
    return {**state, "checkpoints": checkpoints, "last": last}
