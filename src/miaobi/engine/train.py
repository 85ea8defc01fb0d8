"""From a recipe and its records to a finished model: a `Learner` by the training loop (`loop`), a `Fitter` in one counting pass."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from miaobi.core.artifact import new_folder, seal, write_text
from miaobi.core.errors import DataError, UsageError
from miaobi.core.families import Family, family
from miaobi.core.protocols import Fitter
from miaobi.core.recipe import Recipe
from miaobi.core.types import Record, Verb
from miaobi.engine import adapt, checkpoint, parallel
from miaobi.engine.adapt import Reward
from miaobi.engine.journal import Journal, OnEvent
from miaobi.engine.loop import TrainResult as TrainResult
from miaobi.engine.peers import Peers


def train(
    recipe: Recipe,
    splits: Mapping[str, Sequence[Record]],
    folder: Path,
    *,
    artifact: Path | None = None,
    tokenizer: Path | None = None,
    data: Sequence[str] = (),
    base: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    resume: bool = False,
    reward: Reward | None = None,
    on_event: OnEvent | None = None,
) -> TrainResult:
    """Train the recipe's model on `splits["train"]`, watch `splits["val"]`, and seal the result as an artifact.

    Args:
        folder: the run: resolved recipe, log, checkpoints, samples. Only one training holds it at a time.
        artifact: where the finished model goes; `folder / "artifact"` when absent.
        tokenizer: the `tokenizer.json` of the dataset, for families that take one.
        data: references to the dataset (its hash) for the manifest.
        base: the folder of the model whose weights are the start.
        resume: go on from the newest whole checkpoint. Without it a run that has one is refused, never overwritten.
        reward: a function of (prompt, answer, meta) that the section `reinforce` adds to the rewards that it names.

    Raises:
        UsageError: the family does not learn, or the run exists and `resume` is False.
        Busy: another process trains in `folder`.
        DataError: no training records.
        ArtifactError: the checkpoints are damaged or belong to another recipe.
    """
    kind = family(recipe.model.family)
    if not splits.get("train"):
        raise DataError("the dataset of '{name}' has no training records", name=recipe.name)
    target = artifact or folder / "artifact"
    journal = Journal(folder, recipe.train.steps, on_event=on_event, tensorboard=recipe.train.tensorboard)
    with checkpoint.lock(folder):
        write_text(folder / "resolved.yaml", recipe.to_yaml())
        if not kind.verbs & {Verb.FIT, Verb.TRAIN}:
            raise UsageError("family '{name}' cannot be trained", name=kind.name)
        _check_workers(recipe, kind, reward)
        sides = {**splits, "train": adapt.training_records(splits["train"], recipe, folder, journal)}
        if Verb.FIT in kind.verbs:
            return _fit(recipe, kind, sides["train"], folder, target, tokenizer, data, journal)
        job = parallel.Job(
            recipe=recipe, splits=sides, folder=folder, tokenizer=tokenizer, base=base, device=device, threads=threads, resume=resume
        )
        run = job.begin(0, journal, reward)
        with parallel.company(replace(job, precision=run.precision)) as run.peers:
            interrupted = run.loop()
        run.peers = Peers()
        return run.finish(target, data, interrupted)


def _check_workers(recipe: Recipe, kind: Family, reward: Reward | None) -> None:
    """Refuse several processes for what they cannot share."""
    workers = recipe.scale.workers
    if workers > 1 and Verb.FIT in kind.verbs:
        raise UsageError("the family '{name}' learns in one pass over the data; leave out scale.workers", name=kind.name)
    if workers > 1 and reward is not None:
        raise UsageError("a reward that is given as a function stays in this process; leave out scale.workers")


def _fit(
    recipe: Recipe,
    kind: Family,
    records: Sequence[Record],
    folder: Path,
    target: Path,
    tokenizer: Path | None,
    data: Sequence[str],
    journal: Journal,
) -> TrainResult:
    """Learn by counting, in one pass."""
    start = time.perf_counter()
    maker: Any = kind.model_class()
    model: Fitter = maker.create(recipe.model.config, records, seed=recipe.train.seed, tokenizer=tokenizer)
    journal.begin(0)
    journal.tell("start", 0, {"records": len(records)})
    figures = dict(model.fit(records))
    seconds = time.perf_counter() - start
    journal.log("fit", 1, {"seconds": round(seconds, 3), **figures})
    with new_folder(target, replace=True) as new:
        model.save(new)
        (new / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        seal(new, family=kind.name, name=recipe.name, licence=recipe.trust.licence, data=tuple(data))
    journal.finish()
    journal.tell("done", 1, {"seconds": seconds, **figures})
    return TrainResult(run=folder, artifact=target, steps=1, seconds=seconds, train_loss=figures.get("loss", float("nan")), val_loss=None)
