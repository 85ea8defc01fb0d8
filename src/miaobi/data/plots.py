"""Plots of the data card through matplotlib, where it is installed (extra `data`): lengths, what was dropped, values of small fields."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_CJK = "Noto Sans CJK SC,Noto Sans SC,Source Han Sans SC,Microsoft YaHei,PingFang SC,Hiragino Sans GB,WenQuanYi Micro Hei,SimHei"
_MOST_BARS = 12
_MOST_PLOTTED_FIELDS = 4


def write(folder: Path, card: Mapping[str, Any]) -> list[str]:
    """Write the plots into `folder`; their paths relative to its parent, or nothing without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return []
    from matplotlib import font_manager, rc_context

    known = {font.name for font in font_manager.fontManager.ttflist}
    chinese = [name for name in _CJK.split(",") if name in known]
    folder.mkdir(exist_ok=True)
    with (
        warnings.catch_warnings(action="ignore"),  # of every character that the font lacks
        rc_context({"font.sans-serif": [*chinese, "DejaVu Sans"], "figure.dpi": 110, "axes.spines.top": False, "axes.spines.right": False}),
    ):
        figures = {"lengths": _lengths(card["lengths"])} if card["lengths"]["histogram"] else {}
        if card["dropped"]:
            figures["dropped"] = _bars([(entry["reason"], entry["records"]) for entry in card["dropped"][:_MOST_BARS]], "dropped records")
        for key in _small_fields(card["meta"], plain_only=not chinese):
            figures[f"field-{key}"] = _bars(list(card["meta"][key]["most"].items())[:_MOST_BARS], key)
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png", metadata={"Software": None})  # the version would make the bytes differ
    return [f"{folder.name}/{name}.png" for name in figures]


def _small_fields(meta: Mapping[str, Any], *, plain_only: bool) -> list[str]:
    """Fields worth a plot: few values; without a Chinese font only those whose values it can show."""
    fields = [key for key, entry in meta.items() if 1 < entry["distinct"] <= 1000 and key.replace("_", "").isalnum()]
    return [key for key in fields if not plain_only or all(value.isascii() for value in meta[key]["most"])][:_MOST_PLOTTED_FIELDS]


def _lengths(lengths: Mapping[str, Any]) -> Any:
    """Records by length, in forty bins up to the 99th percentile or so."""
    from matplotlib.figure import Figure

    counts = {int(length): count for length, count in lengths["histogram"].items()}
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(
        list(counts), weights=list(counts.values()), bins=40, range=(0, max(1, 2 * lengths["quantiles"].get("95%", 1))), color="#b5483a"
    )
    axes.set_xlabel("characters")
    axes.set_ylabel("records")
    return figure


def _bars(items: Sequence[tuple[str, int]], title: str) -> Any:
    """Horizontal bars, the largest on top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 0.6 + 0.28 * len(items)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh([label.replace("$", r"\$") or "–" for label, _ in reversed(items)], [count for _, count in reversed(items)], color="#3a6ea5")
    axes.set_title(title)
    return figure
