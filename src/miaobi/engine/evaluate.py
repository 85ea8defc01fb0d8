"""From a model and held-out records to `eval.json`: every need of the chosen metrics is computed once, then the metrics look at it.

Likelihoods come from `Scorer.score`; samples come from `engine.generate`, the way a user gets them, on requests made from the held-out
records where the model can say what it would have been asked (`Prompter`), else on the recipe's prompts. Baselines score the same records.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, TypeVar, runtime_checkable

import miaobi
from miaobi.core.errors import MiaobiError, MissingExtra, UsageError
from miaobi.core.families import Family, families
from miaobi.core.language import tr
from miaobi.core.protocols import Model, Score, Scorer
from miaobi.core.recipe import Evaluate, Generate
from miaobi.core.types import Options, Record, Request
from miaobi.data.dataset import Dataset
from miaobi.engine import baselines
from miaobi.engine.generate import collect
from miaobi.engine.metrics import Evidence, Figure, Metric, Need, Sample, find_metric, known_metrics
from miaobi.engine.metrics.confidence import Difference, difference
from miaobi.trust import safety

SCHEMA = "miaobi.eval/1"
EXAMPLES = 24  # generated texts that eval.json shows
PER_SAMPLE = ("verbatim",)  # figures that eval.json gives for every sample, not only their mean
LIKELIHOOD = ("bits_per_character", "bits_per_byte")  # what models with different tokens can be compared by

BATCH = 16  # so many contents of one prompt are asked for at once

T = TypeVar("T")
OnProgress = Callable[[str, int, int | None], None]  # phase, done, total


@runtime_checkable
class Prompter(Protocol):
    """A model that knows what request a real record would have answered (its title, its form)."""

    def request_for(self, record: Record, /) -> Request | None:
        """The request, without a seed; None when the model could not be asked for such a record."""
        ...


@runtime_checkable
class Reader(Protocol):
    """A model whose contents hold less (or more) than a record's text."""

    def text_of(self, record: Record, /) -> str:
        """The stretch of the record that a generated content corresponds to."""
        ...


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Another model's likelihoods of the same records, and how the evaluated one differs (negative: it needs fewer bits)."""

    figures: Mapping[str, Figure]
    differences: Mapping[str, Difference]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything one evaluation found. `to_dict` is what `eval.json` holds."""

    model: Model
    evidence: Evidence
    figures: Mapping[str, Figure]
    skipped: Mapping[str, str] = field(default_factory=dict)  # metric -> why it could not be computed
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        card, evidence = self.model.card, self.evidence
        return {
            "schema": SCHEMA,
            "model": {"family": card.family, "name": card.name, "source": card.source},
            "software": f"miaobi {miaobi.__version__}",
            "seed": evidence.seed,
            "options": _shared_options(evidence.samples.get("", ())),
            "records": {"scored": len(evidence.scores), "training": len(evidence.training)},
            "samples": {name or "plain": len(samples) for name, samples in evidence.samples.items()},
            "figures": {name: figure.to_dict() for name, figure in self.figures.items()},
            "skipped": dict(self.skipped),
            "baselines": {name: _baseline_dict(baseline) for name, baseline in self.baselines.items()},
            "per_sample": _per_sample(self.figures, evidence),
            "examples": _examples(evidence.samples.get("", ())[:EXAMPLES]),
            "seconds": {phase: round(seconds, 1) for phase, seconds in self.seconds.items()},
        }


def evaluate(
    model: Model,
    data: Dataset | Sequence[Record],
    section: Evaluate,
    *,
    training: Sequence[Record] | None = None,
    generate: Generate | None = None,
    scorer: Model | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """The contents of `eval.json`; see `measure`."""
    found = measure(model, data, section, training=training, generate=generate, scorer=scorer, seed=seed, on_progress=on_progress)
    return found.to_dict()


def measure(
    model: Model,
    data: Dataset | Sequence[Record],
    section: Evaluate,
    *,
    training: Sequence[Record] | None = None,
    generate: Generate | None = None,
    scorer: Model | None = None,
    strict: bool = True,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Evaluate a model on held-out records. A `Dataset` gives both the records (`section.split`) and the training ones.

    `scorer` is the same model in another runtime, for likelihoods that the one which generates cannot give. Not `strict`: metrics that
    this model cannot give are left out, with the reason in `skipped`, even when the section names them.

    Raises:
        UsageError: an unknown metric or baseline, or one that this model or data cannot give.
        MiaobiError: no held-out records, or a figure that is not a finite number.
    """
    if isinstance(data, Dataset):
        training = data.split("train") if training is None else training
        data = data.split(section.split)
    report = on_progress or (lambda phase, done, total: None)
    family, scorer = families().get(model.card.family), scorer or model
    chosen, skipped = choose_metrics(scorer, section, family, training=training, strict=strict and bool(section.metrics))
    needs = frozenset[Need]().union(*(metric.needs for metric in chosen))
    records = draw(data, section.records, seed=seed)
    clock = _Clock()
    with_scores = Need.SCORES in needs or bool(section.baselines)
    scores = clock("score", lambda: list(_counted(_scores(scorer, records), "score", len(records), report))) if with_scores else []
    evidence = Evidence(
        records=records,
        scores=scores,
        samples=clock("generate", lambda: _sample_variants(model, records, section, generate or Generate(), chosen, seed, report)),
        training=training or (),
        text_of=model.text_of if isinstance(model, Reader) else lambda record: record.text,
        seed=seed,
    )
    figures, missing = clock("measure", lambda: _figures(chosen, evidence, report, strict=strict and bool(section.metrics)))
    return Evaluation(
        model=model,
        evidence=evidence,
        figures=figures,
        skipped={**skipped, **missing},
        baselines=clock("baselines", lambda: {name: _baseline(name, scorer, evidence, report) for name in section.baselines}),
        seconds=clock.seconds,
    )


def choose_metrics(
    model: Model, section: Evaluate, family: Family | None, *, training: Sequence[Record] | None, strict: bool
) -> tuple[list[Metric], dict[str, str]]:
    """The metrics that the section names, or all, and the reasons why some of them are left out.

    Raises:
        UsageError: (strict) a metric is unknown or cannot be computed.
    """
    chosen, skipped = [], {}
    for name in section.metrics or known_metrics(family):
        if not strict and name not in known_metrics(family):
            skipped[name] = tr("the family {family} has no such metric", family=model.card.family)
            continue
        metric = find_metric(name, family)
        obstacle = _obstacle(metric, model, training)
        if obstacle and strict:
            raise UsageError("the metric {name} cannot be computed: {reason}", name=name, reason=obstacle)
        if obstacle:
            skipped[name] = obstacle
        else:
            chosen.append(metric)
    return chosen, skipped


def draw(records: Sequence[Record], count: int, *, seed: int) -> list[Record]:
    """At most `count` records, drawn at random and kept in their order.

    Raises:
        MiaobiError: there are none.
    """
    if not len(records):
        raise MiaobiError("there are no held-out records to evaluate on. Give the recipe a split, e.g. --set data.split.val=0.02")
    chosen = sorted(random.Random(seed).sample(range(len(records)), min(count, len(records))))
    return [records[index] for index in chosen]


def sample(model: Model, requests: Iterable[tuple[Request, Record | None]]) -> Iterator[Sample | None]:
    """Generate what is asked, as a user would get it; None stands for a content that the word list held back."""
    words = safety.load()
    for request, reference in requests:
        wanted = int(request.options["n"])
        try:
            contents = collect(model, request, words=words)
        except safety.Refused:
            contents = []
        yield from (Sample(content=content, reference=reference) for content in contents)
        yield from [None] * (wanted - len(contents))


def requests_for(
    model: Model, records: Sequence[Record], recipe: Generate, *, count: int, seed: int = 0, change: Options | None = None
) -> list[tuple[Request, Record | None]]:
    """Requests for `count` contents: one for each held-out record where the model knows how to ask, else the recipe's prompts in turn.

    The recipe's options are the default, the record's come before them, and `change` comes last. Seeds differ from request to request.
    """
    asked: list[tuple[Request, Record | None, int]] = []
    if isinstance(model, Prompter):
        shuffled = random.Random(seed).sample(list(records), len(records))  # a split begins with its first source
        pairs = ((model.request_for(record), record) for record in shuffled)
        asked = list(islice(((request, record, 1) for request, record in pairs if request is not None), count))
    if not asked:
        prompts = recipe.prompts or [""]
        sizes = [min(BATCH, count - start) for start in range(0, count, BATCH)]
        asked = [(Request.of(prompts[index % len(prompts)]), None, size) for index, size in enumerate(sizes)]
    return [
        (
            Request(
                turns=request.turns, options={**recipe.options, **request.options, **(change or {}), "n": n}, seed=seed + BATCH * index
            ),
            record,
        )
        for index, (request, record, n) in enumerate(asked)
    ]


class _Clock:
    """Runs a phase and remembers how long it took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, phase: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        try:
            return work()
        finally:
            self.seconds[phase] = time.perf_counter() - start


def _obstacle(metric: Metric, model: Model, training: Sequence[Record] | None) -> str:
    if Need.SCORES in metric.needs and not isinstance(model, Scorer):
        return tr("the family {family} gives no likelihoods", family=model.card.family)
    if Need.TRAINING in metric.needs and not training:
        return tr("the training records are not there")
    return ""


def _scores(model: Model, records: Sequence[Record]) -> Iterator[Score]:
    if not isinstance(model, Scorer):
        raise UsageError("the family {family} gives no likelihoods", family=model.card.family)
    for record, score in zip(records, model.score(records), strict=True):
        assert record.id == score.id, "scores come in the order of the records"
        yield score


def _sample_variants(
    model: Model, records: Sequence[Record], section: Evaluate, recipe: Generate, metrics: Sequence[Metric], seed: int, report: OnProgress
) -> dict[str, list[Sample]]:
    """What each variant of the options generates for the same requests and seeds."""
    variants: dict[str, Options] = {}
    for metric in metrics:
        if Need.SAMPLES in metric.needs:
            variants = {"": {}, **variants, **metric.variants}
    made = {}
    recipe = recipe.model_copy(update={"options": {**recipe.options, **section.options}})
    for name, change in variants.items():
        requests = requests_for(model, records, recipe, count=section.samples, seed=seed, change=change)
        total = sum(request.options["n"] for request, _ in requests)
        drawn = _counted(sample(model, requests), f"generate {name}".strip(), total, report)
        made[name] = [one for one in drawn if one is not None]
        if not made[name]:
            raise MiaobiError("the word list held back all {count} contents that were generated", count=total)
    return made


def _figures(
    metrics: Sequence[Metric], evidence: Evidence, report: OnProgress, *, strict: bool
) -> tuple[dict[str, Figure], dict[str, str]]:
    """All figures, and the metrics whose package is not installed; a missing package is an error when the metric was asked for."""
    figures: dict[str, Figure] = {}
    missing: dict[str, str] = {}
    for done, metric in enumerate(metrics):
        report(f"measure {metric.name}", done, len(metrics))
        try:
            figures.update(metric.figures(evidence))
        except MissingExtra as error:
            if strict:
                raise
            missing[metric.name] = str(error)
    return figures, missing


def _baseline(name: str, model: Model, evidence: Evidence, report: OnProgress) -> Baseline:
    """Score the same records by another model and test the difference on the same characters."""
    start = time.perf_counter()
    report(f"baseline {name}", 0, None)
    scores = baselines.scores(name, model, evidence.scores, evidence.records, training=evidence.training)
    check_same_text(evidence.scores, scores, name)
    theirs = Evidence(records=evidence.records, scores=scores, seed=evidence.seed)
    figures, differences = {}, {}
    for metric in map(find_metric, LIKELIHOOD):
        figures.update(metric.figures(theirs))
        ours = metric.figures(evidence)[metric.name]
        differences[metric.name] = difference(ours, figures[metric.name], seed=evidence.seed)
    return Baseline(figures=figures, differences=differences, seconds=time.perf_counter() - start)


def check_same_text(ours: Sequence[Score], theirs: Sequence[Score], name: str) -> None:
    """Refuse to compare likelihoods of different texts.

    Raises:
        MiaobiError: the two did not score the same characters of the same records.
    """
    for a, b in zip(ours, theirs, strict=True):
        if (a.id, a.characters) != (b.id, b.characters):
            raise MiaobiError(
                "{name} cannot be compared: of record {id} it scores {b} characters and the model {a}",
                name=name,
                id=a.id,
                a=a.characters,
                b=b.characters,
            )


def _counted(items: Iterable[T], phase: str, total: int, report: OnProgress) -> Iterator[T]:
    report(phase, 0, total)
    for done, item in enumerate(items, 1):
        yield item
        report(phase, done, total)


def _baseline_dict(baseline: Baseline) -> dict[str, Any]:
    return {
        "figures": {name: figure.to_dict() for name, figure in baseline.figures.items()},
        "differences": {name: gap.to_dict() for name, gap in baseline.differences.items()},
        "seconds": round(baseline.seconds, 1),
    }


def _per_sample(figures: Mapping[str, Figure], evidence: Evidence) -> dict[str, list[float]]:
    """The figures that are reported for each generated content, in the order of the examples."""
    chosen = {name: figures[name] for name in PER_SAMPLE if name in figures}
    return {name: figure.parts[0].tolist() for name, figure in chosen.items() if figure.parts is not None}


def _shared_options(samples: Sequence[Sample]) -> dict[str, Any]:
    """The options that all samples were generated with."""
    options = [sample.content.label.options for sample in samples]
    return {key: value for key, value in options[0].items() if all(other.get(key) == value for other in options)} if options else {}


def _examples(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """What was asked and written; options that all samples share are left to `options`."""
    shared = _shared_options(samples)
    labels = [sample.content.label for sample in samples]
    return [
        {
            "prompt": label.prompt,
            "options": {key: value for key, value in label.options.items() if key not in shared},
            "seed": label.seed,
            "index": label.index,
            "text": sample.text,
            "notes": dict(label.notes),
        }
        for sample, label in zip(samples, labels)
    ]
