"""What jobs do: learning, measuring, generating, apps and batches, each the call of the API that a person would make, able to go on.

A job's `spec` is checked when it is put in line, so that a mistake is told to the person who makes it and not to a worker at night.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from miaobi.core.errors import MiaobiError, UsageError, unknown
from miaobi.core.language import language, tr
from miaobi.core.schema import Schema, validate
from miaobi.core.types import Content

if TYPE_CHECKING:
    from miaobi.engine.train import TrainResult
    from miaobi.library.queue import Job
    from miaobi.library.store import Library

Result = Mapping[str, Any]


class Stopped(Exception):
    """The job was asked to stop and did, with everything saved that it needs to go on."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A job in the hands of a worker.

    `report` takes the progress; `record` says that a piece is done, once and for all; `done` are the pieces of former attempts; `stop` is
    set when the job is to stop.
    """

    job: Job
    report: Callable[[Mapping[str, Any]], None]
    record: Callable[[int, Mapping[str, Any]], None]
    done: Mapping[int, Mapping[str, Any]]
    library: Library | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def tick(self, phase: str, done: int, total: int | None, detail: str = "") -> None:
        """Progress as the API tells it."""
        self.report({"phase": phase, "done": done, "total": total, "detail": detail})


class Spec(Schema):
    """What every job says."""

    folder: str
    """The working folder: paths and models are looked for from there."""
    device: str = "cpu"
    """Where to compute."""
    threads: int | None = Field(None, ge=1, le=1024)
    """How many cores to use."""
    owner: str = ""
    """Who put it in line, where several do."""
    language: Literal["", "en", "zh"] = ""
    """In which language it tells how far it is and what went wrong; empty: that of the machine that does it."""


class TrainSpec(Spec):
    """A training."""

    recipe: dict[str, Any]
    """The whole recipe, filled in: a change of its file later does not change the job."""


class TuneSpec(TrainSpec):
    """A search for good settings."""

    parameters: list[str] = Field(min_length=1)
    """Keys with ranges, such as train.optimizer.lr=log(1e-4,1e-2)."""
    trials: int = Field(20, ge=1, le=100_000)
    """Attempts in all."""
    prune: bool = True
    """End attempts early that are worse than half of those before."""
    seed: int = Field(0, ge=0)
    """Of the search."""


class EvaluateSpec(Spec):
    """An evaluation."""

    recipe: dict[str, Any]
    """The whole recipe."""
    model: str = ""
    """By default the recipe's own."""
    out: str = ""
    """A folder for `eval.json` and the report."""
    seed: int = Field(0, ge=0)
    """Of what is drawn at random."""


class AppSpec(Spec):
    """An app, such as `create`."""

    app: str
    """Its name."""
    inputs: dict[str, Any] = Field(default_factory=dict)
    """What it is given."""
    out: str
    """The file or folder that it makes."""
    keep: bool = False
    """Keep what is made in the library: the contents that the app tells of, or the labelled film or sound that it wrote."""


class GenerateSpec(Spec):
    """A request to one model, whose contents go to the library."""

    model: str
    """A model by name or folder."""
    prompt: str = ""
    """What is asked."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the model."""
    seed: int = Field(0, ge=0)
    """Of what is drawn at random."""
    mark: str = "none"
    """The visible or audible mark."""
    watermark: str | None = None
    """The invisible or inaudible one."""
    given: dict[str, str] = Field(default_factory=dict)
    """Files that are given, by their names in the model: SHA-256 of the library's files."""
    remixed: str = ""
    """The job whose request this one changes."""


def _train(task: Task, spec: TrainSpec) -> Result:
    from miaobi import api

    return _trained(api.train(spec.recipe, resume=True, **_learning(task, spec)))


def _adapt(task: Task, spec: TrainSpec) -> Result:
    from miaobi import adapting

    done = adapting.adapt(spec.recipe, resume=True, **_learning(task, spec))
    return _trained(done.training) | {"report": dict(done.report)}


def _distill(task: Task, spec: TrainSpec) -> Result:
    from miaobi import adapting

    done = adapting.distill(spec.recipe, resume=True, **_learning(task, spec))
    return _trained(done.training) | {"report": dict(done.report)}


def _learning(task: Task, spec: TrainSpec) -> dict[str, Any]:
    """Where to compute, and who is told of steps and their loss."""
    from miaobi.engine.journal import TrainEvent

    def note(event: TrainEvent) -> None:
        """Steps and their loss."""
        if event.kind == "step":
            task.tick("training", event.step, event.total, f"loss {event.values.get('loss', 0):.4g}")

    return {"device": spec.device, "threads": spec.threads, "on_progress": task.tick, "on_event": note}


def _trained(result: TrainResult) -> dict[str, Any]:
    """What a training says at its end.

    Raises:
        Stopped: it was broken off, with a checkpoint.
    """
    if result.interrupted:
        raise Stopped
    return {"artifact": str(result.artifact), "steps": result.steps, "seconds": result.seconds, "val_loss": result.val_loss}


def _tune(task: Task, spec: TuneSpec) -> Result:
    from miaobi import adapting

    def note(trial: Mapping[str, Any]) -> None:
        """An attempt that is over."""
        loss = trial["val_loss"]
        task.tick("tuning", trial["number"] + 1, spec.trials, "" if loss is None else f"loss {loss:.4g}")

    options: dict[str, Any] = {"trials": spec.trials, "prune": spec.prune, "seed": spec.seed, "on_trial": note}
    report = adapting.tune(spec.recipe, spec.parameters, device=spec.device, threads=spec.threads, **options)
    return {"best": report["best"], "trials": len(report["trials"])}


def _evaluate(task: Task, spec: EvaluateSpec) -> Result:
    from miaobi import api

    out = Path(spec.out) if spec.out else None
    return api.evaluate(
        spec.recipe, model=spec.model or None, out=out, device=spec.device, threads=spec.threads, seed=spec.seed, on_progress=task.tick
    )


def _app(task: Task, spec: AppSpec) -> Result:
    from miaobi import api
    from miaobi.core.apps import Desk, app
    from miaobi.engine.generate import dated

    wanted = app(spec.app)
    run, inputs = wanted.runner(), validate(wanted.schema(), spec.inputs, tr("app '{name}'", name=spec.app))
    load = functools.cache(functools.partial(api.load, device=spec.device, threads=spec.threads))
    keeping = _Keeping(task, spec.app)
    desk = Desk(load=load, tick=task.tick, made=keeping.keep if spec.keep else lambda content: None)
    with dated(_created(task)):
        made = dict(run(inputs, Path(spec.out), desk))
    made.pop("contents", None)  # the files hold them
    if spec.keep:
        for content in api.written(Path(spec.out)) if not keeping.ids else ():
            keeping.keep(content)
        made["kept"] = keeping.tagged(str(made.get("title") or ""))
    return made


class _Keeping:
    """What an app makes goes to the library as it is made, and is a piece of the job: another attempt finds it there and goes on."""

    def __init__(self, task: Task, origin: str) -> None:
        assert task.library is not None
        self.task, self.library, self.origin = task, task.library, origin
        self.ids = [str(task.done[place]["kept"]) for place in sorted(task.done)]

    def keep(self, content: Content) -> None:
        """Keep one, unless it is only another form of one that is kept."""
        from miaobi import api

        for whole in api.whole([content]):
            id = self.library.keep(whole, origin=self.origin)
            if id not in self.ids:
                self.task.record(len(self.ids), {"kept": id})
                self.ids.append(id)

    def tagged(self, title: str) -> list[str]:
        """The ids of all, which are now found by the title."""
        for id in self.ids if title else ():
            with contextlib.suppress(UsageError):  # somebody removed it meanwhile
                self.library.tag(id, [title])
        return self.ids


def _generate(task: Task, spec: GenerateSpec) -> Result:
    from miaobi import api
    from miaobi.core.types import Progress, Request, Turn

    assert task.library is not None
    loaded = api.load(spec.model, device=spec.device, threads=spec.threads)
    given = {name: task.library.files.get(sha256) for name, sha256 in spec.given.items()}
    request = Request(turns=(Turn(role="user", parts=(spec.prompt,)),), options=spec.options, seed=spec.seed)
    kept: list[str] = []
    for chunk in loaded.answer(request, given=given, mark=spec.mark, watermark=spec.watermark, created=_created(task)):
        if isinstance(chunk, Progress):
            task.tick("making", chunk.step, chunk.total)
        elif isinstance(chunk, Content):
            kept.append(task.library.keep(chunk, origin="serve"))
    return {"contents": kept}


def _created(task: Task) -> str:
    """The time that labels tell is the job's: so a second attempt makes the same contents, which the library has once."""
    return task.job.created[:19] + "Z"


def _check_generate(spec: GenerateSpec) -> None:
    from miaobi import api

    options = {name: value for name, value in spec.options.items() if name != "n"}
    validate(api.family_of(spec.model).schemas()[1], options, tr("options of {model}", model=spec.model))


def _check_train(spec: TrainSpec | EvaluateSpec) -> None:
    from miaobi.core.recipe import Recipe

    Recipe.of(spec.recipe)


def _check_adapt(spec: TrainSpec) -> None:
    from miaobi.core.recipe import Recipe

    recipe = Recipe.of(spec.recipe)
    if not (recipe.adapt or recipe.prefer or recipe.reinforce):
        raise UsageError("the recipe '{name}' has none of the sections adapt, prefer and reinforce; use miaobi train", name=recipe.name)


def _check_distill(spec: TrainSpec) -> None:
    from miaobi.core.recipe import Recipe

    recipe = Recipe.of(spec.recipe)
    if recipe.distill is None:
        raise UsageError("the recipe '{name}' has no section distill, so there is no teacher", name=recipe.name)


def _check_tune(spec: TuneSpec) -> None:
    from miaobi.engine.tune import parameter

    _check_train(spec)
    for text in spec.parameters:
        parameter(text)


def _check_app(spec: AppSpec) -> None:
    from miaobi.core.apps import app

    validate(app(spec.app).schema(), spec.inputs, tr("app '{name}'", name=spec.app))


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of job: its spec, what is checked beyond the spec's types, and what is done."""

    spec: type[Spec]
    run: Callable[[Task, Any], Result]
    check: Callable[[Any], None] = lambda spec: None


def kinds() -> Mapping[str, Kind]:
    """Every kind by name."""
    from miaobi.serve import requests
    from miaobi.serve.batch import BatchSpec, check, run

    return {
        "train": Kind(spec=TrainSpec, run=_train, check=_check_train),
        "adapt": Kind(spec=TrainSpec, run=_adapt, check=_check_adapt),
        "distill": Kind(spec=TrainSpec, run=_distill, check=_check_distill),
        "tune": Kind(spec=TuneSpec, run=_tune, check=_check_tune),
        "evaluate": Kind(spec=EvaluateSpec, run=_evaluate, check=_check_train),
        "app": Kind(spec=AppSpec, run=_app, check=_check_app),
        "generate": Kind(spec=GenerateSpec, run=_generate, check=_check_generate),
        "batch": Kind(spec=BatchSpec, run=run, check=check),
        "requests": Kind(spec=requests.RequestsSpec, run=requests.run),
    }


def checked(kind: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with its defaults filled in. Unless it says otherwise, the job speaks as whoever puts it in line is spoken to now.

    Raises:
        UsageError: an unknown kind, or a wrong value.
    """
    known = kinds()
    if kind not in known:
        raise unknown("kind of job", kind, known)
    found = validate(known[kind].spec, {"language": language(), **spec}, tr("job '{name}'", name=kind))
    known[kind].check(found)
    return found.model_dump(mode="json")


def perform(task: Task) -> Result:
    """Do a job, from where former attempts left it.

    Raises:
        Stopped: it was asked to stop.
        MiaobiError: it cannot be done.
    """
    import os

    kind = kinds()[task.job.kind]
    spec = validate(kind.spec, task.job.spec, tr("job '{name}'", name=task.job.kind))
    try:
        os.chdir(spec.folder)
    except OSError as error:
        raise MiaobiError("the job's folder {folder} cannot be entered: {problem}", folder=spec.folder, problem=error.strerror) from None
    return kind.run(task, spec)
