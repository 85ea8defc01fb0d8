"""From a model and held-out records to `eval.json`: every need of the chosen metrics is computed once, then the metrics look at it.

Likelihoods come from `Scorer.score`; samples come from `engine.generate`, the way a user gets them, on requests made from the held-out
records where the model can say what it would have been asked (`Prompter`), else on the recipe's prompts. A folder of pictures is measured
like what a model made. Baselines score the same records; another model or folder (`against`) is measured like the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import miaobi
from miaobi.core.errors import MiaobiError, MissingExtra, UsageError
from miaobi.core.families import families
from miaobi.core.protocols import Model, Score, Scorer
from miaobi.core.recipe import Evaluate, Generate
from miaobi.core.types import Card, Modality, Options, Record
from miaobi.data.dataset import Dataset
from miaobi.engine import baselines
from miaobi.engine.ask import Prompter, PseudoScorer, Reader, Reconstructor, as_record, draw, requests_for, sample
from miaobi.engine.attention import looks
from miaobi.engine.choose import Have, choose_metrics
from miaobi.engine.extraction import can_recite, extracts
from miaobi.engine.metrics import (
    Evidence,
    Figure,
    Metric,
    Need,
    Pictures,
    Sample,
    Unmeasurable,
    find_metric,
)
from miaobi.engine.metrics.confidence import Difference, difference
from miaobi.engine.metrics.retrieval import ImageText

__all__ = ["Baseline", "Evaluation", "Prompter", "Reader", "draw", "evaluate", "measure", "measure_pictures", "requests_for", "sample"]

SCHEMA = "miaobi.eval/1"
EXAMPLES = 24  # generated contents that eval.json shows
PSEUDO = 200  # records of which every token is told from all others: a look at the whole text for each
PER_SAMPLE = ("verbatim", "nearest")  # figures that eval.json gives for every sample, not only their mean
LIKELIHOOD = ("bits_per_character", "bits_per_byte")  # what models with different tokens can be compared by

T = TypeVar("T")
OnProgress = Callable[[str, int, int | None], None]  # phase, done, total


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Another model's figures, over the same records or for the same requests, and how the evaluated one differs (its own minus theirs)."""

    figures: Mapping[str, Figure]
    differences: Mapping[str, Difference]
    seconds: float
    where: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)  # figure -> better, worse -> on which prompts by most

    @property
    def verdict(self) -> dict[str, list[str]]:
        """The figures in which the evaluated model is better, worse, or not told apart at 5 %."""
        found: dict[str, list[str]] = {"better": [], "worse": [], "alike": []}
        for name, gap in self.differences.items():
            better = (gap.value < 0) == (self.figures[name].better == "lower")
            found["alike" if not gap.significant else "better" if better else "worse"].append(name)
        return found


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything one evaluation found. `to_dict` is what `eval.json` holds."""

    card: Card  # of the model, or of a folder of pictures: then without a family
    evidence: Evidence
    figures: Mapping[str, Figure]
    skipped: Mapping[str, str] = field(default_factory=dict)  # metric -> why it could not be computed
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    attention: Sequence[Mapping[str, Any]] = ()  # of the first texts, where a model that reads others looked

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        card, evidence = self.card, self.evidence
        return {
            "schema": SCHEMA,
            "model": {"family": card.family, "name": card.name, "source": card.source},
            "software": f"miaobi {miaobi.__version__}",
            "seed": evidence.seed,
            "options": _shared_options(evidence.samples.get("", ())),
            "records": _counts(evidence),
            "samples": {name or "plain": len(samples) for name, samples in evidence.samples.items()} or _made(evidence),
            "figures": {name: figure.to_dict() for name, figure in self.figures.items()},
            "skipped": dict(self.skipped),
            "baselines": {name: _baseline_dict(baseline) for name, baseline in self.baselines.items()},
            "per_sample": _per_sample(self.figures, evidence),
            "examples": _examples(evidence.samples.get("", ())[:EXAMPLES]),
            **_nearest(evidence),
            **({"attention": list(self.attention)} if self.attention else {}),
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
    judge: ImageText | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """The contents of `eval.json`; see `measure`."""
    found = measure(
        model, data, section, training=training, generate=generate, scorer=scorer, judge=judge, seed=seed, on_progress=on_progress
    )
    return found.to_dict()


def measure(
    model: Model,
    data: Dataset | Sequence[Record],
    section: Evaluate,
    *,
    training: Sequence[Record] | None = None,
    generate: Generate | None = None,
    scorer: Model | None = None,
    judge: ImageText | None = None,
    strict: bool = True,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Evaluate a model on held-out records. A `Dataset` gives both the records (`section.split`) and the training ones.

    `scorer` is the same model in another runtime, for likelihoods that the one which generates cannot give; `judge` embeds pictures and
    captions (a model that does so itself is its own). Not `strict`: metrics that this model cannot give are left out, with the reason in
    `skipped`, even when the section names them.

    Raises:
        UsageError: an unknown metric or baseline, or one that this model or data cannot give.
        MiaobiError: no held-out records, or a figure that is not a finite number.
    """
    training, held_out = _sides(data, training, section)
    report = on_progress or (lambda phase, done, total: None)
    scorer, strict, clock = scorer or model, strict and bool(section.metrics), _Clock()
    judge = model if isinstance(model, ImageText) else judge
    have = Have(card=model.card, training=bool(training), judge=bool(judge), model=model, scorer=scorer)
    chosen, skipped = choose_metrics(have, section, strict=strict)
    needs = frozenset[Need]().union(*(metric.needs for metric in chosen))
    records = draw(held_out, section.records, seed=seed)
    with_scores = Need.SCORES in needs or bool(section.baselines)
    evidence = Evidence(
        records=records,
        scores=clock("score", lambda: _scores(scorer, records, report)) if with_scores else [],
        extracts=clock("extract", lambda: extracts(_reciter(model, scorer), training, records, seed=seed))
        if Need.EXTRACTS in needs
        else {},
        pseudo=clock("pseudo", lambda: _pseudo(scorer, records)) if Need.PSEUDO in needs else [],
        samples=clock("generate", lambda: _sample_variants(model, records, section, generate or Generate(), chosen, seed, report)),
        training=training,
        text_of=model.text_of if isinstance(model, Reader) else lambda record: record.text,
        judge=judge,
        seed=seed,
    )
    if Modality.IMAGE in model.card.outputs:
        made = [as_record(one, number, by=section.by) for number, one in enumerate(evidence.samples.get("", ()))]
        copies = clock("reconstruct", lambda: _copies(model, records[: section.samples])) if Need.COPIES in needs else ()
        shown = clock("look", lambda: _pictures(made, evidence, section, needs, judge, copies, report))
        evidence = replace(evidence, pictures=shown)
    found = _measured(model.card, evidence, chosen, skipped, clock, report, strict=strict, by=section.by)
    theirs = clock("baselines", lambda: {name: _baseline(name, scorer, evidence, report) for name in section.baselines})
    return replace(found, baselines=theirs, attention=looks(scorer, evidence.samples.get("", ())))


def measure_pictures(
    made: Sequence[Record],
    data: Dataset | Sequence[Record],
    section: Evaluate,
    *,
    name: str,
    training: Sequence[Record] | None = None,
    judge: ImageText | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Measure pictures that are there already, whoever made them, beside held-out ones.

    Raises:
        UsageError: a metric that the section names cannot be computed for a folder.
        MiaobiError: too few pictures, or one that cannot be read.
    """
    training, held_out = _sides(data, training, section)
    report = on_progress or (lambda phase, done, total: None)
    card = Card(family="", name=name, outputs=frozenset({Modality.IMAGE}), verbs=frozenset())
    strict = bool(section.metrics)
    chosen, skipped = choose_metrics(Have(card=card, training=bool(training), judge=bool(judge)), section, strict=strict)
    needs = frozenset[Need]().union(*(metric.needs for metric in chosen))
    clock = _Clock()
    evidence = Evidence(records=draw(held_out, section.records, seed=seed), training=training, seed=seed)
    shown = clock("look", lambda: _pictures(made, evidence, section, needs, judge, (), report))
    return _measured(card, replace(evidence, pictures=shown), chosen, skipped, clock, report, strict=strict, by=section.by)


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


def _sides(
    data: Dataset | Sequence[Record], training: Sequence[Record] | None, section: Evaluate
) -> tuple[Sequence[Record], Sequence[Record]]:
    """The training records and those to measure on."""
    if isinstance(data, Dataset):
        return data.split("train") if training is None else training, data.split(section.split)
    return training or (), data


def _measured(
    card: Card,
    evidence: Evidence,
    chosen: Sequence[Metric],
    skipped: Mapping[str, str],
    clock: _Clock,
    report: OnProgress,
    *,
    strict: bool,
    by: str,
) -> Evaluation:
    figures, missing = clock("measure", lambda: _figures(chosen, evidence, report, strict=strict))
    divisible = [metric for metric in chosen if _divisible(metric, evidence)]
    for value, part in _apart(evidence, by) if by else ():
        apart, _ = clock(f"measure {value}", partial(_figures, divisible, part, report, strict=False))
        figures |= {f"{name}@{value}": figure for name, figure in apart.items()}
    return Evaluation(card=card, evidence=evidence, figures=figures, skipped={**skipped, **missing}, seconds=clock.seconds)


def _apart(evidence: Evidence, by: str) -> Iterator[tuple[str, Evidence]]:
    """By each value of a field of meta what there is of it: of what was made and held out, or of the records that were judged."""
    if evidence.pictures is not None:
        for value, shown in evidence.pictures.apart(by).items():
            yield value, replace(evidence, pictures=shown)
        return
    for value in sorted({str(record.meta.get(by, "")) for record in evidence.records} - {""}):
        yield value, replace(evidence, records=[record for record in evidence.records if str(record.meta.get(by, "")) == value])


def _divisible(metric: Metric, evidence: Evidence) -> bool:
    """Whether it can be told of a part of the evidence: it looks at made pictures, or at nothing but held-out records."""
    return metric.needs == {Need.JUDGE} if evidence.pictures is None else Need.SAMPLES in metric.needs


def _pictures(
    made: Sequence[Record],
    evidence: Evidence,
    section: Evaluate,
    needs: frozenset[Need],
    judge: ImageText | None,
    copies: Sequence[NDArray[np.uint8]],
    report: OnProgress,
) -> Pictures:
    """The galleries, looked at as far as a metric needs it."""
    from miaobi.engine.gallery import Gallery

    known = draw(evidence.training, section.training, seed=evidence.seed) if len(evidence.training) else []
    shown = Pictures(
        made=Gallery(made), real=Gallery(evidence.records), known=Gallery(known), judge=judge, copies=copies, seed=evidence.seed
    )
    looked = {"made": Need.FEATURES, "real": Need.FEATURES, "known": Need.KNOWN}
    for name, need in looked.items():
        if need in needs:
            try:
                getattr(shown, name).look(lambda done, total, phase=f"look {name}": report(phase, done, total))
            except MissingExtra:  # each metric says so itself
                break
    return shown


def _copies(model: Model, records: Sequence[Record]) -> Sequence[NDArray[np.uint8]]:
    """What the model reconstructs of each record's picture."""
    from miaobi.engine.gallery import Gallery

    assert isinstance(model, Reconstructor)
    return [copy for chunk in Gallery(records).chunks() for copy in model.reconstruct(chunk)]


def _scores(model: Model, records: Sequence[Record], report: OnProgress) -> list[Score]:
    if not isinstance(model, Scorer):
        raise UsageError("the family {family} gives no likelihoods", family=model.card.family)
    scores = list(_counted(model.score(records), "score", len(records), report))
    assert [score.id for score in scores] == [record.id for record in records], "scores come in the order of the records"
    return scores


def _reciter(model: Model, scorer: Model) -> Model:
    """Which of the two is asked for what it knows by heart: weights that show their tokens, where there are any."""
    return scorer if can_recite(scorer) else model


def _pseudo(model: Model, records: Sequence[Record]) -> list[Score]:
    assert isinstance(model, PseudoScorer)
    return list(model.pseudo_score(records[:PSEUDO]))


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
    """All figures, and the metrics that could not be computed, with the reason; that is an error when the metric was asked for."""
    figures: dict[str, Figure] = {}
    missing: dict[str, str] = {}
    for done, metric in enumerate(metrics):
        report(f"measure {metric.name}", done, len(metrics))
        try:
            figures.update(metric.figures(evidence))
        except (MissingExtra, Unmeasurable) as error:
            if strict:
                raise
            missing[metric.name] = str(error)
    return figures, missing


def _baseline(name: str, model: Model, evidence: Evidence, report: OnProgress) -> Baseline:
    """Score the same records by another model and test the difference on the same characters."""
    start = time.perf_counter()
    report(f"baseline {name}", 0, None)
    scores = baselines.scores(name, model, evidence.scores, evidence.records, training=evidence.training)
    baselines.check_same_text(evidence.scores, scores, name)
    theirs = Evidence(records=evidence.records, scores=scores, seed=evidence.seed)
    figures, differences = {}, {}
    for metric in _comparable(model, evidence.scores):
        figures.update(metric.figures(theirs))
        ours = metric.figures(evidence)[metric.name]
        differences[metric.name] = difference(ours, figures[metric.name], seed=evidence.seed)
    return Baseline(figures=figures, differences=differences, seconds=time.perf_counter() - start)


def _comparable(model: Model, scores: Sequence[Score]) -> list[Metric]:
    """The likelihoods of texts; of what has no characters those of the family, such as bits per event."""
    if any(score.characters for score in scores):
        return [find_metric(name) for name in LIKELIHOOD]
    family = families().get(model.card.family)
    names = [name for name in (family.metrics if family else ()) if name.startswith("bits_per_")]
    return [find_metric(name, family) for name in names or ("bits_per_dimension",)]


def _counted(items: Iterable[T], phase: str, total: int, report: OnProgress) -> Iterator[T]:
    report(phase, 0, total)
    for done, item in enumerate(items, 1):
        yield item
        report(phase, done, total)


def _baseline_dict(baseline: Baseline) -> dict[str, Any]:
    return {
        "figures": {name: figure.to_dict() for name, figure in baseline.figures.items()},
        "differences": {name: gap.to_dict() for name, gap in baseline.differences.items()},
        "verdict": baseline.verdict,
        **({"where": {name: dict(sides) for name, sides in baseline.where.items()}} if baseline.where else {}),
        "seconds": round(baseline.seconds, 1),
    }


def _per_sample(figures: Mapping[str, Figure], evidence: Evidence) -> dict[str, list[float]]:
    """The figures that are reported for each generated content, in the order of the examples."""
    chosen = {name: figures[name] for name in PER_SAMPLE if name in figures}
    return {name: figure.parts[0].tolist() for name, figure in chosen.items() if figure.parts is not None}


def _counts(evidence: Evidence) -> dict[str, int]:
    """How many records were scored, or looked at, and how many there are to learn from."""
    looked = evidence.pictures is not None or evidence.judge is not None
    held_out = len(evidence.records) if looked else len(evidence.scores)
    return {"scored": held_out, "training": len(evidence.training)}


def _made(evidence: Evidence) -> dict[str, int]:
    """How many pictures a folder gave."""
    return {"plain": len(evidence.pictures.made)} if evidence.pictures else {}


def _nearest(evidence: Evidence) -> dict[str, Any]:
    """Of the first generated pictures the nearest training picture and its distance, where they were looked for."""
    shown = evidence.pictures
    if shown is None or "neighbours" not in vars(shown):
        return {}
    pairs = zip(shown.made.records[:EXAMPLES], *shown.neighbours)
    return {
        "nearest": [
            {"picture": one.id, "training": shown.known.records[place].id, "distance": float(f"{gap:.5g}")} for one, place, gap in pairs
        ]
    }


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
            **({"text": sample.text} if sample.text else {"sha256": label.content_sha256}),
            "notes": dict(label.notes),
        }
        for sample, label in zip(samples, labels)
    ]
