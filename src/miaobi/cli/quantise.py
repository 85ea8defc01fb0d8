"""`miaobi quantise MODEL`: a copy of a language model in four or eight bits a weight, with what that costs in bits per character."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from miaobi.cli.parser import Parser, whole_number
from miaobi.cli.recipes import seed_argument
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The model, how it is rounded, and what it is measured on."""
    parser.add_argument("model", metavar="MODEL", help=tr("a model's name, its folder or a run's folder"))
    parser.add_argument("--bits", type=int, choices=(4, 8), default=4, help=tr("bits of a weight (default: 4)"))
    parser.add_argument("--group", type=int, choices=(16, 32, 64), help=tr("weights that share a scale (default: 32 in four bits)"))
    parser.add_argument("--data", metavar="RECIPE|FILE", help=tr("held-out text to measure on (default: that of the model's recipe)"))
    parser.add_argument("--records", type=whole_number(1, 100_000), default=200, metavar="N", help=tr("how many records are measured"))
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=tr("the new model (default: artifacts/MODEL-int4)"))
    parser.add_argument("--keep-weights", action="store_true", help=tr("keep the unrounded weights as well"))
    seed_argument(parser, tr("which records are measured"))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Quantise, and print both forms' sizes and figures."""
    from miaobi import adapting
    from miaobi.cli.terminal import table

    with output.progress() as tick:
        report = adapting.quantise(
            arguments.model,
            bits=arguments.bits,
            group=arguments.group,
            data=arguments.data,
            records=arguments.records,
            out=arguments.out,
            weights=arguments.keep_weights,
            seed=arguments.seed or 0,
            on_progress=tick,
        )
    rows = [
        (form, f"{found['bytes']:,}", f"{found['bits_per_character']['value']:.4f}", tr("bits/character"))
        for form, found in report["forms"].items()
    ]
    gap = report["difference"]
    line = tr(
        "{gap:+.4f} bits/character ({low:+.4f} to {high:+.4f}); the graph is {times} times smaller",
        gap=gap["value"],
        low=gap["low"],
        high=gap["high"],
        times=report["smaller"],
    )
    output.result(report, f"{table(rows)}\n{line}")
    return 0
