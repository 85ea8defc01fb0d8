"""How near written captions are to what people called the pictures.

`exact`: one of the picture's captions, letter for letter. `overlap`: F1 of the characters (Chinese) or words (English) as a bag, against
the best fitting caption. `cider`: Vedantam et al. (2015), without the length penalty of its variant D: rare runs of characters or words
count more, so that "face" earns little where half of the pictures are faces. Each also by language, where both were asked.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from miaobi.engine.metrics import Evidence, Figure, Sample, Unmeasurable, metric
from miaobi.engine.metrics.confidence import ratio, share
from miaobi.models.common.captions import LANGUAGES, captions_of

LONGEST = 4  # runs of so many units
Runs = Counter[tuple[str, ...]]
SCALE = 10.0  # CIDEr is given so
_UNIT = re.compile(r"[a-z0-9]+|[^\W_]")


@metric("exact", needs=["samples"])
def exact(evidence: Evidence) -> dict[str, Figure]:
    """The share of captions that are one of the picture's own, letter for letter (case aside)."""

    def figure(samples: Sequence[Sample]) -> Figure:
        return share([_fold(one.text) in map(_fold, _references(one)) for one in samples], seed=evidence.seed)

    return _by_language(evidence, figure)


@metric("overlap", needs=["samples"])
def overlap(evidence: Evidence) -> dict[str, Figure]:
    """Mean F1 of characters (Chinese) or words (English) with the best fitting caption of the picture."""
    return _by_language(
        evidence, lambda samples: _mean([max(_f1(one.text, text) for text in _references(one)) for one in samples], evidence)
    )


@metric("cider", needs=["samples"])
def cider(evidence: Evidence) -> dict[str, Figure]:
    """Mean CIDEr: cosines of runs of 1 to 4 characters or words, weighted by how rare they are among the captions."""

    def figure(samples: Sequence[Sample]) -> Figure:
        return _mean(consensus([one.text for one in samples], [_references(one) for one in samples]), evidence)

    return _by_language(evidence, figure)


def consensus(texts: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr of each text, against its references; all references together say how rare a run is."""
    counted = [[_runs(text) for text in own] for own in references]
    seen = Counter(run for own in counted for run in {run for runs in own for run in runs})
    rarity = {run: math.log(len(references) / number) for run, number in seen.items()}
    most = math.log(max(2, len(references)))
    scores = []
    for text, own in zip(texts, counted):
        made = _runs(text)
        each = [_cosine(made, runs, length, rarity, most) for runs in own for length in range(1, LONGEST + 1)]
        scores.append(SCALE * sum(each) / len(each))
    return scores


def _cosine(a: Runs, b: Runs, length: int, rarity: Mapping[tuple[str, ...], float], most: float) -> float:
    """Of the runs of one length, as counts times rarity; 1 where neither text is that long, so that short captions can be perfect."""
    first, second = ({run: count * rarity.get(run, most) for run, count in runs.items() if len(run) == length} for runs in (a, b))
    if not first and not second:
        return 1.0 if a == b else 0.0
    norms = math.sqrt(sum(x * x for x in first.values()) * sum(x * x for x in second.values()))
    return sum(value * second.get(run, 0.0) for run, value in first.items()) / norms if norms else float(first.keys() == second.keys())


def _by_language(evidence: Evidence, figure: Callable[[Sequence[Sample]], Figure]) -> dict[str, Figure]:
    """The figure of all captions, and of each language's where there are several."""
    samples = [one for one in evidence.samples.get("", ()) if one.reference is not None and _references(one)]
    if not samples:
        raise Unmeasurable("none of the pictures has a caption to compare with")
    figures = {"": figure(samples)}
    parts = {language: [one for one in samples if _language(one) == language] for language in LANGUAGES}
    if all(parts.values()):
        figures |= {language: figure(part) for language, part in parts.items()}
    return figures


def _language(one: Sample) -> str:
    return str(one.content.label.options.get("language", LANGUAGES[0]))


def _references(one: Sample) -> tuple[str, ...]:
    return captions_of(one.reference, _language(one)) if one.reference else ()


def _mean(values: Sequence[float], evidence: Evidence) -> Figure:
    return ratio(values, seed=evidence.seed, better="higher")


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _units(text: str) -> list[str]:
    """Words of Latin letters, single characters of Chinese."""
    return _UNIT.findall(text.casefold())


def _runs(text: str) -> Runs:
    units = _units(text)
    return Counter(tuple(units[start : start + length]) for length in range(1, LONGEST + 1) for start in range(len(units) - length + 1))


def _f1(text: str, reference: str) -> float:
    made, wanted = Counter(_units(text)), Counter(_units(reference))
    shared = (made & wanted).total()
    return 2 * shared / (made.total() + wanted.total()) if shared else 0.0
