"""The arguments that every verb with a recipe shares, and the recipe that they make."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from miaobi.cli.parser import Parser
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.core.recipe import Recipe


def recipe_arguments(parser: Parser, *, optional: bool = False) -> None:
    """RECIPE, `--preset` and `--set`."""
    parser.add_argument("recipe", metavar="RECIPE", nargs="?" if optional else None, type=Path, help=tr("the recipe, a YAML file"))
    parser.add_argument("--preset", default="", metavar="NAME", help=tr("apply these named changes of the recipe"))
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help=tr("change one value of the recipe, such as train.steps=100 (may be repeated)"),
    )


def seed_argument(parser: Parser, text: str) -> None:
    """`--seed`; `text` says what it decides."""
    from miaobi.cli.parser import whole_number

    parser.add_argument("--seed", type=whole_number(0, 2**63 - 1), metavar="N", help=text)


def given_arguments(parser: Parser, names: Iterable[str], texts: Mapping[str, str]) -> None:
    """`--image`, `--mask` and other pictures that are given to a model; `texts` say what each is for."""
    for name in sorted(names):
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, metavar="FILE", type=Path, action="append", help=tr(texts.get(name, "a picture that the model takes")))


def runtime_argument(parser: Parser) -> None:
    """`--runtime`."""
    parser.add_argument("--runtime", choices=("auto", "onnx", "torch"), default="auto", help=tr("what computes (default: auto)"))


def machine_arguments(parser: Parser) -> None:
    """`--device` and `--threads`."""
    from miaobi.cli.parser import whole_number

    parser.add_argument("--device", default="cpu", metavar="NAME", help=tr("where to compute: cpu, cuda or cuda:N"))
    parser.add_argument("--threads", type=whole_number(1, 1024), metavar="N", help=tr("how many cores to use (else the library decides)"))


def recipe_of(arguments: argparse.Namespace, *, seed: str = "") -> Recipe:
    """The recipe that the arguments name, with their changes; `seed` is the recipe's key that `--seed` sets."""
    from miaobi.core.recipe import Recipe

    overrides = list(arguments.overrides)
    if seed and arguments.seed is not None:
        overrides.append(f"{seed}={arguments.seed}")
    return Recipe.load(arguments.recipe, preset=arguments.preset, overrides=overrides)
