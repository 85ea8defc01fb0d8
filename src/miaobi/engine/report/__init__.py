"""Reports that a person opens: self-contained HTML with our own SVG plots, readable in light and dark, without scripts or downloads."""

from __future__ import annotations

from miaobi.engine.report.evaluation import evaluation_page
from miaobi.engine.report.log import Log, loss_plot, read_log
from miaobi.engine.report.page import page, table
from miaobi.engine.report.plot import Interval, Series, intervals, lines, standalone

__all__ = [
    "Interval",
    "Log",
    "Series",
    "evaluation_page",
    "intervals",
    "lines",
    "loss_plot",
    "page",
    "read_log",
    "standalone",
    "table",
]
