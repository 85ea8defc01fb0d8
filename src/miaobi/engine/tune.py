"""A search for good settings: a recipe is trained again and again with other values, bad attempts are ended early, nothing is lost.

The search is Optuna's (Akiba et al., 2019): a tree-structured Parzen estimator (Bergstra et al., 2011), and at each evaluation the median
rule, by which an attempt that is worse than half of those before it ends. The study is an append-only journal of JSON lines in the folder,
each attempt a run of its own; after kill -9 the attempt that was cut goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.core.artifact import explain_os_errors, write_bytes, write_text
from miaobi.core.errors import MiaobiError, MissingExtra, UsageError, unknown
from miaobi.core.language import tr
from miaobi.core.recipe import Recipe
from miaobi.engine import checkpoint
from miaobi.engine.journal import TrainEvent, evaluations

if TYPE_CHECKING:
    from optuna import Study, Trial

    from miaobi.engine.train import TrainResult

JOURNAL, REPORT, PAGE, BEST, SCHEMA = "study.log", "tune.json", "tune.html", "best.yaml", "miaobi.tune/1"
STARTUP = 4  # attempts before any is ended early
KINDS = ("log", "uniform", "int", "logint", "choice")
Value = float | int | str
Train = Callable[..., "TrainResult"]  # (recipe, folder, artifact, resume, on_event)
OnTrial = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A key of the recipe and the values that are tried."""

    key: str
    kind: str
    values: tuple[Any, ...]  # two bounds, or the choices

    def suggest(self, trial: Trial) -> Any:
        """The value of an attempt."""
        if self.kind == "choice":
            return self.values[trial.suggest_categorical(self.key, range(len(self.values)))]
        low, high = self.values
        if self.kind in ("int", "logint"):
            return trial.suggest_int(self.key, int(low), int(high), log=self.kind == "logint")
        return trial.suggest_float(self.key, float(low), float(high), log=self.kind == "log")

    def meant(self, stored: Any) -> Any:
        """The value behind what the study stores: of a choice, its number."""
        return self.values[int(stored)] if self.kind == "choice" else stored


def parameter(text: str) -> Parameter:
    """`train.optimizer.lr=log(1e-4,1e-2)` and the like.

    >>> parameter("train.batch=choice(8,16)").values
    (8, 16)

    Raises:
        UsageError: an unknown kind of range, or bounds that are none.
    """
    import yaml

    found = re.fullmatch(r"\s*([\w.]+)\s*=\s*(\w+)\((.*)\)\s*", text, re.DOTALL)
    if found is None:
        raise UsageError("--param takes KEY=RANGE, such as train.optimizer.lr=log(1e-4,1e-2), not '{text}'", text=text)
    key, kind, inside = found.groups()
    if kind not in KINDS:
        raise unknown("range", kind, KINDS)
    try:
        values = [_number(value) for value in yaml.safe_load(f"[{inside}]")]
    except (yaml.YAMLError, ValueError):
        raise UsageError("--param {text}: the values are not readable", text=text) from None
    if kind == "choice":
        if len(values) < 2:
            raise UsageError("--param {text}: a choice needs at least two values", text=text)
        return Parameter(key=key, kind=kind, values=tuple(values))
    bounds = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    whole = kind not in ("int", "logint") or all(float(value).is_integer() for value in bounds)
    if len(bounds) != 2 or len(values) != 2 or not bounds[0] < bounds[1] or not whole or (kind.startswith("log") and bounds[0] <= 0):
        raise UsageError("--param {text}: {kind} needs a lower and a higher bound (whole for int, above 0 for log)", text=text, kind=kind)
    return Parameter(key=key, kind=kind, values=tuple(bounds))


def tune(
    recipe: Recipe,
    parameters: Sequence[Parameter],
    folder: Path,
    *,
    train: Train,
    trials: int = 20,
    prune: bool = True,
    seed: int = 0,
    on_trial: OnTrial | None = None,
) -> dict[str, Any]:
    """Try values until `trials` attempts are over, and return what `tune.json` says. A folder with a study goes on with it.

    Raises:
        UsageError: a key that the recipe does not have, a value that it refuses, or a study of other parameters.
        MissingExtra: Optuna is not installed.
        MiaobiError: every attempt failed.
    """
    optuna = _optuna()
    for one in parameters:
        for value in one.values:
            _changed(recipe, {one.key: value})  # a wrong key is told before the first attempt
    with checkpoint.lock(folder):
        study = _study(optuna, folder, recipe, parameters, prune=prune, seed=seed)
        for stale in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
            study.tell(stale.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(stale.params, user_attrs={"folder": stale.user_attrs.get("folder", _name(stale.number))})
        while len(_over(optuna, study)) < trials:
            _attempt(optuna, study, recipe, parameters, folder, train)
            report = _write(optuna, study, recipe, parameters, folder)
            if on_trial is not None:
                on_trial(report["trials"][-1])
        return _write(optuna, study, recipe, parameters, folder)


def _attempt(optuna: Any, study: Study, recipe: Recipe, parameters: Sequence[Parameter], folder: Path, train: Train) -> None:
    """One training with values that the study proposes."""
    trial = study.ask()
    run = folder / "trials" / str(trial.user_attrs.get("folder") or _name(trial.number))
    trial.set_user_attr("folder", run.name)
    changed = _changed(recipe, {one.key: one.suggest(trial) for one in parameters}, name=f"{recipe.name[:50]}-{run.name}")
    start = time.perf_counter()
    losses: dict[int, float] = {}

    def told(step: int, values: Mapping[str, Any]) -> None:
        if step and step not in losses:
            losses[step] = float(values["val_loss"])
            trial.report(losses[step], step)

    def watch(event: TrainEvent) -> None:
        if event.kind == "evaluate":
            told(event.step, event.values)
            if trial.should_prune():
                raise optuna.TrialPruned

    for row in evaluations(run):  # of an attempt that was cut and goes on
        told(row["step"], row)

    state, value = optuna.trial.TrialState.COMPLETE, None
    try:
        result = train(changed, folder=run, artifact=run / "artifact", resume=(run / "checkpoints").is_dir(), on_event=watch)
        if result.interrupted:
            raise KeyboardInterrupt
        if result.val_loss is None:
            raise UsageError("the recipe holds nothing out (data.split.val), so no value is better than another")
        value = min([*losses.values(), result.val_loss])
    except optuna.TrialPruned:
        state = optuna.trial.TrialState.PRUNED
    except UsageError:
        raise
    except MiaobiError as error:  # a loss that became infinite is an answer, too
        state = optuna.trial.TrialState.FAIL
        trial.set_user_attr("error", str(error))
    trial.set_user_attr("seconds", round(time.perf_counter() - start, 1))
    study.tell(trial, value, state=state)
    if state != optuna.trial.TrialState.COMPLETE:
        shutil.rmtree(run / "checkpoints", ignore_errors=True)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise MissingExtra("miaobi tune", "tune", "optuna") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _study(optuna: Any, folder: Path, recipe: Recipe, parameters: Sequence[Parameter], *, prune: bool, seed: int) -> Study:
    """The study in the folder, gone on with or begun.

    Raises:
        UsageError: it is about another recipe or other parameters.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with explain_os_errors(folder):
        _cut(folder / JOURNAL)
        storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP) if prune else optuna.pruners.NopPruner()
    study: Study = optuna.create_study(storage=storage, study_name="tune", direction="minimize", pruner=pruner, load_if_exists=True)
    count = len(study.get_trials(deepcopy=False))
    study.sampler = optuna.samplers.TPESampler(seed=seed + count, n_startup_trials=max(STARTUP, 5))  # a resumed search draws anew
    about = json.loads(
        json.dumps({"recipe": recipe.model_dump(mode="json"), "parameters": [[p.key, p.kind, p.values] for p in parameters]})
    )
    before = study.user_attrs.get("about")
    if before is not None and before != about:
        raise UsageError("{folder} holds a search of another recipe or other ranges; choose another folder with --out", folder=folder)
    study.set_user_attr("about", about)
    return study


def _cut(journal: Path) -> None:
    """Take away a last line that was not written to its end: the next one would be glued to it, and neither could be read."""
    written = journal.read_bytes() if journal.is_file() else b""
    if written and not written.endswith(b"\n"):
        write_bytes(journal, written[: written.rfind(b"\n") + 1])


def _changed(recipe: Recipe, values: Mapping[str, Any], *, name: str = "") -> Recipe:
    """The recipe with other values, checked like any other.

    Raises:
        UsageError: an unknown key or a value that is refused.
    """
    plain: dict[str, Any] = recipe.model_dump(mode="json", exclude_none=True)
    for key, value in values.items():
        place = plain
        *path, last = key.split(".")
        for step in path:
            inner = place.setdefault(step, {})
            if not isinstance(inner, dict):
                raise UsageError("--param {key}: there is nothing under that key in the recipe", key=key)
            place = inner
        place[last] = value
    return Recipe.of(plain | ({"name": name} if name else {}), where=tr("the recipe with {keys}", keys=", ".join(values)))


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as text; people mean the number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _name(number: int) -> str:
    return f"trial-{number:03}"


def _over(optuna: Any, study: Study) -> list[Any]:
    """Attempts that ended, whichever way; those that were cut and are done again do not count."""
    states = optuna.trial.TrialState
    ended = study.get_trials(deepcopy=False, states=[states.COMPLETE, states.PRUNED, states.FAIL])
    return [trial for trial in ended if trial.state != states.FAIL or "error" in trial.user_attrs]


def _write(optuna: Any, study: Study, recipe: Recipe, parameters: Sequence[Parameter], folder: Path) -> dict[str, Any]:
    """`tune.json`, the page `tune.html`, and `best.yaml`: the recipe with the best values."""
    over = _over(optuna, study)
    complete = [trial for trial in over if trial.state == optuna.trial.TrialState.COMPLETE]
    if not complete and len(over) >= 2 * STARTUP and all("error" in trial.user_attrs for trial in over):
        raise MiaobiError("every attempt failed, the last with: {problem}", problem=over[-1].user_attrs["error"])
    best = min(complete, key=lambda trial: trial.value) if complete else None
    report = {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "parameters": {one.key: {"kind": one.kind, "values": list(one.values)} for one in parameters},
        "trials": [_row(trial, parameters) for trial in over],
        "best": _row(best, parameters) if best else None,
        "importance": _importance(optuna, study, complete),
    }
    write_text(folder / REPORT, json.dumps(report, ensure_ascii=False, indent=2) + "\n")
    if best is not None:
        values = {one.key: one.meant(best.params[one.key]) for one in parameters}
        write_text(folder / BEST, _changed(recipe, values, name=f"{recipe.name[:50]}-tuned").to_yaml())
    from miaobi.engine.report.tuning import tuning_page

    write_text(folder / PAGE, tuning_page(report))
    return report


def _row(trial: Any, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """An attempt as plain values."""
    curve = sorted(trial.intermediate_values.items())
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "val_loss": trial.value if trial.value is not None else (min(value for _, value in curve) if curve else None),
        "values": {one.key: one.meant(trial.params[one.key]) for one in parameters if one.key in trial.params},
        "curve": curve,
        "seconds": trial.user_attrs.get("seconds"),
        "folder": trial.user_attrs.get("folder"),
        **({"error": trial.user_attrs["error"]} if "error" in trial.user_attrs else {}),
    }


def _importance(optuna: Any, study: Study, complete: Sequence[Any]) -> dict[str, float]:
    """The share of the loss's variance that each parameter explains (PED-ANOVA, Watanabe et al., 2023); nothing of a few attempts."""
    if len(complete) < 8:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    try:
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (RuntimeError, ValueError):  # attempts that are all alike say nothing
        return {}
    return {name: round(float(value), 4) for name, value in found.items()}
