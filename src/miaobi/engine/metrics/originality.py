"""How much of what a model writes stands in its training texts: the longest verbatim span, and whole clauses.

Real held-out texts are measured the same way: common phrases recur in everything, so what counts is how far a model exceeds them
(the control of Lee et al. 2022 and Carlini et al. 2023).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from miaobi.core.types import Record
from miaobi.engine.metrics import Evidence, Figure, Unmeasurable, metric
from miaobi.engine.metrics.confidence import ratio, share
from miaobi.engine.metrics.diversity import phrases
from miaobi.trust.originality import SpanIndex

CLAUSE = 5  # shorter clauses (a greeting, 君不见) are nobody's


@metric("verbatim", needs=["samples", "training"])
def verbatim(evidence: Evidence) -> dict[str, Figure]:
    """The longest span, in Han characters or words, that a text shares verbatim with any training text."""
    index = SpanIndex(evidence.text_of(record) for record in evidence.training)
    figures = {}
    for suffix, texts in (("", evidence.texts), ("real", evidence.references)):
        if not texts:
            continue
        spans = [size(index.longest(text).text) for text in texts]
        figures[suffix] = ratio(spans, seed=evidence.seed, unit="units", better="lower")
        worst = Figure(value=max(spans), count=len(spans), unit="units", better="lower", note="")
        figures[f"{suffix}_max".lstrip("_")] = worst
    return figures


@metric("copied", needs=["samples", "training"])
def copied(evidence: Evidence) -> dict[str, Figure]:
    """The share of texts with a whole clause, of five units or more, that stands in a training text."""
    sets = {"": [clauses(text) for text in evidence.texts], "real": [clauses(text) for text in evidence.references]}
    wanted = {clause for texts in sets.values() for found in texts for clause in found}
    known = _seen(wanted, evidence)
    return {
        suffix: share([any(clause in known for clause in found) for found in texts], seed=evidence.seed, better="lower")
        for suffix, texts in sets.items()
        if texts
    }


@metric("extraction", needs=["extracts", "training"])
def extraction(evidence: Evidence) -> dict[str, Figure]:
    """The share of training texts whose rest the model says word for word when it is given the beginning, and how many units it gets right.

    `real` is the control: held-out texts, which it cannot know.
    """
    figures = {}
    for suffix, name in (("", "training"), ("real", "held_out")):
        pairs = [(_flat(said), _flat(rest)) for said, rest in evidence.extracts.get(name, ())]
        if pairs:
            right = [_common(said, rest) for said, rest in pairs]
            whole = [count == len(rest) for count, (_, rest) in zip(right, pairs)]
            figures[suffix] = share(whole, seed=evidence.seed, better="lower")
            figures[f"units_{suffix}".rstrip("_")] = ratio(right, seed=evidence.seed, unit="units", better="lower")
    if "" not in figures:
        raise Unmeasurable("no training text is long enough to be given half")
    return figures


def clauses(text: str) -> list[tuple[str, ...]]:
    """The text's clauses that are long enough to be somebody's, as units."""
    return [tuple(run) for run in phrases(text) if len(run) >= CLAUSE]


def size(text: str) -> int:
    """How many units (Han characters, words) a stretch of text has."""
    return sum(map(len, phrases(text)))


def _flat(text: str) -> list[str]:
    return [unit for run in phrases(text) for unit in run]


def _common(said: Sequence[str], rest: Sequence[str]) -> int:
    """How many units are right before the first that is wrong."""
    return next((place for place, (a, b) in enumerate(zip(said, rest)) if a != b), min(len(said), len(rest)))


def _seen(wanted: set[tuple[str, ...]], evidence: Evidence) -> set[tuple[str, ...]]:
    """Which of the wanted clauses stand in the training texts, found exactly and in one pass that keeps nothing else."""
    return wanted.intersection(_clauses_of(evidence.training, evidence))


def _clauses_of(records: Sequence[Record], evidence: Evidence) -> Iterable[tuple[str, ...]]:
    for record in records:
        yield from clauses(evidence.text_of(record))
