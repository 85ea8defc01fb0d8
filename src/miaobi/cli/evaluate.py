"""`miaobi evaluate RECIPE`: figures of a model on held-out data, kept as `eval.json` in the model's folder."""

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
    parser.add_argument("--runtime", choices=("auto", "onnx", "torch"), default="auto", help=tr("what computes (default: auto)"))
    parser.add_argument("--out", type=Path, metavar="FILE", help=tr("write the figures here (default: eval.json in the model's folder)"))
    seed_argument(parser, tr("seed of the records and samples that are drawn"))
    machine_arguments(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Measure, print the figures, keep them."""
    import json

    from miaobi import api
    from miaobi.cli.terminal import table
    from miaobi.core.artifact import write_text

    recipe = recipe_of(arguments)
    with output.progress() as tick:
        found = api.evaluate(
            recipe,
            model=arguments.model,
            runtime=arguments.runtime,
            device=arguments.device,
            threads=arguments.threads,
            seed=arguments.seed or 0,
            on_progress=tick,
        )
    if arguments.out:
        write_text(arguments.out, json.dumps(found, ensure_ascii=False, indent=2) + "\n")
        written = arguments.out
    else:
        written = api.keep_evaluation(arguments.model or api.trained(recipe), found)
    output.result(found, table(rows(found)))
    output.news("written: {path}", path=written)
    return 0


def rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row a figure: name, value and, where it is known, the interval around it."""
    lines: list[tuple[str, ...]] = []
    for name, figure in found["figures"].items():
        interval = [figure.get("low"), figure.get("high")]
        between = f"{interval[0]:.4g} – {interval[1]:.4g}" if None not in interval else ""
        lines.append((name, f"{figure['value']:.4g}", between))
    return lines
