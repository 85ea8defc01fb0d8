"""Is one model better than another, by which figure, and by which test.

Figures that are means over the same requests or the same held-out records are compared in pairs; others, and folders of pictures that
nobody asked the same, are resampled by themselves. What people wrote (`_real`) is no model's and is not compared. Each figure is tested at
5 % by itself: of twenty equal ones, one comes out different.
"""

from __future__ import annotations

import numpy as np

from miaobi.core.errors import MiaobiError
from miaobi.engine.baselines import check_same_text
from miaobi.engine.evaluate import Baseline, Evaluation
from miaobi.engine.metrics import Evidence, Figure
from miaobi.engine.metrics.confidence import Difference, difference

SHOWN, LETTERS = 3, 60  # prompts of each side that are named, and how much of them
OVER_RECORDS = ("recall", "coverage", "reconstruction", "bits_per", "perplexity")  # the rest is over what was made


def against(ours: Evaluation, theirs: Evaluation, *, seed: int = 0) -> Baseline:
    """The other's figures, and the difference for each figure of which one end is better.

    Raises:
        MiaobiError: the two share no such figure, or scored different characters.
    """
    if ours.evidence.scores and theirs.evidence.scores and not ours.evidence.pictures:
        check_same_text(ours.evidence.scores, theirs.evidence.scores, theirs.card.name)
    shared = [name for name, figure in ours.figures.items() if figure.better and name in theirs.figures and "_real" not in name]
    found = {name: _difference(name, ours, theirs, seed) for name in shared}
    differences = {name: gap for name, gap in found.items() if gap is not None}
    if not differences:
        raise MiaobiError("{a} and {b} have no figure in common that says which is better", a=ours.card.name, b=theirs.card.name)
    where = {name: sides for name, gap in differences.items() if gap.wins is not None and (sides := extremes(name, ours, theirs))}
    return Baseline(figures=theirs.figures, differences=differences, seconds=sum(theirs.seconds.values()), where=where)


def extremes(name: str, ours: Evaluation, theirs: Evaluation) -> dict[str, list[str]]:
    """The prompts, or the beginnings of the held-out texts, on which ours is better by most and worse by most."""
    a, b = ours.figures[name], theirs.figures[name]
    said = _named(name, ours.evidence)
    if a.parts is None or b.parts is None or len(said) != len(a.parts[0]):
        return {}
    with np.errstate(divide="ignore", invalid="ignore"):
        gaps = a.parts[0] / a.parts[1] - b.parts[0] / b.parts[1]
    gaps = np.where(np.isfinite(gaps), gaps if a.better == "higher" else -gaps, 0.0)
    order = np.argsort(-gaps, kind="stable")
    sides = {
        "better": [place for place in order[:SHOWN] if gaps[place] > 0],
        "worse": [place for place in order[::-1][:SHOWN] if gaps[place] < 0],
    }
    return {side: [said[place] for place in places] for side, places in sides.items() if places}


def _named(name: str, evidence: Evidence) -> list[str]:
    """What each part of a figure is about, in a few words."""
    if name.startswith(OVER_RECORDS):
        texts = [evidence.text_of(record) or record.id for record in evidence.records]
    else:
        texts = [sample.content.label.prompt or f"seed {sample.content.label.seed}" for sample in evidence.samples.get("", ())]
    return [" ".join(text.split())[:LETTERS] for text in texts]


def _difference(name: str, ours: Evaluation, theirs: Evaluation, seed: int) -> Difference | None:
    a, b = ours.figures[name], theirs.figures[name]
    if not (_resampled(a) and _resampled(b)):
        return None
    paired = a.count == b.count and _same(name, ours.evidence, theirs.evidence)
    return difference(a, b, seed=seed, paired=paired)


def _resampled(figure: Figure) -> bool:
    return figure.parts is not None or figure.draws is not None


def _same(name: str, a: Evidence, b: Evidence) -> bool:
    """Whether the n-th part of the figure is about the same record, or the same request, in both."""
    if name.startswith(OVER_RECORDS):
        return [record.id for record in a.records] == [record.id for record in b.records]
    asked = asked_for(a)
    return asked is not None and asked == asked_for(b)


def asked_for(evidence: Evidence) -> list[tuple[str, str, int, int]] | None:
    """The held-out record (or none), the prompt, the seed and the place behind each sample, in order; None of what nobody asked for."""
    samples = evidence.samples.get("", ())
    labels = [(sample.reference.id if sample.reference else "", sample.content.label) for sample in samples]
    return [(name, label.prompt, label.seed, label.index) for name, label in labels] or None
