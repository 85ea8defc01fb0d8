"""How well a model names the class of a text, or the tags of its tokens: accuracy, and precision, recall and F1 of every label.

An answer is a label, or a line for each token that ends in a tab and a tag. Each label's F1 is 2 TP / (2 TP + FP + FN), with an interval
over texts, not tokens; `f1_macro` is the mean over labels that occur, so that a rare one counts as much as a common one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from miaobi.engine.metrics import Evidence, Figure, Unmeasurable, metric
from miaobi.engine.metrics.confidence import ratio, statistic

MOST_LABELS = 40  # of more classes than these only the common ones are given apart
Pairs = list[tuple[str, str]]  # what was said and what is true, of one text


@metric("classification", needs=["samples"])
def classification(evidence: Evidence) -> dict[str, Figure]:
    """Accuracy, and precision, recall and F1 of each class or tag."""
    texts = pairs(evidence)
    if not texts:
        raise Unmeasurable("no sample answers for a held-out record whose class is known")
    labels = common_labels(texts)
    counts = {label: counted(texts, label) for label in labels}
    right = np.array([sum(said == true for said, true in text) for text in texts], dtype=np.float64)
    sizes = np.array([len(text) for text in texts], dtype=np.float64)
    figures = {
        "accuracy": ratio(right, sizes, seed=evidence.seed, unit="share", better="higher"),
        "f1_macro": statistic(lambda some: macro_f1(some, labels), texts, seed=evidence.seed, unit="share", better="higher"),
    }
    for label, (hits, said, true) in counts.items():
        for name, top, bottom in (("precision", hits, said), ("recall", hits, true), ("f1", 2 * hits, said + true)):
            if bottom.sum():
                figures[f"{name}_{label}"] = ratio(top, bottom, seed=evidence.seed, unit="share", better="higher")
    return figures


def pairs(evidence: Evidence) -> list[Pairs]:
    """What was said and what is true, for each sample that answers for a held-out record."""
    found = []
    for sample in evidence.samples.get("", ()):
        if sample.reference is not None:
            said, true = labels_in(sample.text), labels_in(evidence.text_of(sample.reference))
            said += [""] * (len(true) - len(said))  # a text that was cut has no answer for its end
            if true:
                found.append(list(zip(said, true)))
    return found


def labels_in(text: str) -> list[str]:
    """The label of an answer, or the tags of its lines."""
    return [line.rpartition("\t")[2].strip() for line in text.splitlines() if line.strip()]


def common_labels(texts: Sequence[Pairs]) -> list[str]:
    """The labels that are true of something, the commonest first."""
    counts: dict[str, int] = {}
    for text in texts:
        for _, true in text:
            counts[true] = counts.get(true, 0) + 1
    return sorted(counts, key=lambda label: (-counts[label], label))[:MOST_LABELS]


def counted(texts: Sequence[Pairs], label: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """For each text how often the label was said truly, was said, and is true."""
    rows = [(sum(s == t == label for s, t in text), sum(s == label for s, _ in text), sum(t == label for _, t in text)) for text in texts]
    hits, said, true = np.array(rows, dtype=np.float64).T
    return hits, said, true


def macro_f1(texts: Sequence[Pairs], labels: Sequence[str]) -> float:
    """The mean of the labels' F1; a label that neither was said nor is true has none."""
    scores = []
    for label in labels:
        hits, said, true = (float(column.sum()) for column in counted(texts, label))
        if said + true:
            scores.append(2 * hits / (said + true))
    return sum(scores) / max(1, len(scores))
