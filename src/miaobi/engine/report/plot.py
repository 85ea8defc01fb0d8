"""Small SVG plots: curves over steps, and values with their intervals. Colours are CSS variables, so one drawing serves light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

LIGHT = ("#2a78d6", "#1baf7a", "#eda100", "#4a3aa7", "#e34948", "#008300", "#e87ba4", "#eb6834")
DARK = ("#3987e5", "#199e70", "#c98500", "#9085e9", "#e66767", "#22a322", "#d55181", "#d95926")
DASHES = ("", "6 4", "2 3", "8 3 2 3")  # after eight colours the next eight are dashed, never a new hue
POINTS = 400  # more are averaged in buckets: a plot 520 wide shows no more
FONT = 'system-ui, -apple-system, "Segoe UI", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "WenQuanYi Micro Hei", sans-serif'

WIDTH, HEIGHT = 520, 280
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 34, 44
ROW = 34  # the height of one line of `intervals`
LINE = 18  # of one line of a legend


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One curve. `colour` is its place in the palette, so that a model keeps its colour from plot to plot."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: int = 0
    faint: bool = False  # a noisy curve behind a smooth one


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """One value and how sure it is."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    colour: int = 0


def lines(series: Sequence[Series], *, x_label: str, y_label: str, title: str = "") -> str:
    """Curves over a common x axis, with a legend above."""
    drawn = [thin(one) for one in series if len(one.xs)]
    if not drawn:
        return ""
    x_low, x_high = _extent([x for one in drawn for x in one.xs])
    y_low, y_high = _padded([y for one in drawn for y in one.ys])
    legend, above = _legend(drawn)
    parts = [*_grid((x_low, x_high), (y_low, y_high), x_label, y_label), *legend]
    for one in drawn:
        points = " ".join(
            f"{_place(x, x_low, x_high, LEFT, WIDTH - RIGHT):.1f},{_place(y, y_low, y_high, HEIGHT - BOTTOM, TOP):.1f}"
            for x, y in zip(one.xs, one.ys)
        )
        last = f"{escape(one.name)}: {number(one.ys[-1])} ({x_label} {number(one.xs[-1])})"
        style = ' opacity="0.35" stroke-width="1.2"' if one.faint else ' stroke-width="2"'
        parts.append(f'<polyline class="line" points="{points}" {_stroke(one.colour)}{style}><title>{last}</title></polyline>')
    return _svg(parts, HEIGHT, title or f"{y_label} / {x_label}", above=above)


def dots(series: Sequence[Series], *, x_label: str, y_label: str, log: bool = False) -> str:
    """Single points; `log` spreads the x axis by orders of magnitude."""
    scale = math.log10 if log else float
    drawn = [one for one in series if len(one.xs)]
    if not drawn:
        return ""
    x_low, x_high = _padded([scale(x) for one in drawn for x in one.xs])
    y_low, y_high = _padded([y for one in drawn for y in one.ys])
    legend, above = _legend(drawn, points=True)
    parts = [*_grid((x_low, x_high), (y_low, y_high), x_label, y_label, log=log), *legend]
    for one in drawn:
        for x, y in zip(one.xs, one.ys):
            across, up = _place(scale(x), x_low, x_high, LEFT, WIDTH - RIGHT), _place(y, y_low, y_high, HEIGHT - BOTTOM, TOP)
            words = f"{x_label} {number(x)}: {number(y)}"
            parts.append(
                f'<circle cx="{across:.1f}" cy="{up:.1f}" r="4" fill="{_colour(one.colour)}"><title>{escape(words)}</title></circle>'
            )
    return _svg(parts, HEIGHT, f"{y_label} / {x_label}", above=above)


def intervals(rows: Sequence[Interval], *, x_label: str, title: str = "") -> str:
    """One dot and whisker a row, on a common axis that need not begin at zero."""
    if not rows:
        return ""
    height = TOP + ROW * len(rows) + BOTTOM - 18
    left = LEFT + min(180, 8 * max(_columns(row.name) for row in rows))
    low, high = _padded([value for row in rows for value in (row.value, row.low, row.high) if value is not None])
    parts = list(_x_axis((low, high), x_label, left=left, height=height))
    for index, row in enumerate(rows):
        y = TOP + ROW * index + ROW / 2 - 8
        x, x0, x1 = (
            _place(row.value if value is None else value, low, high, left, WIDTH - RIGHT) for value in (row.value, row.low, row.high)
        )
        words = number(row.value) if row.low is None else f"{number(row.value)} ({number(row.low)} – {number(row.high)})"
        parts += [
            f'<text class="name" x="{left - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(row.name)}</text>',
            f'<line x1="{x0:.1f}" x2="{x1:.1f}" y1="{y}" y2="{y}" {_stroke(row.colour)} stroke-width="3" stroke-linecap="round" '
            'opacity="0.45"/>',
            f'<circle cx="{x:.1f}" cy="{y}" r="5" fill="{_colour(row.colour)}"><title>{escape(row.name)}: {words}</title></circle>',
        ]
    return _svg(parts, height, title or x_label)


def standalone(svg: str) -> str:
    """An SVG file of its own: the colours and fonts that a page would have given are written into it."""
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f"><style>{style('svg')}</style>", 1)


def style(root: str = ":root") -> str:
    """The CSS of all plots, for light and for dark surroundings."""
    light = "".join(f"--s{i}:{colour};" for i, colour in enumerate(LIGHT)) + "--ink:#1d1d1b;--soft:#6d6b66;--rule:#e4e2dc;--paper:#fcfcfb;"
    dark = "".join(f"--s{i}:{colour};" for i, colour in enumerate(DARK)) + "--ink:#eceae4;--soft:#a3a19a;--rule:#383734;--paper:#1a1a19;"
    background = "svg{background:var(--paper)}" if root == "svg" else ""
    return (
        f"{root}{{{light}}}@media(prefers-color-scheme:dark){{{root}{{{dark}}}}}{background}"
        f"svg.plot text{{font:12px {FONT};fill:var(--soft)}}svg.plot .name,svg.plot .legend{{fill:var(--ink)}}"
        "svg.plot .rule{stroke:var(--rule)}svg.plot .line{fill:none;stroke-linejoin:round;stroke-linecap:round}"
    )


def thin(series: Series, points: int = POINTS) -> Series:
    """The series in at most so many points, each the mean of a bucket of neighbours."""
    size = math.ceil(len(series.xs) / points)
    if size <= 1:
        return series
    spans = [slice(start, start + size) for start in range(0, len(series.xs), size)]
    xs, ys = ([sum(values[span]) / len(values[span]) for span in spans] for values in (series.xs, series.ys))
    return Series(name=series.name, xs=xs, ys=ys, colour=series.colour, faint=series.faint)


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) between low and high.

    >>> ticks(0, 10)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    rough = (high - low) / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) + 0.0 for index in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """The logarithms of powers of ten between low and high (logarithms as well), of fewer than three of these also of 2 and 5 times them.

    >>> [round(10**tick) for tick in log_ticks(0, 1.5)]
    [1, 2, 5, 10, 20]
    """
    powers = range(math.floor(low), math.ceil(high) + 1)
    factors = (1,) if sum(low <= power <= high for power in powers) > 2 else (1, 2, 5)
    found = [power + math.log10(factor) for power in powers for factor in factors]
    return [tick for tick in found if low <= tick <= high]


def number(value: float | None) -> str:
    """A number as a person would write it: four significant digits, thousands parted, small shares not in scientific notation."""
    if value is None:
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-4 else f"{value:.1e}"


def _svg(parts: Sequence[str], height: float, title: str, *, above: float = 0) -> str:
    box = f"0 {-above:g} {WIDTH} {height + above:g}"
    return f'<svg class="plot" viewBox="{box}" role="img" aria-label="{escape(title)}">' + "".join(parts) + "</svg>"


def _grid(x: tuple[float, float], y: tuple[float, float], x_label: str, y_label: str, *, log: bool = False) -> Iterator[str]:
    yield from _x_axis(x, x_label, left=LEFT, height=HEIGHT, log=log)
    for tick in ticks(*y):
        at = _place(tick, *y, HEIGHT - BOTTOM, TOP)
        yield f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{number(tick)}</text>'
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(y_label)}</text>'


def _x_axis(x: tuple[float, float], label: str, *, left: float, height: float, log: bool = False) -> Iterator[str]:
    for tick in log_ticks(*x) if log else ticks(*x):
        at = _place(tick, *x, left, WIDTH - RIGHT)
        yield f'<line class="rule" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 10}" y2="{height - BOTTOM + 4:.1f}" opacity="0.5"/>'
        value = float(f"{10**tick:.6g}") if log else tick
        yield f'<text x="{at:.1f}" y="{height - BOTTOM + 18:.1f}" text-anchor="middle">{number(value)}</text>'
    yield f'<text x="{(left + WIDTH - RIGHT) / 2:.1f}" y="{height - 8:.1f}" text-anchor="middle">{escape(label)}</text>'


def _legend(series: Sequence[Series], *, points: bool = False) -> tuple[list[str], float]:
    """The names with their colours, in as many lines as they need, and how much room the lines take above the plot."""
    rows: list[list[tuple[float, Series]]] = [[]]
    x = float(LEFT)
    for one in series:
        width = 42 + 7 * _columns(one.name)
        if rows[-1] and x + width - 18 > WIDTH:
            rows.append([])
            x = float(LEFT)
        rows[-1].append((x, one))
        x += width
    above = LINE * (len(rows) - 1)
    return [_named(one, x, LINE * number + 12 - above, points) for number, row in enumerate(rows) for x, one in row], above


def _named(one: Series, x: float, y: float, points: bool) -> str:
    """A line of the legend's mark and name."""
    if points:
        mark = f'<circle cx="{x + 9}" cy="{y}" r="4" fill="{_colour(one.colour)}"/>'
    else:
        faint = 0.35 if one.faint else 1
        mark = f'<line x1="{x}" x2="{x + 18}" y1="{y}" y2="{y}" {_stroke(one.colour)} stroke-width="3" opacity="{faint}"/>'
    return f'{mark}<text class="legend" x="{x + 24}" y="{y + 4}">{escape(one.name)}</text>'


def _columns(text: str) -> int:
    """How many narrow letters wide the text is; a Han character is two."""
    return sum(2 if ord(letter) > 0x2E7F else 1 for letter in text)


def _stroke(colour: int) -> str:
    dash = DASHES[colour // len(LIGHT) % len(DASHES)]
    return f'stroke="{_colour(colour)}"' + (f' stroke-dasharray="{dash}"' if dash else "")


def _colour(colour: int) -> str:
    return f"var(--s{colour % len(LIGHT)})"


def _place(value: float, low: float, high: float, start: float, end: float) -> float:
    return start + (value - low) / (high - low) * (end - start)


def _extent(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = _extent(values)
    margin = (high - low) * 0.05
    return low - margin, high + margin
