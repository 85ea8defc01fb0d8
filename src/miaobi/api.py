"""The Python API behind the lazy names of `miaobi`; the command line, the server and the studio call nothing else.

    miaobi.load("poet").generate("中秋月夜", form="七绝", n=3, seed=7)

Whatever is slow to import is imported where it is used, so that naming a model costs a few milliseconds.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.core.artifact import MANIFEST, Artifact, new_folder, open_artifact, seal, write_text
from miaobi.core.errors import ArtifactError, MissingExtra, UsageError, unknown
from miaobi.core.families import Family, family
from miaobi.core.shelf import ARTIFACTS, find, find_by_hash
from miaobi.core.shelf import list_models as list_models
from miaobi.core.types import Card, Chunk, Content, Request, canonical_json

if TYPE_CHECKING:
    from miaobi.core.protocols import Model
    from miaobi.core.recipe import Recipe
    from miaobi.core.schema import Schema
    from miaobi.data.dataset import Dataset
    from miaobi.engine.journal import OnEvent
    from miaobi.engine.train import TrainResult
    from miaobi.trust.replay import Replay
    from miaobi.trust.verify import Verdict

OnProgress = Callable[[str, int, "int | None"], None]  # phase, done, total or None when it is not known
DATASETS, RUNS = Path("datasets"), Path("runs")  # in the working folder; finished models are in `artifacts/`
DEVICES = ("cpu", "cuda", "mps")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to write."""

    model: Model
    family: Family
    artifact: Artifact

    @property
    def card(self) -> Card:
        """Who the model is."""
        return self.model.card

    def generate(self, prompt: str = "", *, n: int = 1, seed: int | None = None, **options: Any) -> list[Content]:
        """`n` labelled contents. Without a seed a new one is drawn; the label tells it, so that it can be made again.

        Raises:
            UsageError: an unknown or impossible option.
        """
        from miaobi.engine.generate import collect

        return collect(self.model, _request(prompt, n, seed, options))

    def stream(self, prompt: str = "", *, n: int = 1, seed: int | None = None, **options: Any) -> Iterator[Chunk | Content]:
        """Pieces as they are made, and every content when it is complete. Closing the iterator cancels."""
        from miaobi.engine.generate import run

        return run(self.model, _request(prompt, n, seed, options))


def _request(prompt: str, n: int, seed: int | None, options: Mapping[str, Any]) -> Request:
    if seed is None:
        import secrets

        seed = secrets.randbits(31)
    return Request.of(prompt, seed=seed, **({"n": n} if n != 1 else {}), **options)


def trained(recipe: Recipe) -> Path:
    """Where the finished model of a recipe is."""
    folder = ARTIFACTS / recipe.name
    if not (folder / MANIFEST).is_file():
        raise ArtifactError("the recipe '{name}' has no finished model in {folder} yet. Train it first", name=recipe.name, folder=folder)
    return folder


def options_schema(model: str | Path) -> type[Schema]:
    """The options that a model takes when it generates; its weights are not read for that."""
    return family(open_artifact(find(model)).family).schemas()[1]


def load(model: str | Path, *, runtime: str = "auto", device: str = "cpu", threads: int | None = None) -> Loaded:
    """A model by name (`poet`), artifact folder or run folder, its files checked against their hashes.

    Args:
        runtime: `onnx` computes the exported graph without torch; `torch` the weights; `auto` takes the graph on a CPU when it is there.
        device: `cpu`, `cuda` or `cuda:N`.
        threads: cores to use; the library decides when absent.

    Raises:
        UsageError: an unknown name or runtime.
        ArtifactError: the files are missing, damaged or of a newer format.
        MissingExtra: the family needs a package that is not installed.
    """
    if runtime not in ("auto", "onnx", "torch"):
        raise unknown("runtime", runtime, ["auto", "onnx", "torch"])
    artifact = open_artifact(find(model), verify=True)
    kind = family(artifact.family)
    graph = any(name.startswith("onnx/") for name in artifact.files)
    if runtime == "onnx" and not (graph and kind.runtime):
        raise ArtifactError("{folder} holds no ONNX graph. Write one with: miaobi export {folder}", folder=artifact.folder)
    _check_device(device)
    light = kind.runtime_class() if runtime != "torch" and graph and device == "cpu" else None
    loaded: Model = _load(light or kind.model_class(), artifact, device, threads)
    computes = "onnx" if light else "torch" if "torch" in kind.packages else ""
    loaded.card = dataclasses.replace(loaded.card, name=artifact.name, source=artifact.sha256, licence=artifact.licence, runtime=computes)
    return Loaded(loaded, kind, artifact)


def _check_device(device: str) -> None:
    """Refuse a device that does not exist before anything is loaded onto it."""
    kind, _, number = device.partition(":")
    if kind not in DEVICES or (number and not number.isdecimal()):
        raise unknown("device", device, DEVICES)
    if kind == "cpu" or importlib.util.find_spec("torch") is None:  # without torch the family names its missing extra
        return
    import torch

    there = torch.cuda.device_count() > int(number or 0) if kind == "cuda" else torch.backends.mps.is_available()
    if not there:
        raise UsageError("this machine has no device {device} that torch can use; choose another, such as cpu", device=device)


def _load(maker: type[Model], artifact: Artifact, device: str, threads: int | None) -> Model:
    import inspect
    import sys

    if threads is None:
        return maker.load(artifact.folder, device=device)
    if "threads" in inspect.signature(maker.load).parameters:  # a runtime with a thread pool of its own
        return maker.load(artifact.folder, device=device, threads=threads)  # type: ignore[call-arg]
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    return maker.load(artifact.folder, device=device)


def generate(model: str | Path, prompt: str = "", *, n: int = 1, seed: int | None = None, **options: Any) -> list[Content]:
    """`load(model).generate(prompt, …)` in one call."""
    return load(model).generate(prompt, n=n, seed=seed, **options)


# ---------------------------------------------------------------- a recipe's life


def recipe_of(recipe: Recipe | str | Path | Mapping[str, Any]) -> Recipe:
    """A recipe, whether it comes as one, as a YAML file's path or as plain values."""
    from miaobi.core.recipe import Recipe

    if isinstance(recipe, Recipe):
        return recipe
    return Recipe.of(recipe) if isinstance(recipe, Mapping) else Recipe.load(Path(recipe))


def dataset_folder(recipe: Recipe) -> Path:
    """`datasets/NAME-HASH`: another data section is another dataset."""
    import hashlib

    digest = hashlib.sha256(canonical_json(recipe.data.model_dump(mode="json"))).hexdigest()
    return DATASETS / f"{recipe.name}-{digest[:8]}"


def run_folder(recipe: Recipe) -> Path:
    """`runs/NAME`."""
    return RUNS / recipe.name


def prepare(
    recipe: Recipe | str | Path | Mapping[str, Any],
    *,
    folder: Path | None = None,
    resume: bool = True,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Dataset:
    """The dataset of a recipe's data section, made if it is not there; a half-made one is gone on with.

    Raises:
        DataError: a source is missing or unreadable, or nothing is left after the steps.
    """
    from miaobi.data.prepare import prepare as prepare_data

    whole = recipe_of(recipe)
    target = folder or dataset_folder(whole)
    return prepare_data(whole.data, target, name=whole.name, resume=resume, workers=workers, on_progress=on_progress)


def train(
    recipe: Recipe | str | Path | Mapping[str, Any],
    *,
    folder: Path | None = None,
    artifact: Path | None = None,
    resume: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    on_progress: OnProgress | None = None,
    on_event: OnEvent | None = None,
) -> TrainResult:
    """Prepare the data when it is not there, then train. The finished model is `artifacts/NAME`, the run `runs/NAME`.

    Args:
        resume: go on from the newest checkpoint; without it a run that has one is refused, never overwritten.
        on_progress: told about the preparation of the data.
        on_event: told about every step that is logged, evaluation and checkpoint.

    Raises:
        Busy: another training holds the run's folder.
        MissingExtra: torch, or a package that the family or a file format needs, is not installed.
        UsageError: the family does not learn, or the run exists and `resume` is False.
    """
    whole = recipe_of(recipe)
    if not whole.model.family:
        whole = whole.model_copy(update={"model": whole.model.model_copy(update={"family": open_artifact(find(whole.model.base)).family})})
    if importlib.util.find_spec("torch") is None:  # the loop is torch's, also for families that only count
        raise MissingExtra("miaobi train", "train", "torch")
    _check_device(device)
    family(whole.model.family).model_class()  # a missing extra is named before the data takes its time
    dataset = prepare(whole, on_progress=on_progress)
    from miaobi.engine.train import train as train_model

    result = train_model(
        whole,
        {name: dataset.split(name) for name in ("train", "val")},
        folder or run_folder(whole),
        artifact=artifact or ARTIFACTS / whole.name,
        tokenizer=dataset.tokenizer,
        data=(f"{whole.name}@{dataset.sha256}",),
        base=find(whole.model.base) if whole.model.base else None,
        device=device,
        threads=threads,
        resume=resume,
        on_event=on_event,
    )
    if result.artifact is not None:
        _describe(open_artifact(result.artifact), whole, dataset, {})
    return result


def evaluate(
    recipe: Recipe | str | Path | Mapping[str, Any],
    *,
    model: str | Path | None = None,
    out: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Measure a model on a recipe's held-out data; returns what `eval.json` holds.

    Args:
        model: by default the recipe's own, whose folder then gets `eval.json` and the model card.
        out: a folder for `eval.json` and the report `eval.html`.

    Raises:
        UsageError: an unknown metric or baseline, or one that this model cannot give.
        ArtifactError: the recipe's model is not trained yet.
    """
    import json

    whole = recipe_of(recipe)
    loaded = load(model or trained(whole), device=device, threads=threads)  # what is measured is what a user gets
    from miaobi.core.protocols import Scorer
    from miaobi.engine.evaluate import evaluate as measure
    from miaobi.engine.report import evaluation_page

    scorer = loaded.model if isinstance(loaded.model, Scorer) else load(loaded.artifact.folder, runtime="torch", threads=threads).model
    dataset = prepare(whole, on_progress=on_progress)
    found = measure(loaded.model, dataset, whole.evaluate, generate=whole.generate, scorer=scorer, seed=seed, on_progress=on_progress)
    if out:
        log = run_folder(whole) / "log.jsonl"
        write_text(out / "eval.json", json.dumps(found, ensure_ascii=False, indent=2) + "\n")
        write_text(out / "eval.html", evaluation_page(found, log=log if log.is_file() and not model else None))
    if model is None:
        _describe(loaded.artifact, whole, dataset, found)
    return found


def _describe(artifact: Artifact, recipe: Recipe, dataset: Dataset, figures: Mapping[str, Any]) -> None:
    """Put `eval.json` and the model card into a model's folder. Its own hash stays: a card makes no other model."""
    import json

    from miaobi.engine.card import model_card
    from miaobi.engine.compare import parameters
    from miaobi.engine.report import read_log

    log = run_folder(recipe) / "log.jsonl"
    card = model_card(
        recipe,
        artifact,
        data=dataset.card,
        evaluation=figures,
        log=read_log(log) if log.is_file() else None,
        parameters=parameters(artifact),
    )
    with _changed(artifact) as folder:
        write_text(folder / "README.md", card)
        if figures:
            write_text(folder / "eval.json", json.dumps(figures, ensure_ascii=False, indent=2) + "\n")


def compare(
    things: Sequence[str | Path],
    recipe: Recipe | str | Path | Mapping[str, Any],
    *,
    out: Path,
    threads: int | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Measure several models on one recipe's held-out data, recipes among them being trained first; returns what `compare.json` holds.

    Args:
        things: models by name or folder, and recipes.
        out: a folder for `compare.json`, the report `compare.html`, and the runs of the recipes.

    Raises:
        UsageError: fewer than two, or something that is neither a recipe nor a model.
    """
    from miaobi.engine.compare import compare as set_side_by_side
    from miaobi.engine.compare import contestants

    whole = recipe_of(recipe)
    paths = [Path(thing) if str(thing).endswith((".yaml", ".yml")) else find(thing) for thing in things]
    models = contestants(paths, out)
    dataset = prepare(whole, on_progress=on_progress)
    return set_side_by_side(
        models, dataset.folder, whole.evaluate, out=out, generate=whole.generate, threads=threads, seed=seed, on_progress=on_progress
    )


def export(model: str | Path, *, formats: Sequence[str] = ("fp32", "int8"), out: Path | None = None) -> dict[str, dict[str, float]]:
    """Write the graphs for the light runtime beside the weights, each checked against torch; returns the errors found.

    Args:
        out: a new artifact with the graphs; the model's own folder is replaced when absent.

    Raises:
        UsageError: the family cannot be exported.
    """
    from miaobi.core.protocols import Exporter

    loaded = load(model, runtime="torch")
    exporter = loaded.model
    if not isinstance(exporter, Exporter):
        raise UsageError("family '{name}' cannot be exported", name=loaded.family.name)
    with _changed(loaded.artifact, out=out) as folder:
        return {name: dict(errors) for name, errors in exporter.export(folder, formats=formats).items()}


@contextmanager
def _changed(artifact: Artifact, *, out: Path | None = None) -> Iterator[Path]:
    """A copy of the artifact to change; sealed, it takes the artifact's place, or that of `out`, at once."""
    with new_folder(out or artifact.folder, replace=out is None) as folder:
        shutil.copytree(artifact.folder, folder, dirs_exist_ok=True)
        (folder / MANIFEST).unlink()
        yield folder
        seal(folder, family=artifact.family, name=artifact.name, licence=artifact.licence, base=artifact.base, data=artifact.data)


# ---------------------------------------------------------------- what is this, and is it true


def verify(thing: str | Path) -> Verdict | Artifact:
    """The verdict about a labelled file; or a model, every file of which has the hash that was sealed.

    Raises:
        UsageError: no such file or model, or a file of another kind.
        ArtifactError: a file of the model is missing or damaged.
    """
    path = Path(thing)
    if path.is_file():
        from miaobi.trust.verify import verify as verify_file

        return verify_file(path)
    if path.suffix and not path.is_dir():
        raise UsageError("there is no file at {path}", path=path)
    return open_artifact(find(thing), verify=True)


def replay(path: str | Path, *, model: str | Path | None = None, device: str = "cpu", threads: int | None = None) -> Replay:
    """Make the content of a labelled file again: the same request to the model with the same hash; tells whether it is identical.

    Args:
        model: the model's name or folder; by default it is looked for by the hash in the label.

    Raises:
        UsageError: the label does not hold the whole request.
        ArtifactError: the model is not here, or the one that was named has another hash.
    """
    from miaobi.engine.replay import replay as make_again
    from miaobi.trust import label as labels

    path = Path(path)
    label = labels.read(path)
    folder = find(model) if model else find_by_hash(label.source, label.model)
    runtime = label.runtime or "auto"  # the two runtimes round differently, so their contents may differ
    return make_again(
        label, lambda name: load(folder, runtime=runtime, device=device, threads=threads).model, text=labels.read_marked(path).text
    )


def show(thing: str | Path) -> dict[str, Any]:
    """What a labelled file, a model, a dataset, a run or a recipe is, as plain values; `kind` says which.

    Raises:
        UsageError: nothing of that name is here, or the file carries no label.
    """
    path = Path(thing)
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        return {"kind": "recipe", **recipe_of(path).model_dump(mode="json")}
    if path.is_file():
        from miaobi.trust import label

        return {"kind": "content", **label.to_dict(label.read(path))}
    if (path / "resolved.yaml").is_file():
        return _show_run(path)
    if path.is_dir() and not (path / MANIFEST).is_file():
        from miaobi.data.dataset import Dataset

        dataset = Dataset.open(path)
        return {"kind": "dataset", "folder": str(path), "sha256": dataset.sha256, **dataset.card}
    return _show_model(open_artifact(find(thing)))


def _show_model(artifact: Artifact) -> dict[str, Any]:
    import json

    card, evaluation = artifact.folder / "README.md", artifact.folder / "eval.json"
    figures = json.loads(evaluation.read_text(encoding="utf-8"))["figures"] if evaluation.is_file() else {}
    return {
        "kind": "model",
        "name": artifact.name,
        "family": artifact.family,
        "summary": family(artifact.family).summary,
        "licence": artifact.licence,
        "base": artifact.base,
        "data": list(artifact.data),
        "source": artifact.sha256,
        "folder": str(artifact.folder),
        "card": str(card) if card.is_file() else "",
        "files": {name: entry["bytes"] for name, entry in artifact.files.items()},
        "figures": {name: figure["value"] for name, figure in figures.items()},
    }


def _show_run(folder: Path) -> dict[str, Any]:
    import json

    log = folder / "log.jsonl"
    last: dict[str, Any] = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else ():
        event = json.loads(line)
        last[event.get("kind", "step")] = event
    recipe = recipe_of(folder / "resolved.yaml")
    checkpoints = sorted(path.name for path in (folder / "checkpoints").glob("step-*") if path.suffix == "")
    state = {"kind": "run", "name": recipe.name, "family": recipe.model.family, "steps": recipe.train.steps}
    return {**state, "checkpoints": checkpoints, "last": last}
