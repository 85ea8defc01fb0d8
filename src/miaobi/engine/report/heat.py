"""A small SVG of where a model looked: a row for each token that it wrote, a column for each that it read, darker for more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from miaobi.core.language import tr
from miaobi.engine.report.plot import standalone

CELL, MARGIN = 15, 6
LETTER = 7.5  # about how wide a Latin letter is; a Han character is twice as wide
LEAST = 0.02  # weights below it are not drawn: they are most of them


def heat(rows: Sequence[str], columns: Sequence[str], weights: Sequence[Sequence[float]], *, title: str) -> str:
    """The drawing of weights (rows, columns), each row summing to 1."""
    left, top = (MARGIN + max(map(_width, tokens), default=0) for tokens in (rows, columns))
    width, height = left + CELL * len(columns) + MARGIN, top + CELL * len(rows) + MARGIN
    parts = [f'<rect x="{left}" y="{top}" width="{CELL * len(columns)}" height="{CELL * len(rows)}" fill="none" stroke="var(--rule)"/>']
    upright = all(len(_shown(token)) == 1 for token in columns)  # Chinese lying on its side is hard to read
    for place, token in enumerate(columns):
        x = left + CELL * place + CELL * (0.5 if upright else 0.72)
        turn = 'text-anchor="middle"' if upright else f'transform="rotate(-90 {x:.1f} {top - 4})"'
        parts.append(f'<text x="{x:.1f}" y="{top - 4}" {turn}>{escape(_shown(token))}</text>')
    for row, token in enumerate(rows):
        y = top + CELL * row
        parts.append(f'<text x="{left - 4}" y="{y + CELL * 0.75:.1f}" text-anchor="end">{escape(_shown(token))}</text>')
        parts += [
            f'<rect x="{left + CELL * column}" y="{y}" width="{CELL}" height="{CELL}" fill="var(--s0)" fill-opacity="{weight:.2f}">'
            f"<title>{escape(_shown(token))} ← {escape(_shown(columns[column]))}: {weight:.2f}</title></rect>"
            for column, weight in enumerate(weights[row])
            if weight >= LEAST
        ]
    label = escape(title)
    return (
        f'<svg class="heat" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" aria-label="{label}" '
        f'font-size="11" fill="var(--ink)" style="max-width:100%;height:auto"><title>{label}</title>{"".join(parts)}</svg>'
    )


def attention_figures(found: Mapping[str, Any]) -> str:
    """One drawing a layer of what `engine.attention.Attention.to_dict` gives."""
    layers = found["layers"]
    names = [tr("layer {number} of {count}", number=number, count=len(layers)) for number in range(1, len(layers) + 1)]
    drawn = [f"<div>{heat(found['target'], found['source'], weights, title=name)}</div>" for name, weights in zip(names, layers)]
    return f'<div class="plots">{"".join(drawn)}</div>' if drawn else ""


def attention_file(found: Mapping[str, Any], layer: int = -1) -> str:
    """An SVG file of one layer, by default the last."""
    count = len(found["layers"])
    name = tr("layer {number} of {count}", number=layer % count + 1, count=count)
    return standalone(heat(found["target"], found["source"], found["layers"][layer], title=name)) + "\n"


def _shown(token: str) -> str:
    """A token with its white space to be seen."""
    return token.replace(" ", "·").replace("\n", "↵")


def _width(token: str) -> float:
    return sum(LETTER * (2 if ord(letter) > 0x2E80 else 1) for letter in token) + MARGIN
