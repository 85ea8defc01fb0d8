"""Several models on the same data: each is trained (or loaded) and measured in a process of its own, then set side by side.

A process of its own makes peak memory the model's and nobody else's, and one model's failure no other's. Every pair is tested on the
same held-out records.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from miaobi.core.artifact import MANIFEST, Artifact, is_model, open_artifact, write_text
from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.recipe import Evaluate, Generate, Recipe
from miaobi.core.types import Card
from miaobi.data.dataset import Dataset
from miaobi.engine.against import OVER_RECORDS, asked_for
from miaobi.engine.ask import Qualified
from miaobi.engine.load import load
from miaobi.engine.metrics import Figure
from miaobi.engine.metrics.confidence import Difference, difference
from miaobi.engine.metrics.retrieval import SEEN, ImageText, as_judge
from miaobi.engine.report.comparison import comparison_page

SCHEMA = "miaobi.compare/1"
LIKELIHOODS = ("bits_per_", "perplexity")
PEAK = "peak_memory.json"  # in a run's folder, beside the log
PASSING = ("parts", "draws", "asked", "sheet")  # what tests and the page need, and compare.json does not keep
OnProgress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A model to compare: an artifact, or a recipe that is trained first. Plain values only, for they travel to another process."""

    name: str
    artifact: str = ""
    recipe: str = ""  # YAML
    run: str = ""  # where a recipe trains, and where the log of an artifact lies


def contestants(paths: Sequence[Path], folder: Path) -> list[Contestant]:
    """Recipes and artifact folders as contestants with names of their own.

    Raises:
        UsageError: fewer than two, or a path that is neither.
    """
    found = [_contestant(path, folder) for path in paths]
    if len(found) < 2:
        raise UsageError("give at least two recipes or models to compare")
    names = [one.name for one in found]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UsageError("two of the models to compare are called '{name}'; give one of them another name", name=doubled[0])
    return found


def compare(
    models: Sequence[Contestant],
    dataset: Path,
    section: Evaluate,
    *,
    out: Path,
    generate: Generate | None = None,
    threads: int | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Train and measure every model on the dataset, write `compare.json` and `compare.html` into `out`, and return the former's contents.

    Raises:
        MiaobiError: a model cannot be trained or measured; the message says which.
    """
    report = on_progress or (lambda phase, done, total: None)
    recipe = (generate or Generate()).model_dump()
    measured: list[dict[str, Any]] = []
    for done, one in enumerate(models):
        report(one.name, done, len(models))
        measured.append(_apart(one.name, _train_and_measure, one, str(dataset), section.model_dump(), recipe, threads, seed))
    report("compare", len(models), len(models))
    result = {
        "schema": SCHEMA,
        "data": {"name": dataset.name, "sha256": Dataset.open(dataset).sha256, "split": section.split},
        "seed": seed,
        "models": [{key: value for key, value in one.items() if key not in PASSING} for one in measured],
        "tests": paired_tests(measured, seed=seed),
    }
    write_text(out / "compare.json", json.dumps(result, ensure_ascii=False, indent=2) + "\n")
    write_text(out / "compare.html", comparison_page(result, sheets=[base64.b64decode(one["sheet"]) for one in measured]))
    return result


def paired_tests(measured: Sequence[Mapping[str, Any]], *, seed: int = 0) -> list[dict[str, Any]]:
    """Every pair of models on every figure that both found over the same records."""
    found = []
    for a, b in combinations(measured, 2):
        for name in (a["parts"].keys() & b["parts"].keys()) | (a["draws"].keys() & b["draws"].keys()):
            gap = _tested(name, a, b, seed)
            if gap is not None:
                better = a["evaluation"]["figures"][name].get("better", "")
                found.append({"a": a["name"], "b": b["name"], "figure": name, "better": better, **gap.to_dict()})
    return sorted(found, key=lambda test: (test["figure"], test["a"], test["b"]))


def _tested(name: str, a: Mapping[str, Any], b: Mapping[str, Any], seed: int) -> Difference | None:
    """The difference in one figure; None where the two were not measured alike."""
    if "_real" in name:
        return None  # of the texts that people wrote, whichever model is measured
    if name.startswith(LIKELIHOODS) and (a.get("likelihood") == "given") != (b.get("likelihood") == "given"):
        return None  # one of the two was given a text to read
    better = a["evaluation"]["figures"][name].get("better", "")
    if name in a["draws"]:
        ours, theirs = (
            Figure(
                value=one["evaluation"]["figures"][name]["value"],
                count=one["evaluation"]["figures"][name]["count"],
                interval=one["evaluation"]["figures"][name].get("interval", ""),
                draws=np.asarray(one["draws"][name], dtype=np.float64),
            )
            for one in (a, b)
        )
        return difference(ours, theirs, seed=seed)
    ours_parts, theirs_parts = a["parts"][name], b["parts"][name]
    alike = name.startswith(OVER_RECORDS) or a["asked"] == b["asked"]
    if len(ours_parts[0]) != len(theirs_parts[0]) or not alike or not _same_records(name, ours_parts, theirs_parts):
        return None
    return difference(_figure(name, ours_parts, better), _figure(name, theirs_parts, better), seed=seed)


def parameters(artifact: Artifact) -> int | None:
    """How many numbers the artifact's safetensors hold, read off their headers; None without any."""
    names = [name for name in artifact.files if name.endswith(".safetensors")]
    return sum(_tensor_numbers(artifact.folder / name) for name in names) if names else None


def _contestant(path: Path, folder: Path) -> Contestant:
    if is_model(path):
        beside = next((run for run in (path.parent, Path("runs") / path.name) if (run / "log.jsonl").is_file()), None)
        return Contestant(name=open_artifact(path).name, artifact=str(path), run=str(beside or ""))
    if path.is_file():
        recipe = Recipe.load(path)
        return Contestant(name=recipe.name, recipe=recipe.to_yaml(), run=str(folder / "runs" / recipe.name))
    raise UsageError("{path} is neither a recipe nor a finished model", path=path)


def _apart(name: str, work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run the work in a fresh process; its errors come back as they are, and a process that dies is an error that says whose."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        try:
            outcome = pool.submit(_guarded, work, arguments).result()
        except BrokenProcessPool:
            raise MiaobiError("{name}: its process was ended from outside, most likely for lack of memory", name=name) from None
    if "error" in outcome:
        raise MiaobiError("{name}: {problem}", name=name, problem=outcome["error"])
    return outcome


def _guarded(work: Callable[..., dict[str, Any]], arguments: tuple[Any, ...]) -> dict[str, Any]:
    try:
        return work(*arguments)
    except MiaobiError as error:
        return {"error": str(error)}  # an exception with keyword-only arguments does not travel between processes


def _train_and_measure(
    one: Contestant, dataset: str, section: Mapping[str, Any], generate: Mapping[str, Any], threads: int | None, seed: int
) -> dict[str, Any]:
    """Everything about one contestant, as plain values."""
    from miaobi.engine.evaluate import measure
    from miaobi.engine.exhibits import sheet

    data = Dataset.open(Path(dataset))
    run = _run_folder(one, data)
    folder = Path(one.artifact) if one.artifact else _trained(one, run, data, threads)
    peak_training = _peak_of_training(run) if one.recipe else None
    artifact = open_artifact(folder, verify=True)
    start = time.perf_counter()
    model = load(folder, runtime="torch").model  # of an adapter, its base with the adapter in it
    model.card = dataclasses.replace(model.card, name=one.name)
    load_seconds = time.perf_counter() - start
    chosen = Evaluate.model_validate({**section, "baselines": []})  # the others are the baselines
    asked = _own_options(folder, Generate.model_validate(generate))
    evaluation = measure(model, data, chosen, generate=asked, judge=_judge(chosen, model.card), strict=False, seed=seed)
    characters = sum(len(text) for text in evaluation.evidence.texts)
    shown = evaluation.evidence.pictures
    log = run / "log.jsonl" if run else None
    return {
        "name": one.name,
        "family": artifact.family,
        "source": artifact.sha256,
        "parameters": parameters(artifact),
        "bytes": sum(int(entry["bytes"]) for entry in artifact.files.values()),
        "train_seconds": _train_seconds(log),
        "train_tokens_per_second": _train_speed(log),
        "train_peak_bytes": peak_training,
        "load_seconds": round(load_seconds, 3),
        "likelihood": model.likelihood if isinstance(model, Qualified) else "",
        "scored_characters": sum(score.characters for score in evaluation.evidence.scores) or None,
        "characters_per_second": round(characters / evaluation.seconds["generate"], 1) if characters else None,
        "pictures_per_second": round(len(shown.made) / evaluation.seconds["generate"], 2) if shown and len(shown.made) else None,
        "peak_bytes": peak_memory(),
        "log": _curves(log),
        "evaluation": evaluation.to_dict(),
        "parts": {name: [part.tolist() for part in figure.parts] for name, figure in evaluation.figures.items() if figure.parts},
        "draws": {name: figure.draws.tolist() for name, figure in evaluation.figures.items() if figure.draws is not None},
        "asked": asked_for(evaluation.evidence) if shown else None,
        "sheet": base64.b64encode(sheet(shown)).decode() if shown else "",
    }


def _judge(section: Evaluate, card: Card) -> ImageText | None:
    """The model that the section names as judge of pictures and captions, for a model that makes what it can look at."""
    return as_judge(load(section.scorer).model) if section.scorer and card.outputs & SEEN else None


def _run_folder(one: Contestant, data: Dataset) -> Path | None:
    """Where the training's log is. A recipe's run is named after recipe and data too: a changed recipe is another training."""
    if not one.recipe:
        return Path(one.run) if one.run else None
    digest = hashlib.sha256(f"{one.recipe}\n{data.sha256}".encode()).hexdigest()
    return Path(f"{one.run}-{digest[:8]}")


def _trained(one: Contestant, run: Path | None, data: Dataset, threads: int | None) -> Path:
    """The artifact of the recipe: the finished one of an earlier comparison, else a training, gone on with where one was cut."""
    from miaobi.engine.train import train

    assert run is not None
    if (run / "artifact" / MANIFEST).is_file():
        return run / "artifact"
    recipe = Recipe.of(_yaml(one.recipe))
    splits = {name: data.split(name) for name in ("train", "val")}
    reference = f"{data.name}@{data.sha256}"
    resume = (run / "checkpoints").is_dir()
    result = train(recipe, splits, run, tokenizer=data.tokenizer, data=(reference,), threads=threads, resume=resume)
    if result.artifact is None:
        raise MiaobiError("the training was interrupted; run the same command again to go on")
    write_text(run / PEAK, json.dumps({"bytes": peak_memory()}) + "\n")
    return result.artifact


def _peak_of_training(run: Path | None) -> int | None:
    """The largest memory of the process that trained, which may have been that of an earlier comparison."""
    if run is None or not (run / PEAK).is_file():
        return None
    found: int | None = json.loads((run / PEAK).read_text(encoding="utf-8"))["bytes"]
    return found


def _own_options(folder: Path, shared: Generate) -> Generate:
    """The prompts are the same for all; the options are those of the model's own recipe, for families have different ones."""
    own = folder / "recipe.yaml"
    return shared.model_copy(update={"options": Recipe.load(own).generate.options}) if own.is_file() else shared


def peak_memory() -> int | None:
    """The largest resident memory that this process has had, in bytes; None where the system does not say."""
    if os.name != "posix":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _tensor_numbers(path: Path) -> int:
    """The numbers of all tensors in a safetensors file: 8 bytes of length, then a JSON header."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return sum(int(np.prod(entry["shape"], dtype=np.int64)) for name, entry in header.items() if name != "__metadata__")


def _train_seconds(log: Path | None) -> float | None:
    from miaobi.engine.report.log import read_log

    return round(read_log(log).seconds, 3) if log and log.is_file() else None


def _train_speed(log: Path | None) -> float | None:
    """The median of the tokens (or what the family counts) that training learned in a second."""
    from miaobi.engine.report.log import read_log

    return read_log(log).typical("units_per_second") if log and log.is_file() else None


def _curves(log: Path | None) -> dict[str, Any]:
    """The losses over steps and seconds, thinned to what a plot shows."""
    from miaobi.engine.report.log import read_log
    from miaobi.engine.report.plot import thin

    if log is None or not log.is_file():
        return {}
    found = read_log(log)
    curves = {name: thin(found.series(name, by_seconds=True)) for name in ("loss", "val_loss")}
    return {
        name: {"seconds": [round(x, 2) for x in one.xs], "values": [float(f"{y:.5g}") for y in one.ys]}
        for name, one in curves.items()
        if len(one.xs)
    }


def _figure(name: str, parts: Sequence[Sequence[float]], better: str) -> Figure:
    top, bottom = (np.asarray(part, dtype=np.float64) for part in parts)
    transform = np.exp2 if name == "perplexity" else None  # as in `metrics.likelihood`: a function does not pass from process to process
    return Figure(value=float(top.sum() / bottom.sum()), count=len(top), better=better, parts=(top, bottom), transform=transform)


def _same_records(name: str, a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> bool:
    """Likelihoods are compared only over the same characters; what models write may differ in length."""
    return not name.startswith("bits_per_") or list(a[1]) == list(b[1])


def _yaml(text: str) -> dict[str, Any]:
    import yaml

    values = yaml.safe_load(text)
    assert isinstance(values, dict)
    return values
