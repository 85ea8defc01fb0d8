"""Figures and how they are found: a metric is a pure function from what was measured (`Evidence`) to a `Figure`, known by its name.

A metric declares what it needs: likelihoods of held-out records, generated samples, the training records, a look at pictures. The engine
computes each need once for all metrics. Families add theirs through `Family.metrics`, as `"module:name"` of something made with `@metric`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from miaobi.core.errors import MiaobiError, unknown
from miaobi.core.families import Family
from miaobi.core.protocols import Score
from miaobi.core.types import NOTHING, Content, Modality, Options, Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from miaobi.engine.films import Films
    from miaobi.engine.gallery import Gallery
    from miaobi.engine.metrics.retrieval import ImageText

FEW = 30  # below so many records an interval is computed, and the figure says that it is weak

OF_TEXTS: Mapping[str, str] = {
    "bits_per_character": "miaobi.engine.metrics.likelihood:bits_per_character",
    "bits_per_byte": "miaobi.engine.metrics.likelihood:bits_per_byte",
    "perplexity": "miaobi.engine.metrics.likelihood:perplexity",
    "distinct": "miaobi.engine.metrics.diversity:distinct",
    "self_bleu": "miaobi.engine.metrics.diversity:self_bleu",
    "repetition": "miaobi.engine.metrics.diversity:repetition",
    "length": "miaobi.engine.metrics.diversity:length",
    "verbatim": "miaobi.engine.metrics.originality:verbatim",
    "copied": "miaobi.engine.metrics.originality:copied",
    "bleu": "miaobi.engine.metrics.overlap:bleu",
    "chrf": "miaobi.engine.metrics.overlap:chrf",
    "rouge": "miaobi.engine.metrics.overlap:rouge",
    "exact_match": "miaobi.engine.metrics.overlap:exact_match",
    "coherence": "miaobi.engine.metrics.meaning:coherence",
    "mauve": "miaobi.engine.metrics.meaning:mauve",
    "extraction": "miaobi.engine.metrics.originality:extraction",
}
ON_REQUEST = frozenset({"coherence", "mauve", "extraction"})  # computed only where a recipe names them: they take minutes
OF_PICTURES: Mapping[str, str] = {
    "bits_per_dimension": "miaobi.engine.metrics.likelihood:bits_per_dimension",
    "frechet": "miaobi.engine.metrics.pictures:frechet",
    "kernel": "miaobi.engine.metrics.pictures:kernel",
    "precision": "miaobi.engine.metrics.pictures:precision",
    "recall": "miaobi.engine.metrics.pictures:recall",
    "density": "miaobi.engine.metrics.pictures:density",
    "coverage": "miaobi.engine.metrics.pictures:coverage",
    "diversity": "miaobi.engine.metrics.pictures:diversity",
    "nearest": "miaobi.engine.metrics.pictures:nearest",
    "style": "miaobi.engine.metrics.pictures:style",
    "class": "miaobi.engine.metrics.pictures:class_",
    "image_text": "miaobi.engine.metrics.pictures:image_text",
    "retrieval": "miaobi.engine.metrics.pictures:retrieval",
    "reconstruction": "miaobi.engine.metrics.pictures:reconstruction",
}
OF_FILMS: Mapping[str, str] = {
    "frechet_frames": "miaobi.engine.metrics.video:frechet_frames",
    "frechet_clips": "miaobi.engine.metrics.video:frechet_clips",
    "consistency": "miaobi.engine.metrics.video:consistency",
    "movement": "miaobi.engine.metrics.video:movement",
    "film_text": "miaobi.engine.metrics.video:film_text",
}
BUILTIN: Mapping[str, str] = {**OF_TEXTS, **OF_PICTURES, **OF_FILMS}


class Unmeasurable(MiaobiError):
    """What there is does not suffice for a figure. A metric that nobody asked for by name is then left out, with this reason."""


class Need(StrEnum):
    """What a metric is computed from."""

    SCORES = "scores"
    PSEUDO = "pseudo"  # what each token costs given all others: of masked models
    SAMPLES = "samples"
    TRAINING = "training"
    EXTRACTS = "extracts"  # how the model goes on from the beginnings of training and of held-out texts
    FEATURES = "features"  # of the made and of the held-out pictures
    KNOWN = "known"  # features of the training pictures
    JUDGE = "judge"  # a model that embeds pictures and texts
    COPIES = "copies"  # held-out pictures as the model reconstructs them


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number with its 95 % interval and how many records it rests on.

    `parts` holds each record's share of the figure as (numerators, denominators), for paired tests, and `transform` what was made of their
    ratio; a figure of a whole set has `draws` instead, what resampled sets gave. None of them is written to disk.
    """

    value: float
    low: float | None = None
    high: float | None = None
    count: int
    interval: str = ""  # how low and high were found
    unit: str = ""
    better: str = ""  # lower, higher, or "" when neither is
    note: str = ""
    parts: tuple[NDArray[np.float64], NDArray[np.float64]] | None = field(default=None, repr=False, compare=False)
    transform: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = field(default=None, repr=False, compare=False)
    draws: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """What `eval.json` holds: numbers to six significant digits, empty fields left out."""
        fields = {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "count": self.count,
            "interval": self.interval,
            "unit": self.unit,
            "better": self.better,
            "note": self.note,
        }
        return {key: _rounded(value) for key, value in fields.items() if value not in (None, "")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One generated content. `reference` is the held-out record that its request was made from, where it was."""

    content: Content
    reference: Record | None = None

    @property
    def text(self) -> str:
        """The generated text."""
        return self.content.text

    @property
    def notes(self) -> Options:
        """What the model said of it on finishing (tries, what was resampled)."""
        return self.content.label.notes


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that metrics may look at. `samples` maps a variant of the options to what was generated with it; `""` is the plain one."""

    records: Sequence[Record] = ()
    scores: Sequence[Score] = ()
    pseudo: Sequence[Score] = ()  # of the first records, by a model that tells each token from all others
    samples: Mapping[str, Sequence[Sample]] = field(default_factory=dict)
    extracts: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)  # of which records: what came, and what stood there
    training: Sequence[Record] = ()
    text_of: Callable[[Record], str] = lambda record: record.text
    pictures: Pictures | None = None
    judge: ImageText | None = None
    seed: int = 0

    @functools.cached_property
    def films(self) -> Films:
        """The films of the plain variant, beside those that they were asked for like."""
        from miaobi.engine.films import Films

        return Films(self.samples.get("", ()))

    @property
    def texts(self) -> list[str]:
        """The generated texts of the plain variant."""
        return [sample.text for sample in self.samples.get("", ())]

    @functools.cached_property
    def references(self) -> list[str]:
        """Real texts to stand beside `texts`: those whose prompts were asked, else as many held-out records."""
        asked = [sample.reference for sample in self.samples.get("", ()) if sample.reference is not None]
        count = min(len(self.texts), len(self.records))
        chosen = asked or random.Random(self.seed).sample(list(self.records), count)
        return [self.text_of(record) for record in chosen]


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What metrics of pictures look at: made ones, held-out ones, training ones, and a judge of pictures and captions."""

    made: Gallery
    real: Gallery
    known: Gallery  # of the training set; empty when it is not there
    judge: ImageText | None = None
    copies: Sequence[NDArray[np.uint8]] = ()  # of the first of `real`
    seed: int = 0

    def apart(self, key: str) -> dict[str, Pictures]:
        """By each value of a field that made and held-out pictures both have, those pictures; the training pictures are all there."""
        made, real = self.made.known(key), self.real.known(key)
        return {
            value: replace(self, made=self.made.where(key, value), real=self.real.where(key, value), copies=())
            for value in sorted(set(made) & set(real) - {""})
        }

    @functools.cached_property
    def control(self) -> Gallery:
        """As many training pictures as there are made ones (or as there are): what a perfect model would have made."""
        lots = [hashlib.sha256(f"{self.seed} {record.id}".encode()).digest() for record in self.known.records]
        drawn = sorted(range(len(lots)), key=lots.__getitem__)[: len(self.made)]  # the same ones in whatever order they come
        return self.known.take(sorted(drawn))

    @functools.cached_property
    def neighbours(self) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Of every made picture, the place of the nearest training picture and how far it is."""
        from miaobi.engine.metrics.manifold import nearest

        return nearest(self.made.features, self.known.features)


Result = Figure | Mapping[str, Figure]  # suffix -> figure: {"": …, "real": …} of `length` gives `length` and `length_real`


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A named measure. `variants` are changes to the options under which it wants samples of its own: {"free": {"tone": "none"}}."""

    name: str
    summary: str
    needs: frozenset[Need]
    compute: Callable[[Evidence], Result]
    variants: Mapping[str, Options] = field(default_factory=lambda: NOTHING)

    def figures(self, evidence: Evidence) -> dict[str, Figure]:
        """The metric's figures by full name.

        Raises:
            MiaobiError: there was nothing to measure, or a figure is not a finite number.
        """
        result = self.compute(evidence)
        named = {"": result} if isinstance(result, Figure) else result
        figures = {f"{self.name}_{suffix}" if suffix else self.name: figure for suffix, figure in named.items()}
        for name, figure in figures.items():
            if figure.count < 1 or not math.isfinite(figure.value):
                raise MiaobiError(
                    "the metric {name} gave {value} over {count} records, which is no measurement",
                    name=name,
                    value=figure.value,
                    count=figure.count,
                )
        return figures


def metric(
    name: str, *, needs: Sequence[str] = (), summary: str = "", variants: Mapping[str, Options] = NOTHING
) -> Callable[[Callable[[Evidence], Result]], Metric]:
    """Make a function from evidence to figures a `Metric`. The summary is the docstring's first line unless given."""

    def wrap(compute: Callable[[Evidence], Result]) -> Metric:
        first = (compute.__doc__ or "").strip().partition("\n")[0]
        wanted = frozenset(Need(need) for need in needs)
        return Metric(name=name, summary=summary or first, needs=wanted, compute=compute, variants=variants)

    return wrap


def known_metrics(family: Family | None = None) -> dict[str, str]:
    """The names of all metrics, and of the family's own, with where they live."""
    return {**BUILTIN, **(family.metrics if family else {})}


def fitting_metrics(outputs: frozenset[Modality], family: Family | None = None) -> dict[str, str]:
    """The metrics that have something to say of what a model makes, and the family's own."""
    pictures = OF_PICTURES if Modality.IMAGE in outputs else {}
    texts = OF_TEXTS if Modality.TEXT in outputs else {}
    films = OF_FILMS if Modality.VIDEO in outputs else {}
    return {**texts, **pictures, **films, **(family.metrics if family else {})}


def find_metric(name: str, family: Family | None = None) -> Metric:
    """The metric of that name.

    Raises:
        UsageError: no such metric; the nearest known name is given.
    """
    known = known_metrics(family)
    if name not in known:
        raise unknown("metric", name, known)
    module, _, attribute = known[name].partition(":")
    found: Metric = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, Metric), f"{known[name]} is not made with @metric"
    return found


def _rounded(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value
