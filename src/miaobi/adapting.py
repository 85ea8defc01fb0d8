"""The Python API of changing models that exist: adapt one, distill one into a smaller, quantise, search for good settings.

    miaobi.adapt("recipes/adapt.yaml").report["bits_per_character"]["general"]

A recipe with a section `adapt`, `prefer`, `reinforce` or `distill` trains by `miaobi.train`, too; here what was gained and what was lost is
measured as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from miaobi import api
from miaobi.core.artifact import new_folder, write_text
from miaobi.core.errors import MiaobiError, UsageError, unknown
from miaobi.core.language import tr
from miaobi.core.recipe import Data, Recipe, Source, Split
from miaobi.core.shelf import ARTIFACTS, find
from miaobi.core.types import Modality, Record

if TYPE_CHECKING:
    from miaobi.api import OnProgress
    from miaobi.engine.adapt import Reward
    from miaobi.engine.journal import OnEvent
    from miaobi.engine.train import TrainResult
    from miaobi.engine.tune import OnTrial

FORMS = ("hf", "gguf", "gguf-f32", "gguf-q8_0", "gguf-q4_0", "gguf-q4_1")
GENERAL_RECORDS = 2000  # of a file of general text are read at most so many: a few hundred are measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    """How an adaptation ended, and what `adapt.json` in its run says; the report is empty when it was interrupted."""

    training: TrainResult
    report: Mapping[str, Any] = field(default_factory=dict)


def adapt(
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
) -> Adapted:
    """Change an existing model as the recipe says, and measure it before and after: on its new data, and on what it could do before.

    Raises:
        UsageError: the recipe changes nothing (it lacks `adapt`, `prefer` and `reinforce`), or the family cannot be changed so.
        and all that `miaobi.train` raises.
    """
    whole = api.recipe_of(recipe)
    if not (whole.adapt or whole.prefer or whole.reinforce):
        raise UsageError("the recipe '{name}' has none of the sections adapt, prefer and reinforce; use miaobi train", name=whole.name)
    options: dict[str, Any] = {"device": device, "threads": threads, "on_progress": on_progress, "on_event": on_event}
    result = api.train(whole, folder=folder, artifact=artifact, resume=resume, reward=reward, **options)
    if result.artifact is None:
        return Adapted(training=result)
    return Adapted(training=result, report=_measured(whole, whole.model.base, result, device, threads, on_progress))


def distill(
    recipe: Recipe | str | Path | Mapping[str, Any],
    *,
    folder: Path | None = None,
    artifact: Path | None = None,
    resume: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    on_progress: OnProgress | None = None,
    on_event: OnEvent | None = None,
) -> Adapted:
    """Teach the recipe's model what its teacher says, and measure both on held-out records; the report calls the teacher `before`.

    Raises:
        UsageError: the recipe has no section `distill`, or the two spell otherwise.
        and all that `miaobi.train` raises.
    """
    whole = api.recipe_of(recipe)
    if whole.distill is None:
        raise UsageError("the recipe '{name}' has no section distill, so there is no teacher", name=whole.name)
    options: dict[str, Any] = {"device": device, "threads": threads, "on_progress": on_progress, "on_event": on_event}
    result = api.train(whole, folder=folder, artifact=artifact, resume=resume, **options)
    if result.artifact is None:
        return Adapted(training=result)
    return Adapted(training=result, report=_measured(whole, whole.distill.teacher, result, device, threads, on_progress))


def quantise(
    model: str | Path,
    *,
    bits: Literal[4, 8] = 4,
    group: Literal[16, 32, 64] | None = None,
    data: Recipe | str | Path | Mapping[str, Any] | None = None,
    records: int = 200,
    out: Path | None = None,
    weights: bool = False,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """A copy of a language model in eight or four bits a weight, in `artifacts/NAME-int4`; returns what `quantise.json` there says.

    Args:
        data: held-out text to measure on: a recipe, or a file or folder of records; by default what the model's own recipe holds out.
        records: how many records are measured.
        weights: also keep the unrounded weights.

    Raises:
        UsageError: a family without such a graph, or no text to measure on.
        ArtifactError: the folder exists.
    """
    from miaobi.engine.ask import draw
    from miaobi.engine.quantise import FORMS
    from miaobi.engine.quantise import quantise as round_weights

    if bits not in FORMS or group not in (None, 16, 32, 64):
        raise UsageError("weights have 4 or 8 bits, in groups of 16, 32 or 64")
    loaded = api.load(model, runtime="torch")
    held_out = _held_out(loaded.artifact.folder, data, on_progress)
    target = out or ARTIFACTS / f"{loaded.artifact.name}-{FORMS[bits]}"
    chosen = draw(held_out, records, seed=seed)
    options: dict[str, Any] = {"bits": bits, "group": group, "weights": weights, "seed": seed, "on_progress": on_progress}
    return round_weights(loaded.model, loaded.artifact, chosen, target, **options)


def tune(
    recipe: Recipe | str | Path | Mapping[str, Any],
    parameters: Sequence[str],
    *,
    trials: int = 20,
    prune: bool = True,
    seed: int = 0,
    out: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    on_progress: OnProgress | None = None,
    on_trial: OnTrial | None = None,
) -> dict[str, Any]:
    """Look for good settings of a recipe; in `runs/NAME-tune` are the attempts, `tune.json`, `tune.html` and the recipe `best.yaml`.

    Args:
        parameters: keys with ranges: `train.optimizer.lr=log(1e-4,1e-2)`, `model.config.layers=int(2,6)`, `train.batch=choice(16,32)`.
        trials: attempts in all; a search that was broken off goes on where it was.
        prune: end attempts early that are worse than half of those before.

    Raises:
        UsageError: a key that the recipe does not have, a range that is none, or a folder with another search.
        and all that `miaobi.train` raises.
    """
    from miaobi.engine.tune import parameter
    from miaobi.engine.tune import tune as search

    whole = api.recipe_of(recipe)
    ranges = [parameter(text) for text in parameters]
    if not ranges:
        raise UsageError("name at least one key to vary, such as --param 'train.optimizer.lr=log(1e-4,1e-2)'")
    train = partial(api.train, device=device, threads=threads, on_progress=on_progress)
    folder = out or api.RUNS / f"{whole.name}-tune"
    return search(whole, ranges, folder, train=train, trials=trials, prune=prune, seed=seed, on_trial=on_trial)


def convert(model: str | Path, out: Path, *, form: str = "hf") -> dict[str, float]:
    """A language model in the format of others, read back and compared; an adapter is merged into its base. Returns the errors found.

    Args:
        out: the new folder (hf) or file (gguf).
        form: `hf`, a folder for `transformers`; `gguf` (fp16), or `gguf-f32`, `gguf-q8_0`, `gguf-q4_0`, `gguf-q4_1`, a file for llama.cpp.

    Raises:
        UsageError: an unknown format, a family or a tokenizer that the format has no words for, or the file exists.
        ArtifactError: what was written says something else; nothing is left of it.
    """
    from miaobi.core.protocols import Portable

    if form not in FORMS:
        raise unknown("format", form, FORMS)
    loaded = api.load(model, runtime="torch")
    if not isinstance(loaded.model, Portable) or Modality.TEXT not in loaded.card.outputs:
        raise UsageError("family '{name}' cannot be exported as {form}", name=loaded.family.name, form=form)
    if form == "hf":
        with new_folder(out) as folder:
            found = loaded.model.to_hub(folder)
            if loaded.artifact.licence:
                write_text(folder / "README.md", f"---\nlicense: {loaded.artifact.licence.lower()}\n---\n\n# {loaded.artifact.name}\n")
        return dict(found)
    if out.exists():
        raise UsageError("{path} exists already; choose another name or remove it", path=out)
    kind = form.partition("-")[2] or "f16"
    return dict(loaded.model.to_gguf(out, form=kind, name=loaded.artifact.name, licence=loaded.artifact.licence))


def _held_out(folder: Path, data: Recipe | str | Path | Mapping[str, Any] | None, on_progress: OnProgress | None) -> Sequence[Record]:
    """Records to measure a model on.

    Raises:
        UsageError: nothing is named, and the model's own data set is not here.
    """
    if isinstance(data, str | Path) and not str(data).endswith((".yaml", ".yml")):
        source = Data(source=Source(path=str(data)), split=Split(val=0), limit=GENERAL_RECORDS)
        return api.prepare({"name": "held-out", "data": source.model_dump(), "model": {"family": "gpt"}}, on_progress=on_progress).split(
            "train"
        )
    if data is not None:
        return api.prepare(data, on_progress=on_progress).split("val")
    own = folder / "recipe.yaml"
    found = Recipe.load(own) if own.is_file() else None
    if found is None or not (api.dataset_folder(found) / "dataset.json").is_file():
        raise UsageError("the model's own data set is not here; name held-out text with --data FILE or RECIPE")
    return api.prepare(found, on_progress=on_progress).split("val")


def _measured(
    recipe: Recipe, before: str, result: TrainResult, device: str, threads: int | None, on_progress: OnProgress | None
) -> dict[str, Any]:
    """Both models on the held-out records of the recipe, and on general ones."""
    from miaobi.core.adapting import Adapt
    from miaobi.engine.before_after import report

    assert result.artifact is not None
    section, notes = recipe.adapt or Adapt(), {}
    sides: dict[str, Sequence[Record]] = {"own": api.prepare(recipe, on_progress=on_progress).split("val")}
    if not len(sides["own"]):
        alike = tr("all records are so alike that they stay on one side of the split, lest what was learned be measured")
        notes["own"] = alike if recipe.data.split.val else tr("the recipe holds no records out (data.split.val)")
    if recipe.distill is None:
        general, notes["general"] = _general(recipe, section.general, on_progress)
        sides["general"] = general
    models = [api.load(name, runtime="torch", device=device, threads=threads).model for name in (find(before), result.artifact)]
    notes = {name: note for name, note in notes.items() if note}
    best = recipe.train.early_stopping is not None
    return report(models[0], models[1], sides, run=result.run, count=section.records, best=best, seed=recipe.train.seed, notes=notes)


def _general(recipe: Recipe, place: str, on_progress: OnProgress | None) -> tuple[Sequence[Record], str]:
    """Held-out records of what the base could do before, and why there are none.

    Raises:
        UsageError, DataError: what the recipe names is not there.
    """
    if place:
        return _held_out(Path(), place, on_progress), ""
    own = find(recipe.model.base) / "recipe.yaml"
    try:
        base = Recipe.load(own) if own.is_file() else None
    except MiaobiError:  # of an older or newer version: then there is nothing to read off it
        base = None
    if base is None or not base.data.sources():
        return (), tr("the base says nothing of its data; name held-out text in adapt.general")
    if base.data == recipe.data:
        return (), tr("the base learned the same data")
    if not (api.dataset_folder(base) / "dataset.json").is_file():
        return (), tr("the data set of the base '{name}' is not here; name held-out text in adapt.general", name=base.name)
    return api.prepare(base, on_progress=on_progress).split("val"), ""
