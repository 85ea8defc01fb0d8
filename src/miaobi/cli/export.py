"""`miaobi export MODEL`: writes the graphs that the light runtime reads, or other formats, each read back and compared."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from miaobi.cli.parser import Parser
from miaobi.core.errors import UsageError
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output

FORMATS = ("fp32", "int8")
OTHERS = ("hf", "gguf", "gguf-f32", "gguf-q8_0", "gguf-q4_0", "gguf-q4_1")


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The model and the formats."""
    parser.add_argument("model", metavar="MODEL", help=tr("a model's name, its folder or a run's folder"))
    parser.add_argument(
        "--format",
        action="append",
        choices=(*FORMATS, *OTHERS),
        dest="formats",
        help=tr("graphs: fp32 or int8 (default: both); for others: hf, a folder for transformers, or gguf, a file for llama.cpp"),
    )
    parser.add_argument("--out", type=Path, metavar="PATH", help=tr("a new folder or file (default, of graphs: the model's own folder)"))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Export, and print the largest error of every graph."""
    from miaobi import api
    from miaobi.cli.terminal import table
    from miaobi.core.shelf import find

    output.news("exporting {model}", model=arguments.model)
    if set(arguments.formats or ()) & set(OTHERS):
        return _convert(arguments, output)
    errors = api.export(arguments.model, formats=arguments.formats or FORMATS, out=arguments.out)
    rows = [(name, f"{key} {value:.3g}") for name, found in errors.items() for key, value in found.items()]
    output.result({"errors": errors, "folder": arguments.out or find(arguments.model)}, table(rows))
    return 0


def _convert(arguments: argparse.Namespace, output: Output) -> int:
    """One format of others, into a place of its own."""
    from miaobi import adapting
    from miaobi.cli.terminal import table

    if len(arguments.formats) > 1 or arguments.out is None:
        raise UsageError("give one of the formats {known} at a time, and say where to with --out", known=", ".join(OTHERS))
    found = adapting.convert(arguments.model, arguments.out, form=arguments.formats[0])
    output.result(
        {"errors": {arguments.formats[0]: found}, "path": arguments.out}, table([(key, f"{value:.3g}") for key, value in found.items()])
    )
    return 0
