"""`miaobi tune RECIPE --param KEY=RANGE`: trains a recipe with other values again and again, and keeps the best as a recipe."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.cli.parser import Parser, whole_number
from miaobi.cli.recipes import machine_arguments, recipe_arguments, recipe_of, seed_argument
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output

RESUME = ()  # the same command goes on


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The recipe, what varies, and how often."""
    recipe_arguments(parser)
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="KEY=RANGE",
        dest="parameters",
        help=tr("a key and its range: log(1e-4,1e-2), uniform(0,0.3), int(2,6), logint(8,64) or choice(adamw,muon) (may be repeated)"),
    )
    parser.add_argument("--trials", type=whole_number(1, 100_000), default=20, metavar="N", help=tr("attempts in all (default: 20)"))
    parser.add_argument("--no-prune", action="store_true", help=tr("train every attempt to its end"))
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=tr("the search's folder (default: runs/NAME-tune)"))
    seed_argument(parser, tr("seed of the search"))
    machine_arguments(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Search, telling of every attempt, and print the best."""
    from miaobi import adapting, api

    recipe = recipe_of(arguments)
    folder = arguments.out or api.RUNS / f"{recipe.name}-tune"
    with output.progress() as tick:

        def told(trial: Mapping[str, Any]) -> None:
            values = ", ".join(f"{key} {_short(value)}" for key, value in trial["values"].items())
            loss = "–" if trial["val_loss"] is None else f"{trial['val_loss']:.4f}"
            output.news(
                "attempt {number}, {state}: loss {loss}  {values}", number=trial["number"], state=trial["state"], loss=loss, values=values
            )
            tick("tuning", trial["number"] + 1, arguments.trials)

        report = adapting.tune(
            recipe,
            arguments.parameters,
            trials=arguments.trials,
            prune=not arguments.no_prune,
            seed=arguments.seed or 0,
            out=folder,
            device=arguments.device,
            threads=arguments.threads,
            on_progress=tick,
            on_trial=told,
        )
    best = report["best"]
    lines = [tr("no attempt came to its end")] if best is None else [f"{key}: {_short(value)}" for key, value in best["values"].items()]
    if best is not None:
        lines.insert(0, tr("the best of {count} attempts: validation loss {loss:.4f}", count=len(report["trials"]), loss=best["val_loss"]))
        lines.append(tr("the recipe: {path}; the report: {page}", path=folder / "best.yaml", page=folder / "tune.html"))
    output.result(report, "\n".join(lines))
    return 0


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
