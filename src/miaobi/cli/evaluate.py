"""`miaobi evaluate RECIPE`: figures of a model on held-out data, kept in the model's folder and its card."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.cli.parser import Parser
from miaobi.cli.recipes import machine_arguments, recipe_arguments, recipe_of, seed_argument
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The recipe says which data and figures; `--model` measures another model on them."""
    recipe_arguments(parser)
    parser.add_argument("--model", metavar="MODEL", help=tr("measure this model (default: the one that the recipe trained)"))
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=tr("write eval.json and a report to look at, eval.html"))
    seed_argument(parser, tr("seed of the records and samples that are drawn"))
    machine_arguments(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Measure and print the figures."""
    from miaobi import api
    from miaobi.cli.terminal import table

    with output.progress() as tick:
        found = api.evaluate(
            recipe_of(arguments),
            model=arguments.model,
            out=arguments.out,
            device=arguments.device,
            threads=arguments.threads,
            seed=arguments.seed or 0,
            on_progress=tick,
        )
    output.result(found, table(rows(found["figures"])))
    if arguments.out:
        output.news("written: {path}", path=arguments.out / "eval.html")
    return 0


def rows(figures: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """One row a figure: name, value and, where it is known, the interval around it."""
    from miaobi.engine.report.evaluation import interval

    return [(name, f"{figure['value']:.4g}", interval(figure)) for name, figure in figures.items()]
