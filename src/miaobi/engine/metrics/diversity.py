"""Whether a model says many things or one thing over and over: distinct-n, self-BLEU, repetition and length, beside real text.

Distinct-n (Li et al. 2016) falls as the set grows, so generated and real texts are cut to the same number of units before they are
compared. Self-BLEU (Zhu et al. 2018) is BLEU of each text against all others, smoothed as Chen & Cherry's (2014) first method. Units
are Han characters one by one and words elsewhere; n-grams do not reach over punctuation.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from miaobi.engine.metrics import Evidence, Figure, Unmeasurable, metric
from miaobi.engine.metrics.confidence import ratio, statistic, statistic_ratio

HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
UNIT = re.compile(rf"[{HAN}]|[^\W_{HAN}]+(?:['’][^\W_{HAN}]+)*")
GAP = re.compile(r"^\s*$")  # white space inside a line joins units; anything else between them parts phrases
WORDLESS = "no text has a word"
ORDERS = (1, 2, 3)
BLEU_ORDER = 4

Gram = tuple[str, ...]
Phrases = list[list[str]]  # a text as runs of units between punctuation


def phrases(text: str) -> Phrases:
    """The text's units, parted where punctuation or a line break stands."""
    runs: Phrases = []
    end = -1
    for found in UNIT.finditer(text):
        between = text[end : found.start()] if end >= 0 else "|"
        if "\n" in between or not GAP.match(between):
            runs.append([])
        runs[-1].append(found.group().lower())
        end = found.end()
    return runs


def ngrams(runs: Phrases, n: int) -> Iterator[Gram]:
    """All n-grams of a text; none crosses a phrase's end."""
    for run in runs:
        yield from zip(*(run[start:] for start in range(n)))


@metric("distinct", needs=["samples"])
def distinct(evidence: Evidence) -> dict[str, Figure]:
    """How many of all n-grams are different ones, in generated and in real texts of the same size."""
    made, real = _equal_size([phrases(text) for text in evidence.texts], [phrases(text) for text in evidence.references])
    figures = {}
    for n in ORDERS:
        ours, theirs = ([list(ngrams(runs, n)) for runs in texts] for texts in (made, real))
        if not any(ours):
            continue
        figures[f"{n}"] = statistic(distinct_share, ours, seed=evidence.seed, unit="share", better="higher")
        if any(theirs):
            figures[f"{n}_real"] = statistic(distinct_share, theirs, seed=evidence.seed, unit="share")
            figures[f"{n}_to_real"] = statistic_ratio(distinct_share, ours, theirs, seed=evidence.seed)
    if not figures:
        raise Unmeasurable(WORDLESS)
    return figures


def distinct_share(texts: Sequence[Sequence[Gram]]) -> float:
    """Different n-grams over all n-grams of a set of texts, each given as its n-grams; 0 when there are none."""
    total = sum(map(len, texts))
    return len(set().union(*texts)) / total if total else 0.0


@metric("self_bleu", needs=["samples"])
def self_bleu(evidence: Evidence) -> dict[str, Figure]:
    """How much each text is like the others (BLEU against all of them): a model that has collapsed comes near 1."""
    if len(evidence.texts) < 2:
        raise Unmeasurable("a text is compared with the others, and there is only one")
    figures = {"": _mean_bleu(evidence.texts, evidence.seed, "lower")}
    if len(evidence.references) > 1:
        figures["real"] = _mean_bleu(evidence.references, evidence.seed, "")
    return figures


def self_bleu_scores(texts: Sequence[Phrases], order: int = BLEU_ORDER) -> list[float]:
    """BLEU of every text with all the others as references, in time linear in the number of n-grams.

    The clipping count "most often in any other text" needs only the two largest counts of each n-gram over the set.
    """
    counts = [[Counter(ngrams(runs, n)) for n in range(1, order + 1)] for runs in texts]
    lengths = sorted(sum(map(len, runs)) for runs in texts)
    tops: list[dict[Gram, tuple[int, int]]] = [{} for _ in range(order)]
    for per_order in counts:
        for top, counter in zip(tops, per_order):
            for gram, count in counter.items():
                first, second = top.get(gram, (0, 0))
                top[gram] = (count, first) if count > first else (first, max(second, count))
    return [_bleu(per_order, tops, lengths) for per_order in counts]


@metric("repetition", needs=["samples"])
def repetition(evidence: Evidence) -> dict[str, Figure]:
    """How many n-grams inside one text were said before in it (Welleck et al. 2020), and how many whole lines."""
    figures = {}
    for suffix, texts in (("", evidence.texts), ("_real", evidence.references)):
        if not texts:
            continue
        for n in (2, 4):
            pairs = [repeated(list(ngrams(phrases(text), n))) for text in texts]
            if any(total for _, total in pairs):
                figures[f"{n}{suffix}"] = _over(pairs, evidence.seed)
        lines = [repeated([line for line in text.splitlines() if line.strip()]) for text in texts]
        if any(total for _, total in lines):
            figures[f"lines{suffix}"] = _over(lines, evidence.seed)
    if not any(not name.endswith("_real") for name in figures):
        raise Unmeasurable(WORDLESS)
    return figures


def repeated(items: Sequence[object]) -> tuple[int, int]:
    """How many items occurred before, and how many there are."""
    return len(items) - len(set(items)), len(items)


@metric("length", needs=["samples"])
def length(evidence: Evidence) -> dict[str, Figure]:
    """How many units (Han characters, words) a text has."""
    figures = {}
    for suffix, texts in (("", evidence.texts), ("real", evidence.references)):
        if texts:
            sizes = [float(sum(map(len, phrases(text)))) for text in texts]
            figures[suffix] = ratio(sizes, seed=evidence.seed, unit="units/text")
    return figures


def _equal_size(made: list[Phrases], real: list[Phrases]) -> tuple[list[Phrases], list[Phrases]]:
    """Both sets cut to the units of the smaller one; texts stay whole but for the last."""
    if not real:
        return made, real
    limit = min(sum(len(run) for runs in texts for run in runs) for texts in (made, real))
    return _cut(made, limit), _cut(real, limit)


def _cut(texts: list[Phrases], limit: int) -> list[Phrases]:
    kept: list[Phrases] = []
    for runs in texts:
        text: Phrases = []
        for run in runs:
            if limit <= 0:
                break
            text.append(run[:limit])
            limit -= len(text[-1])
        if text:
            kept.append(text)
    return kept


def _mean_bleu(texts: Sequence[str], seed: int, better: str) -> Figure:
    assert better in ("lower", "")
    return ratio(self_bleu_scores([phrases(text) for text in texts]), seed=seed, unit="BLEU", better="lower" if better else "")


def _bleu(counts: Sequence[Counter[Gram]], tops: Sequence[dict[Gram, tuple[int, int]]], lengths: list[int]) -> float:
    """BLEU of one text against the rest of its set; orders longer than the text's phrases are left out."""
    logs = []
    for counter, top in zip(counts, tops):
        total = counter.total()
        if not total:
            continue
        hits = 0
        for gram, count in counter.items():
            first, second = top[gram]
            hits += min(count, second if count == first else first)  # what the others reach: the largest count is this text's own
        logs.append(math.log((hits or 0.1) / total))
    if not logs:
        return 0.0
    size = counts[0].total()
    return _brevity(size, lengths) * math.exp(sum(logs) / len(logs))


def _brevity(size: int, lengths: list[int]) -> float:
    """BLEU's penalty for a text shorter than the nearest of the others (ties: the shorter)."""
    others = list(lengths)
    others.remove(size)
    nearest = min(others, key=lambda other: (abs(other - size), other)) if others else size
    return 1.0 if size >= nearest else math.exp(1 - nearest / size)


def _over(pairs: Sequence[tuple[int, int]], seed: int) -> Figure:
    return ratio([hit for hit, _ in pairs], [total for _, total in pairs], seed=seed, unit="share", better="lower")
