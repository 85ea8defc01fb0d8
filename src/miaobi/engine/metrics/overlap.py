"""How near texts come to those that people wrote for the same requests: BLEU, chrF, ROUGE and exact match.

BLEU (Papineni et al., 2002) and chrF (Popović, 2015) are of the whole set, as `sacrebleu` computes them (its tokens `zh`, which parts
Chinese into characters and other text as 13a does); ROUGE (Lin, 2004) is the mean F1 over texts. Intervals of the former resample texts and
add up their counts anew (Koehn, 2004), under one seed the same texts in every model, so that two models are compared in pairs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from miaobi.engine.metrics import Evidence, Figure, Unmeasurable, metric
from miaobi.engine.metrics.confidence import ratio, share, whole
from miaobi.engine.metrics.diversity import phrases

ORDERS, LETTERS, BETA = 4, 6, 2.0  # n-grams of BLEU, of characters in chrF, and how much more recall weighs there
EPSILON = 1e-16
Floats = NDArray[np.float64]
_CJK = re.compile("([\u2e80-\u303f\u31c0-\u31ef\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0002fa1f])")
_WESTERN = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)


@metric("bleu", needs=["samples"])
def bleu(evidence: Evidence) -> Figure:
    """BLEU of the whole set with n-grams of up to four tokens, 0 to 100."""
    counts = np.array([bleu_counts(made, real) for made, real in answered(evidence)], dtype=np.float64)
    return whole(bleu_of, counts, seed=evidence.seed, unit="BLEU", better="higher")


@metric("chrf", needs=["samples"])
def chrf(evidence: Evidence) -> Figure:
    """chrF2 of the whole set: n-grams of up to six characters, recall counting twice, 0 to 100."""
    counts = np.array([chrf_counts(made, real) for made, real in answered(evidence)], dtype=np.float64)
    return whole(chrf_of, counts, seed=evidence.seed, unit="chrF", better="higher")


@metric("rouge", needs=["samples"])
def rouge(evidence: Evidence) -> dict[str, Figure]:
    """The F1 of units, of pairs of them, and of the longest common subsequence, with the text that was to be written."""
    pairs = [(units(made), units(real)) for made, real in answered(evidence)]
    kinds: dict[str, Callable[[Sequence[str], Sequence[str]], float]] = {
        "1": lambda made, real: rouge_n(made, real, 1),
        "2": lambda made, real: rouge_n(made, real, 2),
        "l": rouge_l,
    }
    return {
        name: ratio([score(made, real) for made, real in pairs], seed=evidence.seed, unit="F1", better="higher")
        for name, score in kinds.items()
    }


@metric("exact_match", needs=["samples"])
def exact_match(evidence: Evidence) -> Figure:
    """The share of texts that are what was to be written, white space apart."""
    return share([made.split() == real.split() for made, real in answered(evidence)], seed=evidence.seed)


def answered(evidence: Evidence) -> list[tuple[str, str]]:
    """What was written and what was to be written, for each sample that answers for a held-out record.

    Raises:
        Unmeasurable: there is none.
    """
    samples = evidence.samples.get("", ())
    found = [(sample.text, evidence.text_of(sample.reference)) for sample in samples if sample.reference is not None]
    if not any(real.strip() for _, real in found):
        raise Unmeasurable("no sample answers for a held-out record, so there is nothing to compare it with")
    return found


def tokens(text: str) -> list[str]:
    """The tokens of `sacrebleu`'s tokenizer `zh`: Chinese characters one by one, other text parted as by mteval's 13a."""
    line = _CJK.sub(r" \1 ", text.strip())
    for pattern, replacement in _WESTERN:
        line = pattern.sub(replacement, line)
    return line.split()


def bleu_counts(made: str, real: str) -> list[int]:
    """Of one pair: both lengths, then for each n how many n-grams were made and how many of them are in the other text."""
    ours, theirs = tokens(made), tokens(real)
    counts = [len(ours), len(theirs)]
    for n in range(1, ORDERS + 1):
        own, other = _grams(ours, n), _grams(theirs, n)
        counts += [own.total(), (own & other).total()]
    return counts


def bleu_of(sums: Floats) -> Floats:
    """BLEU (…,) of summed counts (…, 2 + 2 * ORDERS). An order without a match counts half a match, then a quarter (sacrebleu's `exp`)."""
    made, real = sums[..., 0], sums[..., 1]
    total, hits = sums[..., 2::2], sums[..., 3::2]
    missed = np.cumsum((hits == 0) & (total > 0), axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(np.where(hits > 0, hits, 0.5**missed) / total)
        brevity = np.where(made < real, np.exp(1 - real / np.maximum(made, EPSILON)), 1.0)
    usable = (total > 0).all(axis=-1) & (hits > 0).any(axis=-1)
    score: Floats = np.where(usable, 100 * brevity * np.exp(np.where(total > 0, logs, 0.0).mean(axis=-1)), 0.0)
    return score


def chrf_counts(made: str, real: str) -> list[int]:
    """Of one pair, for each n: how many n-grams of characters were made, are in the other text, and are common."""
    ours, theirs = "".join(made.split()), "".join(real.split())
    counts: list[int] = []
    for n in range(1, LETTERS + 1):
        own, other = _grams(ours, n), _grams(theirs, n)
        counts += [own.total() if other else 0, other.total(), (own & other).total()]
    return counts


def chrf_of(sums: Floats) -> Floats:
    """chrF (…,) of summed counts (…, 3 * LETTERS): precision and recall are averaged over the orders that both texts have."""
    made, real, hits = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    usable = (made > 0) & (real > 0)
    orders = np.maximum(usable.sum(axis=-1), 1)
    precision = np.where(usable, hits / np.maximum(made, 1), 0.0).sum(axis=-1) / orders
    recall = np.where(usable, hits / np.maximum(real, 1), 0.0).sum(axis=-1) / orders
    score: Floats = 100 * (1 + BETA**2) * precision * recall / np.maximum(BETA**2 * precision + recall, EPSILON)
    return score


def units(text: str) -> list[str]:
    """Han characters and words in small letters, without punctuation."""
    return [unit for run in phrases(text) for unit in run]


def rouge_n(made: Sequence[str], real: Sequence[str], n: int) -> float:
    """The F1 of n-grams."""
    own, other = _grams(made, n), _grams(real, n)
    return _f1((own & other).total(), own.total(), other.total())


def rouge_l(made: Sequence[str], real: Sequence[str]) -> float:
    """The F1 of the longest common subsequence, by which one text keeps the order of the other."""
    return _f1(common_subsequence(made, real), len(made), len(real))


def common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of the longest one.

    >>> common_subsequence("abcbdab", "bdcaba")
    4
    """
    row = [0] * (len(b) + 1)
    for unit in a:
        above, row = row, [0]
        for place, other in enumerate(b):
            row.append(above[place] + 1 if unit == other else max(above[place + 1], row[-1]))
    return row[-1]


def _f1(hits: int, made: int, real: int) -> float:
    return 2 * hits / (made + real) if made + real else 0.0


def _grams(items: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(items[start:] for start in range(n))))
