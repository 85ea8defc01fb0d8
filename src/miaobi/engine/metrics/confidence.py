"""How sure a figure is: bootstrap intervals, and tests of two models on the same records.

Records are resampled, never tokens: the characters of one poem are not independent. A figure that is a ratio of sums (bits over
characters, right answers over answers) is resampled as a ratio (Efron & Tibshirani 1993). Figures of a whole set, such as distinct-n,
shrink when a draw repeats a text, so they take balanced half-samples without replacement instead (Politis & Romano 1994): a half has
the variance of the whole's bootstrap. A share of 0 % or 100 %, of which every resample is the same, gets Wilson's interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miaobi.core.errors import MiaobiError
from miaobi.engine.metrics import FEW, Figure, _rounded

DRAWS = 2000
LEVEL = 0.95
CELLS = 4_000_000  # at most so many resampled numbers in memory at once
Z = 1.959963984540054  # the normal quantile of LEVEL

Floats = NDArray[np.float64]
Better = Literal["lower", "higher", ""]


def ratio(
    numerators: Sequence[float] | Floats,
    denominators: Sequence[float] | Floats | None = None,
    *,
    seed: int = 0,
    unit: str = "",
    better: Better = "",
    transform: Callable[[Floats], Floats] | None = None,
) -> Figure:
    """Sum over sum with a percentile bootstrap over records; no denominators means the mean over records.

    `transform` is applied to the ratio and to every resample (perplexity is 2 to the bits per token).

    Raises:
        MiaobiError: no records, or numbers that are not finite.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.ones_like(top) if denominators is None else np.asarray(denominators, dtype=np.float64)
    _check(top, bottom)
    shape = transform or (lambda values: values)
    value = float(shape(np.asarray(top.sum() / bottom.sum())))
    low, high, interval = _ratio_interval(top, bottom, shape, seed, flags=unit == "share")
    return Figure(
        value=value,
        low=low,
        high=high,
        count=len(top),
        interval=interval,
        unit=unit,
        better=better,
        note=weak(len(top)),
        parts=(top, bottom),
        transform=transform,
    )


def share(flags: Sequence[bool] | NDArray[np.bool_], *, seed: int = 0, better: Better = "higher") -> Figure:
    """The share of records for which something holds, between 0 and 1."""
    return ratio(np.asarray(flags, dtype=np.float64), seed=seed, unit="share", better=better)


def statistic(
    of: Callable[[Sequence[Any]], float], items: Sequence[Any], *, seed: int = 0, draws: int = 200, unit: str = "", better: Better = ""
) -> Figure:
    """A figure of a whole set with an interval from half-samples, centred on the value (a half-set's own level is off)."""
    if not items:
        raise MiaobiError("there are no records to measure")
    value, low, high = of(items), None, None
    if len(items) > 1:
        halves = _halves(of, items, np.random.default_rng(seed), draws)
        low, high = _quantiles(value + halves - halves.mean())
    note, interval = weak(len(items)), "half-samples" if low is not None else ""
    return Figure(value=value, low=low, high=high, count=len(items), interval=interval, unit=unit, better=better, note=note)


def whole(
    of: Callable[[Floats], Floats], counts: Floats, *, seed: int = 0, draws: int = DRAWS, unit: str = "", better: Better = ""
) -> Figure:
    """A figure of a whole set that is computed from sums over records: `of` maps sums (…, K) of `counts` (N, K) to figures (…,).

    The bootstrap resamples records and adds their counts; sets of one size get the same records under one seed, so that the figures of two
    models on the same records differ in pairs.
    """
    _check(counts, np.ones_like(counts))
    rng, shares = np.random.default_rng(seed), np.full(len(counts), 1 / max(len(counts), 1))
    rows = max(1, CELLS // len(counts))
    found = [of(rng.multinomial(len(counts), shares, size=min(rows, draws - start)) @ counts) for start in range(0, draws, rows)]
    resampled = np.concatenate(found)
    low, high = _quantiles(resampled) if len(counts) > 1 else (None, None)
    value = float(of(counts.sum(axis=0)))
    return Figure(
        value=value,
        low=low,
        high=high,
        count=len(counts),
        interval="bootstrap" if len(counts) > 1 else "",
        unit=unit,
        better=better,
        note=weak(len(counts)),
        draws=resampled,
    )


def statistic_between(
    of: Callable[[Any, Any], float],
    items: NDArray[Any],
    others: NDArray[Any],
    *,
    seed: int = 0,
    draws: int = 100,
    most: int = 500,
    unit: str = "",
    better: Better = "",
) -> Figure:
    """A figure of one set beside another, with an interval from half-samples of both.

    Halves of more than `most` are cut to `most`, for the time, and their spread is scaled to what halves would have had: that of a mean
    over s of n, drawn without replacement, is √(n / s - 1) times the bootstrap's. Sets of one size get the same draws under one seed.
    """
    value, count = of(items, others), min(len(items), len(others))
    sizes = [min(len(x) // 2, most) for x in (items, others)]
    rng, found = np.random.default_rng(seed), []
    for _ in range(draws if count > 3 else 0):
        found.append(of(*(x[rng.permutation(len(x))[:size]] for x, size in zip((items, others), sizes))))
    scale = min(math.sqrt(len(x) / max(size, 1) - 1) for x, size in zip((items, others), sizes)) or 1.0
    resampled = value + (np.array(found) - np.mean(found)) / scale if found else None
    low, high = _quantiles(resampled) if resampled is not None else (None, None)
    interval = "half-samples" if found else ""
    return Figure(
        value=value, low=low, high=high, count=len(items), interval=interval, unit=unit, better=better, note=weak(count), draws=resampled
    )


def statistic_ratio(
    of: Callable[[Sequence[Any]], float], items: Sequence[Any], others: Sequence[Any], *, seed: int = 0, draws: int = 200
) -> Figure:
    """How many times the figure of one set is that of another, with an interval from half-samples of both."""
    if not items or not others or not of(others):
        raise MiaobiError("there are no records to measure")
    value, low, high = of(items) / of(others), None, None
    count = min(len(items), len(others))
    if count > 1:
        rng = np.random.default_rng(seed)
        halves = _halves(of, items, rng, draws) / _halves(of, others, rng, draws)
        low, high = _quantiles(value * halves / halves.mean())
    interval = "half-samples" if low is not None else ""
    return Figure(value=value, low=low, high=high, count=count, interval=interval, unit="ratio", note=weak(count))


def _halves(of: Callable[[Sequence[Any]], float], items: Sequence[Any], rng: np.random.Generator, draws: int) -> Floats:
    """The figure of random halves of the set: (draws,)."""
    half = len(items) // 2
    return np.array([of([items[i] for i in rng.permutation(len(items))[:half]]) for _ in range(draws)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A − B on the same records. `relative` is A / B − 1, not a number where B may be below 0; `p_value` is two-sided."""

    value: float
    low: float
    high: float
    relative: float
    relative_low: float
    relative_high: float
    p_value: float
    wins: float | None  # the share of records on which A's own ratio is the better one, ties half; None when they are not paired
    count: int
    test: str
    note: str = ""

    @property
    def significant(self) -> bool:
        """Whether A and B differ at the 5 % level."""
        return self.p_value < 1 - LEVEL

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; A / B is left out where B is 0, or may be below."""
        fields = {name: getattr(self, name) for name in self.__slots__ if getattr(self, name) not in ("", None)}
        return {name: _rounded(value) for name, value in fields.items() if not isinstance(value, float) or math.isfinite(value)}


def difference(a: Figure, b: Figure, *, seed: int = 0, paired: bool = True) -> Difference:
    """Whether two figures differ. Over the same records: the paired bootstrap (Koehn 2004), both recomputed on the same resampled records.

    Not `paired`, the records of each are resampled by themselves. Figures of whole sets differ as their half-samples do. Of yes and no
    the exact test counts too, the larger p of both: where one side is all yes, its resamples know no other answer.

    Raises:
        MiaobiError: (paired) the figures do not rest on the same number of records, or on nothing that can be resampled.
    """
    if a.draws is not None and b.draws is not None:
        return _difference_of_sets(a, b)
    if a.parts is None or b.parts is None or (paired and a.count != b.count):
        raise MiaobiError("a paired test needs two figures over the same records; these rest on {a} and {b}", a=a.count, b=b.count)
    shape = a.transform or (lambda values: values)
    draws_a = shape(np.concatenate(_resampled_ratios(*a.parts, seed)))
    draws_b = shape(np.concatenate(_resampled_ratios(*b.parts, seed if paired else seed + 1)))  # the same seed draws the same records
    ratio_a, ratio_b = (float(shape(np.asarray(parts[0].sum() / parts[1].sum()))) for parts in (a.parts, b.parts))
    test, wins = ("paired bootstrap", _wins(a, b)) if paired else ("bootstrap of each", None)
    found = _difference(ratio_a, ratio_b, draws_a, draws_b, test=test, wins=wins, count=min(a.count, b.count))
    return replace(found, p_value=max(found.p_value, _exact_p(a.parts, b.parts, paired=paired)))


def _exact_p(a: tuple[Floats, Floats], b: tuple[Floats, Floats], *, paired: bool) -> float:
    """The exact p of two shares of yes: McNemar's of pairs, else Fisher's; 0 for other figures."""
    if not all((bottom == 1).all() and np.isin(top, (0.0, 1.0)).all() for top, bottom in (a, b)):
        return 0.0
    yes_a, yes_b = a[0].astype(bool).tolist(), b[0].astype(bool).tolist()
    return mcnemar_p(yes_a, yes_b) if paired else fisher_p(sum(yes_a), len(yes_a), sum(yes_b), len(yes_b))


def _difference_of_sets(a: Figure, b: Figure) -> Difference:
    """Of two figures of whole sets, from what halves of the sets gave; sets of one size drew the same places."""
    assert a.draws is not None
    assert b.draws is not None
    count = min(len(a.draws), len(b.draws))
    test = "paired bootstrap" if a.interval == b.interval == "bootstrap" else "half-samples"
    return _difference(a.value, b.value, a.draws[:count], b.draws[:count], test=test, wins=None, count=min(a.count, b.count))


def _difference(a: float, b: float, draws_a: Floats, draws_b: Floats, *, test: str, wins: float | None, count: int) -> Difference:
    gap, signed = draws_a - draws_b, b < 0 or bool((draws_b < 0).any())  # a share of what may be below 0 means nothing
    low, high = _quantiles(gap)
    relative_low, relative_high = (math.nan, math.nan) if signed else _quantiles(_relative(draws_a, draws_b))
    return Difference(
        value=a - b,
        low=low,
        high=high,
        relative=math.nan if signed else float(_relative(np.array(a), np.array(b))),
        relative_low=relative_low,
        relative_high=relative_high,
        p_value=_two_sided(gap),
        wins=wins,
        count=count,
        test=test,
        note=weak(count),
    )


def permutation_p(a: Floats, b: Floats, *, seed: int = 0, draws: int = 10_000) -> float:
    """Two-sided p-value of equal means of paired numbers, by flipping signs at random (Fisher's randomisation test)."""
    gaps: Floats = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    _check(gaps, np.ones_like(gaps))
    rng, extreme, observed = np.random.default_rng(seed), 0, abs(gaps.sum()) * (1 - 1e-12)
    rows = max(1, CELLS // len(gaps))
    for start in range(0, draws, rows):
        signs = rng.integers(0, 2, size=(min(rows, draws - start), len(gaps))) * 2 - 1
        extreme += int((np.abs(signs @ gaps) >= observed).sum())
    return (extreme + 1) / (draws + 1)


def mcnemar_p(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Exact two-sided p-value that two paired yes-or-no judgements have the same share of yes (McNemar 1947)."""
    only_a = sum(bool(x) and not y for x, y in zip(a, b, strict=True))
    only_b = sum(bool(y) and not x for x, y in zip(a, b, strict=True))
    n, k = only_a + only_b, min(only_a, only_b)
    return float(min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n))


def fisher_p(yes_a: int, count_a: int, yes_b: int, count_b: int) -> float:
    """Exact two-sided p-value that two independent sets have the same share of yes (Fisher 1922)."""
    yes = yes_a + yes_b
    ways = [math.comb(count_a, k) * math.comb(count_b, yes - k) for k in range(max(0, yes - count_b), min(yes, count_a) + 1)]
    observed = ways[yes_a - max(0, yes - count_b)]
    return sum(way for way in ways if way <= observed) / sum(ways)


def wilson(successes: float, count: int) -> tuple[float, float]:
    """Wilson's (1927) interval of a share, which is not empty at 0 % and 100 %."""
    p, zz = successes / count, Z * Z
    centre = (p + zz / (2 * count)) / (1 + zz / count)
    half = Z * math.sqrt(p * (1 - p) / count + zz / (4 * count * count)) / (1 + zz / count)
    return centre - half if successes else 0.0, centre + half if successes < count else 1.0  # at the ends only rounding differs


def weak(count: int) -> str:
    """A note for a figure over few records, else nothing. It is stored in English and translated where it is shown."""
    return "few records: take the interval as a hint" if count < FEW else ""


def _ratio_interval(
    top: Floats, bottom: Floats, shape: Callable[[Floats], Floats], seed: int, *, flags: bool
) -> tuple[float | None, float | None, str]:
    """The interval and its name; nothing for a single record, Wilson's for flags that are all the same."""
    if len(top) < 2:
        return None, None, ""
    if flags and (bottom == 1).all() and (top == top[0]).all() and top[0] in (0.0, 1.0):
        return *wilson(float(top.sum()), len(top)), "wilson"
    low, high = _quantiles(shape(np.concatenate(_resampled_ratios(top, bottom, seed))))
    return low, high, "bootstrap"


def _resampled_ratios(top: Floats, bottom: Floats, seed: int) -> list[Floats]:
    """`DRAWS` ratios of sums over records drawn with replacement, in chunks that fit in memory."""
    rng, n, chunks = np.random.default_rng(seed), len(top), []
    rows = max(1, min(DRAWS, CELLS // n))
    for start in range(0, DRAWS, rows):
        drawn = rng.integers(0, n, size=(min(rows, DRAWS - start), n))  # (draws, n)
        below = bottom[drawn].sum(axis=1)
        chunks.append(top[drawn].sum(axis=1) / np.where(below == 0, np.nan, below))
    return chunks


def _check(top: Floats, bottom: Floats) -> None:
    if top.size == 0:
        raise MiaobiError("there are no records to measure")
    if top.shape != bottom.shape:
        raise MiaobiError("{a} numerators and {b} denominators do not belong together", a=top.size, b=bottom.size)
    if not (np.isfinite(top).all() and np.isfinite(bottom).all()):
        raise MiaobiError(
            "the model gave numbers that are not finite (nan or infinity) for {count} records", count=_not_finite(top, bottom)
        )
    if bottom.sum() <= 0:
        raise MiaobiError("there is nothing to divide by: the records hold no scored characters")


def _not_finite(top: Floats, bottom: Floats) -> int:
    return int((~(np.isfinite(top) & np.isfinite(bottom))).sum())


def _relative(a: Floats, b: Floats) -> Floats:
    """a / b − 1; 0 where both are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b == 0, np.where(a == 0, 0.0, np.inf), a / b - 1)


def _quantiles(draws: Floats) -> tuple[float, float]:
    draws = draws[~np.isnan(draws)]
    method: Literal["linear", "nearest"] = "linear" if np.isfinite(draws).all() else "nearest"  # nothing lies between 1 and ∞
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method=method)
    return float(low), float(high)


def _two_sided(gap: Floats) -> float:
    """How often a resampled difference lies on the other side of zero, twice; never quite 0."""
    below, above, n = int((gap <= 0).sum()), int((gap >= 0).sum()), len(gap)
    return min(1.0, 2 * (min(below, above) + 1) / (n + 1))


def _wins(a: Figure, b: Figure) -> float:
    """The share of records on which A is better, ties half. Records without a denominator on either side are left out."""
    assert a.parts is not None
    assert b.parts is not None
    seen = (a.parts[1] > 0) & (b.parts[1] > 0)
    x, y = a.parts[0][seen] / a.parts[1][seen], b.parts[0][seen] / b.parts[1][seen]
    if not seen.any():
        return 0.5
    better = x < y if a.better == "lower" else x > y
    return float((better + 0.5 * (x == y)).mean())
