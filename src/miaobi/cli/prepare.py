"""`miaobi prepare RECIPE`: the data section of a recipe as a dataset on disk; killed at any moment, it goes on where it was."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from miaobi.cli.parser import Parser, whole_number
from miaobi.cli.recipes import recipe_arguments, recipe_of
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output

RESUME = ()  # the same command again goes on


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The recipe, where to, and how many workers."""
    recipe_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=tr("the dataset's folder (default: datasets/NAME-HASH)"))
    parser.add_argument("--workers", type=whole_number(1, 1024), metavar="N", help=tr("processes (default: one for each core)"))
    parser.add_argument("--fresh", action="store_true", help=tr("start over instead of going on with a half-finished dataset"))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Prepare, and say what came of it."""
    from miaobi import api
    from miaobi.cli.show import as_text

    recipe = recipe_of(arguments)
    with output.progress() as tick:
        api.prepare(recipe, folder=arguments.out, workers=arguments.workers, resume=not arguments.fresh, on_progress=tick)
    shown = api.show(arguments.out or api.dataset_folder(recipe))
    output.result(shown, as_text(shown))
    return 0
