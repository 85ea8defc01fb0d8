"""`miaobi evaluate RECIPE`: figures of a model on held-out data, kept in its folder and card; or of a folder of pictures."""

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
    """The recipe says which data and figures; `--model` measures another model on them. In its place may stand a folder of pictures."""
    recipe_arguments(parser)
    parser.add_argument("--model", metavar="MODEL", help=tr("measure this model (default: the one that the recipe trained)"))
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="FOLDER|RECIPE",
        help=tr("real pictures to compare with (default: the recipe's held-out ones; a folder of pictures in the recipe's place needs it)"),
    )
    parser.add_argument("--against", metavar="MODEL|FOLDER", help=tr("measure this too, and test which of the two is better"))
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=tr("write eval.json and a report to look at, eval.html"))
    seed_argument(parser, tr("seed of the records and samples that are drawn"))
    machine_arguments(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Measure and print the figures."""
    from miaobi import api
    from miaobi.cli.terminal import table
    from miaobi.engine.bench import is_folder_of_pictures

    with output.progress() as tick:
        found = api.evaluate(
            arguments.recipe if is_folder_of_pictures(arguments.recipe) else recipe_of(arguments),
            model=arguments.model,
            reference=arguments.reference,
            against=arguments.against,
            out=arguments.out,
            device=arguments.device,
            threads=arguments.threads,
            seed=arguments.seed or 0,
            on_progress=tick,
        )
    output.result(found, "\n".join([table(rows(found["figures"])), *left_out(found["skipped"]), *_verdict(found, arguments.against)]))
    if arguments.out:
        output.news("written: {path}", path=arguments.out / "eval.html")
    return 0


def left_out(skipped: Mapping[str, str]) -> list[str]:
    """What could not be measured, a line for each reason."""
    names: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        names.setdefault(reason, []).append(name)
    return [tr("not measured: {names} ({reason})", names=", ".join(same), reason=reason) for reason, same in names.items()]


def _verdict(found: Mapping[str, Any], rival: str | None) -> list[str]:
    """What the comparison says, in words, when one was asked for: which is better, on what, and how that was tested."""
    from miaobi.engine.report.evaluation import places, verdicts

    return ["", *verdicts(found), *places(found), *_tested(found)] if rival else []


def _tested(found: Mapping[str, Any]) -> list[str]:
    """A line for each test that was used, with the figures that it was used on and their p-values."""
    used: dict[str, list[str]] = {}
    for entry in found["baselines"].values():
        for name, gap in entry["differences"].items():
            used.setdefault(gap["test"], []).append(f"{name} p = {gap['p_value']:.2g}")
    return [tr("Tested by {test}: {figures}.", test=tr(test), figures=", ".join(names)) for test, names in used.items()]


def rows(figures: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """One row a figure: name, value and, where it is known, the interval around it."""
    from miaobi.engine.report.evaluation import interval

    return [(name, f"{figure['value']:.4g}", interval(figure)) for name, figure in figures.items()]
