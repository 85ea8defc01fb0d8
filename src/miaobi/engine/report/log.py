"""A training's `log.jsonl` as series, and its loss plot."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from miaobi.core.artifact import write_text
from miaobi.core.errors import DataError
from miaobi.core.language import tr
from miaobi.engine.report.plot import Series, lines, standalone


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Every number of a training's log, by name, with the steps at which it was logged."""

    values: Mapping[str, tuple[list[float], list[float]]]  # name -> (steps, values)
    steps: int
    seconds: float

    def series(self, name: str, *, colour: int = 0, label: str = "", by_seconds: bool = False) -> Series:
        """One curve over the steps, or over the seconds of training; empty when the log does not have it."""
        steps, values = self.values.get(name, ([], []))
        xs = [self._seconds_at(step) for step in steps] if by_seconds else steps
        return Series(name=label or name, xs=xs, ys=values, colour=colour)

    def typical(self, name: str) -> float | None:
        """The median of a logged number, such as `units_per_second`."""
        values = self.values.get(name, ([], []))[1]
        return median(values) if values else None

    def last(self, name: str) -> float | None:
        """The last value of a logged number."""
        values = self.values.get(name, ([], []))[1]
        return values[-1] if values else None

    def _seconds_at(self, step: float) -> float:
        return step / self.steps * self.seconds if self.steps else 0.0


def read_log(path: Path) -> Log:
    """The log at `path`; a last line that was cut off by a crash is left out.

    Raises:
        DataError: no such file, or a damaged line before the last.
    """
    try:
        rows = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError("there is no training log at {path}", path=path) from None
    values: dict[str, tuple[list[float], list[float]]] = {}
    for number, row in enumerate(rows, 1):
        try:
            entry: dict[str, Any] = json.loads(row)
        except ValueError:
            if number == len(rows):
                break
            raise DataError("{path}: line {line} is damaged", path=path, line=number) from None
        _add(values, entry)
    steps = max((int(steps[-1]) for steps, _ in values.values()), default=0)
    seconds = values.get("seconds", ([], [0.0]))[1][-1]
    return Log(values=values, steps=steps, seconds=seconds)


def loss_plot(log: Path, out: Path) -> Path | None:
    """Draw training and validation loss over the steps into an SVG file, `out`. None, and no file, for what learns without steps.

    Raises:
        DataError: the log is missing or damaged.
    """
    assert out.suffix == ".svg", "the plot is SVG"
    found = read_log(log)
    phases = [name for name in found.values if name.endswith("/loss")]  # a family that learns in several phases has a loss in each
    training = [found.series(name, colour=number, label=name.removesuffix("/loss")) for number, name in enumerate(phases)]
    training = training or [found.series("loss", label=tr("training loss"))]
    validation = found.series("val_loss", colour=4, label=tr("validation loss"))
    drawing = lines([*training, validation], x_label=tr("step"), y_label=tr("loss (nats)"))
    if not drawing:
        return None
    write_text(out, standalone(drawing) + "\n")
    return out


def _add(values: dict[str, tuple[list[float], list[float]]], entry: Mapping[str, Any]) -> None:
    step = float(entry.get("step", 0))
    for name, value in entry.items():
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            steps, logged = values.setdefault(name, ([], []))
            steps.append(step)
            logged.append(float(value))
