"""The page of a search for settings: how the best got better, what each value did, and every attempt's curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import accumulate
from typing import Any

from miaobi.core.language import tr
from miaobi.engine.report import plot
from miaobi.engine.report.page import page, section, table

DONE, PRUNED = 0, 1  # colours


def tuning_page(report: Mapping[str, Any]) -> str:
    """The whole document."""
    trials = [trial for trial in report["trials"] if trial["val_loss"] is not None]
    best = report["best"]
    lead = (
        tr("the best of {count} attempts: validation loss {loss:.4f}", count=len(report["trials"]), loss=best["val_loss"]) if best else ""
    )
    values = _values(best["values"]) if best else ""
    return page(
        tr("Search for settings: {name}", name=report["recipe"]),
        [
            section(tr("The best values"), values),
            section(tr("How the search went"), f'<div class="plots">{_progress(trials)}{_curves(trials)}</div>'),
            section(
                tr("What each value did"),
                f'<div class="plots">{"".join(_effect(trials, key, **one) for key, one in report["parameters"].items())}</div>',
            ),
            section(tr("Importance"), _importance(report), note=tr("the share of the loss's variance that each key explains")),
            section(tr("All attempts"), _attempts(report)),
        ],
        lead=lead,
    )


def _values(values: Mapping[str, Any]) -> str:
    return table([tr("key"), tr("value")], [[escape(key), escape(_short(value))] for key, value in values.items()], text_columns=(1,))


def _progress(trials: list[Mapping[str, Any]]) -> str:
    """The loss of each attempt, and the best so far."""
    done = [trial for trial in trials if trial["state"] == "complete"]
    if not done:
        return ""
    numbers, losses = [trial["number"] for trial in done], [trial["val_loss"] for trial in done]
    best = plot.Series(name=tr("best so far"), xs=numbers, ys=list(accumulate(losses, min)), colour=DONE)
    own = plot.Series(name=tr("each attempt"), xs=numbers, ys=losses, colour=DONE, faint=True)
    return plot.lines([best, own], x_label=tr("attempt"), y_label=tr("validation loss"))


def _curves(trials: list[Mapping[str, Any]]) -> str:
    """The validation loss over the steps, of the eight best attempts."""
    chosen = sorted((trial for trial in trials if len(trial["curve"]) > 1), key=lambda trial: trial["val_loss"])[:8]
    series = [
        plot.Series(name=str(trial["number"]), xs=[x for x, _ in trial["curve"]], ys=[y for _, y in trial["curve"]], colour=colour)
        for colour, trial in enumerate(chosen)
    ]
    return plot.lines(series, x_label=tr("step"), y_label=tr("validation loss"))


def _effect(trials: list[Mapping[str, Any]], key: str, *, kind: str, values: Sequence[Any]) -> str:
    """Every attempt as a dot: its value and its loss; of a choice, the mean of each value."""
    seen = [(trial["values"][key], trial["val_loss"], trial["state"]) for trial in trials if key in trial["values"]]
    if kind == "choice":
        groups: dict[str, list[float]] = {_short(value): [] for value in values}  # in the order in which they were given
        for value, loss, _ in seen:
            groups.setdefault(_short(value), []).append(loss)
        rows = [
            plot.Interval(name=name, value=sum(losses) / len(losses), low=min(losses), high=max(losses))
            for name, losses in groups.items()
            if losses
        ]
        return plot.intervals(rows, x_label=f"{key}: {tr('validation loss')}")
    dots = [
        plot.Series(
            name=tr(name),
            xs=[value for value, _, own in seen if (own == "complete") == whole],
            ys=[loss for _, loss, own in seen if (own == "complete") == whole],
            colour=colour,
        )
        for name, whole, colour in (("ran to its end", True, DONE), ("ended early", False, PRUNED))
    ]
    return plot.dots(dots, x_label=key, y_label=tr("validation loss"), log=kind.startswith("log"))


def _importance(report: Mapping[str, Any]) -> str:
    rows = [[escape(key), f"{value:.0%}"] for key, value in report["importance"].items()]
    return table([tr("key"), tr("importance")], rows) if rows else ""


def _attempts(report: Mapping[str, Any]) -> str:
    keys = list(report["parameters"])
    best = report["best"]["number"] if report["best"] else None
    rows = [
        [
            ("!" if trial["number"] == best else "") + str(trial["number"]),
            escape(tr(STATES[trial["state"]])),
            plot.number(trial["val_loss"]),
            *(escape(_short(trial["values"].get(key, ""))) for key in keys),
            plot.number(trial["seconds"]),
        ]
        for trial in report["trials"]
    ]
    return f'<div class="wide">{table(["", tr("state"), tr("validation loss"), *keys, tr("seconds")], rows, text_columns=(1,))}</div>'


STATES = {"complete": "ran to its end", "pruned": "ended early", "fail": "failed"}


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
