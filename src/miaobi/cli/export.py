"""`miaobi export MODEL`: writes the graphs that the light runtime reads, each checked against torch before it is accepted."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from miaobi.cli.parser import Parser
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output

FORMATS = ("fp32", "int8")


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The model and the formats."""
    parser.add_argument("model", metavar="MODEL", help=tr("a model's name, its folder or a run's folder"))
    parser.add_argument("--format", action="append", choices=FORMATS, dest="formats", help=tr("fp32 or int8 (default: both)"))
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=tr("a new folder for the model with its graphs (default: its own)"))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Export, and print the largest error of every graph."""
    from miaobi import api
    from miaobi.cli.terminal import table
    from miaobi.core.shelf import find

    output.news("exporting {model}", model=arguments.model)
    errors = api.export(arguments.model, formats=arguments.formats or FORMATS, out=arguments.out)
    rows = [(name, f"{key} {value:.3g}") for name, found in errors.items() for key, value in found.items()]
    output.result({"errors": errors, "folder": arguments.out or find(arguments.model)}, table(rows))
    return 0
