"""The metrics of pictures, as recipes name them; what each computes is in the modules beside.

Every figure that means nothing alone has a twin `_real`: as many training pictures in the place of the made ones (or, for a judge, the
held-out pictures themselves). A model can hardly be better than that, and one that is has copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from miaobi.core.language import tr
from miaobi.data.pictures import fit
from miaobi.engine import features
from miaobi.engine.gallery import LANGUAGES, Gallery
from miaobi.engine.metrics import Evidence, Figure, Pictures, Unmeasurable, likeness, manifold, metric, probe
from miaobi.engine.metrics.confidence import ratio, share, statistic_between
from miaobi.engine.metrics.frechet import frechet_distance, kernel_distance
from miaobi.engine.metrics.retrieval import CANDIDATES, ImageText, top1

PROBED = 9_000_000  # numbers that a classifier learns from: 10,000 training pictures by their textures, twice; 7,000 by their features
SMALL_SET = "fewer pictures than features: compare it only with figures over as many pictures"

Floats = NDArray[np.float64]
Sight = tuple[int, Callable[[Gallery], NDArray[np.float32]]]  # how many numbers a picture becomes, and the pictures in them
Between = Callable[[NDArray[np.float32], NDArray[np.float32]], float]
PerPicture = Callable[[NDArray[np.float32], NDArray[np.float32]], Floats]


@metric("frechet", needs=["samples", "features"])
def frechet(evidence: Evidence) -> dict[str, Figure]:
    """Fréchet distance of the made pictures' features from those of held-out ones (Heusel et al. 2017), by EfficientNet-lite0."""
    found = _between(frechet_distance, evidence)
    return {suffix: _distance(figure) for suffix, figure in found.items()}


@metric("kernel", needs=["samples", "features"])
def kernel(evidence: Evidence) -> dict[str, Figure]:
    """Kernel distance (KID) of the made pictures' features from those of held-out ones (Bińkowski et al. 2018); without bias."""
    return _between(kernel_distance, evidence)


@metric("precision", needs=["samples", "features"])
def precision(evidence: Evidence) -> dict[str, Figure]:
    """The share of made pictures that lie among the held-out ones (Kynkäänniemi et al. 2019)."""
    return _per_picture(manifold.precision, evidence, "share")


@metric("recall", needs=["samples", "features"])
def recall(evidence: Evidence) -> dict[str, Figure]:
    """The share of held-out pictures that lie among the made ones (Kynkäänniemi et al. 2019): a collapse shows here."""
    return _per_picture(manifold.recall, evidence, "share")


@metric("density", needs=["samples", "features"])
def density(evidence: Evidence) -> dict[str, Figure]:
    """In how many neighbourhoods of held-out pictures a made one lies, 1 for real pictures (Naeem et al. 2020)."""
    return _per_picture(manifold.density, evidence, "")


@metric("coverage", needs=["samples", "features"])
def coverage(evidence: Evidence) -> dict[str, Figure]:
    """The share of held-out pictures' neighbourhoods with a made picture in them (Naeem et al. 2020)."""
    return _per_picture(manifold.coverage, evidence, "share")


@metric("diversity", needs=["samples"])
def diversity(evidence: Evidence) -> dict[str, Figure]:
    """How different the made pictures are from each other: the mean perceptual distance over all pairs; noise exceeds real pictures."""
    shown = pictures(evidence)
    figures = {}
    for suffix, gallery in (("", shown.made), ("real", shown.control)):
        if len(gallery) > 1:
            spread = likeness.perceptual_spread(list(gallery))
            figures[suffix] = ratio(spread, seed=evidence.seed, unit="distance")
    if "" not in figures:
        raise Unmeasurable("a difference between pictures needs at least two; there is {count}", count=len(shown.made))
    return figures


@metric("nearest", needs=["samples", "training", "features", "known"])
def nearest(evidence: Evidence) -> dict[str, Figure]:
    """How far made pictures are from the nearest training picture, beside held-out pictures; who copies is nearer than those.

    `closer` is how often a made picture is nearer to the training set than a held-out one (Meehan et al. 2020: Mann and Whitney's U); a
    half when nothing is copied.
    """
    shown = pictures(evidence)
    made = shown.neighbours[1]
    _, real = manifold.nearest(shown.real.features, shown.known.features)
    return {
        "": ratio(made, seed=evidence.seed, unit="distance"),
        "real": ratio(real, seed=evidence.seed, unit="distance"),
        "closer": ratio(manifold.closer(made, real), seed=evidence.seed, unit="share", better="lower"),
    }


@metric("style", needs=["samples", "training", "features", "known"])
def style(evidence: Evidence) -> dict[str, Figure]:
    """The share of pictures in the style that was asked for, by a linear classifier of textures.

    It learned on real pictures, each as it is and as lossy compression leaves it: a soft picture may be in the right style.
    """
    plain, worn = (features.TEXTURES, lambda gallery: gallery.textures), (features.TEXTURES, lambda gallery: gallery.worn_textures)
    return _classified("style", evidence, [(plain, worn)])


@metric("class", needs=["samples", "training", "features", "known"])
def class_(evidence: Evidence) -> dict[str, Figure]:
    """The share of pictures of the class that was asked for, by a classifier that learned on real pictures.

    It looks at features or at outlines, whichever tells real pictures apart more often: features of photographs see the grain that a
    network leaves on a digit, and not the digit.
    """
    looked, outlined = (features.WIDTH, lambda gallery: gallery.features), (features.OUTLINES, lambda gallery: gallery.outlines)
    return _classified("class", evidence, [(looked,), (outlined,)])


@metric("image_text", needs=["samples", "judge"])
def image_text(evidence: Evidence) -> dict[str, Figure]:
    """How well pictures fit their captions in the judge's eyes: the cosine of their vectors, by language."""
    shown, judge = pictures(evidence), _judge(evidence)
    figures = {}
    for language, suffix, gallery in _captioned(shown):
        seen, read = gallery.embed(judge), judge.embed_texts(gallery.captions(language))
        cosines = np.einsum("ne,ne->n", seen.astype(np.float64), read.astype(np.float64))
        figures[language + suffix] = ratio(cosines, seed=evidence.seed, unit="cosine", better="" if suffix else "higher")
    return figures


@metric("retrieval", needs=["samples", "judge"])
def retrieval(evidence: Evidence) -> dict[str, Figure]:
    """Whether the judge finds a caption's picture first among 100 pictures, and a picture's caption first among 100, by language."""
    shown, judge = pictures(evidence), _judge(evidence)
    figures = {}
    for language, suffix, gallery in _captioned(shown):
        seen, read = gallery.embed(judge), judge.embed_texts(gallery.captions(language))
        for way, queries, candidates in (("", read, seen), ("_caption", seen, read)):
            found = top1(queries, candidates, gallery.concepts)
            figure = ratio(found, seed=evidence.seed, unit="share", better="" if suffix else "higher")
            others = len(set(gallery.concepts))
            figures[language + way + suffix] = figure if others >= CANDIDATES else replace(figure, note="fewer than 100 to choose from")
    return figures


@metric("reconstruction", needs=["copies"])
def reconstruction(evidence: Evidence) -> dict[str, Figure]:
    """How far held-out pictures are from what the model makes of them: squared error, PSNR, SSIM, perceptual distance."""
    shown = pictures(evidence)
    pairs = [(shown.real.pixels(index), copy) for index, copy in enumerate(shown.copies)]
    if any(ours.shape != theirs.shape for ours, theirs in pairs):
        pairs = [(fit(ours, (theirs.shape[1], theirs.shape[0])), theirs) for ours, theirs in pairs]  # the model works at its own size
    errors = [likeness.squared_error(ours, theirs) for ours, theirs in pairs]
    figures = {
        "mse": ratio(errors, seed=evidence.seed, better="lower"),
        "psnr": ratio([likeness.psnr(error) for error in errors], seed=evidence.seed, unit="dB", better="higher"),
        "ssim": ratio([likeness.ssim(ours, theirs) for ours, theirs in pairs], seed=evidence.seed, better="higher"),
    }
    distances = likeness.perceptual_distance([ours for ours, _ in pairs], [theirs for _, theirs in pairs])
    return figures | {"perceptual": ratio(distances, seed=evidence.seed, unit="distance", better="lower")}


def pictures(evidence: Evidence) -> Pictures:
    """What there is to look at.

    Raises:
        Unmeasurable: the evidence is of texts.
    """
    if evidence.pictures is None:
        raise Unmeasurable("there are no pictures to look at")
    return evidence.pictures


def _between(distance: Between, evidence: Evidence) -> dict[str, Figure]:
    """The distance of the made pictures, and of as many training pictures, from the held-out ones."""
    shown = pictures(evidence)
    real = shown.real.features
    figures = {"": statistic_between(distance, shown.made.features, real, seed=evidence.seed, better="lower")}
    if len(shown.control) > 1:
        figures["real"] = statistic_between(distance, shown.control.features, real, seed=evidence.seed)
    return figures


def _distance(figure: Figure) -> Figure:
    """A Fréchet distance is not below 0, whatever a resampling says, and the distance of a small set is too large."""
    low = None if figure.low is None else max(0.0, figure.low)
    return replace(figure, low=low, note=figure.note or (SMALL_SET if figure.count <= features.WIDTH else ""))


def _per_picture(of: PerPicture, evidence: Evidence, unit: str) -> dict[str, Figure]:
    """A figure that is a mean over pictures, of the made ones and of as many training pictures."""
    shown = pictures(evidence)
    real = shown.real.features
    figures = {"": ratio(of(shown.made.features, real), seed=evidence.seed, unit=unit, better="higher")}
    if len(shown.control) == len(shown.made):
        figures["real"] = ratio(of(shown.control.features, real), seed=evidence.seed, unit=unit)
    return figures


def _classified(key: str, evidence: Evidence, ways: Sequence[Sequence[Sight]]) -> dict[str, Figure]:
    """The share of made pictures that a probe finds to be what was asked for, and of held-out ones that it knows (`_real`).

    A way to look at pictures is one sight or more: a probe learns by all of them, and judges by the first. Of several ways the one is taken
    that knows most training pictures which it did not learn from.
    """
    shown = pictures(evidence)
    learned = [place for place, name in enumerate(shown.known.known(key)) if name]
    asked, held = shown.made.known(key), shown.real.known(key)
    if not learned or not any(asked):
        raise Unmeasurable("nothing says which {key} a picture is to have", key=tr(key))
    classify, seen = max((_learned(key, evidence, learned, way) for way in ways), key=lambda found: found[0].known)
    figures: dict[str, Figure] = {}
    tests: Mapping[str, tuple[Gallery, list[str]]] = {"": (shown.made, asked), "real": (shown.real, held)}
    for suffix, (gallery, names) in tests.items():
        right = [found == name for found, name in zip(classify(seen[1](gallery)), names) if name]
        if right:
            figures[suffix] = share(right, seed=evidence.seed, better="" if suffix else "higher")
    return figures


def _learned(key: str, evidence: Evidence, places: Sequence[int], sights: Sequence[Sight]) -> tuple[probe.Probe, Sight]:
    """A probe that learned from the training pictures at `places`, or from as many as it can, and the sight that it judges by."""
    most = PROBED // sum(width for width, _ in sights)
    if len(places) > most:
        places = sorted(np.random.default_rng(evidence.seed).choice(places, most, replace=False).tolist())
    lessons = pictures(evidence).known.take(places)
    return probe.fit(np.concatenate([look(lessons) for _, look in sights]), lessons.known(key) * len(sights)), sights[0]


def _captioned(shown: Pictures) -> list[tuple[str, str, Gallery]]:
    """Language, suffix and pictures for each language that captions are in, made and held out.

    Raises:
        Unmeasurable: no made picture has a caption.
    """
    found = []
    for language in LANGUAGES:
        for suffix, gallery in (("", shown.made), ("_real", shown.real)):
            places = [place for place, text in enumerate(gallery.captions(language)) if text]
            if len({gallery.concepts[place] for place in places}) > 1:
                found.append((language, suffix, gallery.take(places)))
    if not any(suffix == "" for _, suffix, _ in found):
        raise Unmeasurable("no captions say what the pictures should show")
    return found


def _judge(evidence: Evidence) -> ImageText:
    judge = pictures(evidence).judge
    if judge is None:
        raise Unmeasurable("the recipe names no judge of pictures and captions (evaluate.scorer)")
    return judge
