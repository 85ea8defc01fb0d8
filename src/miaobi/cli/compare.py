"""`miaobi compare A B … --on RECIPE`: every model on the same held-out data, with tests of the differences and a report to look at."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from miaobi.cli.parser import Parser, whole_number
from miaobi.cli.recipes import seed_argument
from miaobi.core.errors import UsageError
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output

RESUME = ()  # recipes that were trained already are not trained again


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """What to compare, and on which data."""
    parser.add_argument("things", metavar="MODEL", nargs="+", help=tr("models by name or folder, or recipes, which are trained first"))
    parser.add_argument(
        "--on", metavar="RECIPE", type=Path, help=tr("the recipe with the data and the figures (default: the first recipe)")
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=Path("comparison"), help=tr("for compare.html and compare.json"))
    seed_argument(parser, tr("seed of the records and samples that are drawn"))
    parser.add_argument("--threads", type=whole_number(1, 1024), metavar="N", help=tr("how many cores to use (else the library decides)"))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Compare, and print one row a figure and one column a model."""
    from miaobi import api
    from miaobi.cli.terminal import table

    recipes = [Path(thing) for thing in arguments.things if thing.endswith((".yaml", ".yml"))]
    on = arguments.on or next(iter(recipes), None)
    if on is None:
        raise UsageError("say on which data: --on RECIPE")
    with output.progress() as tick:
        found = api.compare(arguments.things, on, out=arguments.out, threads=arguments.threads, seed=arguments.seed or 0, on_progress=tick)
    models = found["models"]
    names = dict.fromkeys(name for model in models for name in model["evaluation"]["figures"])
    rows: list[tuple[str, ...]] = [("", *(model["name"] for model in models))]
    for name in names:
        figures = [model["evaluation"]["figures"].get(name) for model in models]
        rows.append((name, *(f"{figure['value']:.4g}" if figure else "–" for figure in figures)))
    output.result(found, table(rows))
    output.news("written: {path}", path=arguments.out / "compare.html")
    return 0
