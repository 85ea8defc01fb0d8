"""`miaobi distill RECIPE`: a smaller model learns what a larger one says, and both are measured on held-out records."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from miaobi.cli import adapt, train
from miaobi.cli.parser import Parser
from miaobi.cli.recipes import recipe_of

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output

RESUME = ("--resume",)


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """Those of `train`."""
    train.arguments(parser, words)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Distill, with a bar of steps, and print the teacher's figures and the student's."""
    from miaobi import adapting, api

    recipe = recipe_of(arguments, seed="train.seed")
    with output.progress() as tick:
        done = adapting.distill(
            recipe,
            folder=arguments.run or api.run_folder(recipe),
            resume=arguments.resume,
            device=arguments.device,
            threads=arguments.threads,
            on_progress=tick,
            on_event=train.Teller(output, tick),
        )
    return adapt.show(done, recipe.name, output)
