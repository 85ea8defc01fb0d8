"""`miaobi batch FILE --model NAME --out FILE`: a file of requests answered by a job, which survives Ctrl-C, kill -9 and a power cut."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.cli.jobs import follow_here, library_argument
from miaobi.cli.parser import Parser, whole_number
from miaobi.cli.recipes import machine_arguments, seed_argument
from miaobi.core.errors import UsageError
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The requests, who answers them, and where the answers go."""
    from miaobi.library.queue import HIGHEST, LOWEST

    text = tr('requests, one a line: {"prompt": …} and, if wanted, id, seed, n, options')
    parser.add_argument("requests", metavar="FILE", type=Path, help=text)
    parser.add_argument("--model", required=True, metavar="NAME", help=tr("a model by name or folder"))
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help=tr("the answers, one a line, in the order of the requests"))
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help=tr("an option of every request (may be repeated)")
    )
    parser.add_argument("--keep", action="store_true", help=tr("keep what is made in the library"))
    parser.add_argument("--later", action="store_true", help=tr("only put it in line; a worker (miaobi jobs work) does it"))
    parser.add_argument("--priority", type=whole_number(LOWEST, HIGHEST), default=0, metavar="N", help=tr("the higher goes first"))
    library_argument(parser)
    seed_argument(parser, tr("seed of the first request; each further one takes the next"))
    machine_arguments(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Put the batch in line, and do it here unless it is for later."""
    from miaobi import api
    from miaobi.core.schema import validate
    from miaobi.serve.batch import spec_for

    options = dict(_option(text) for text in arguments.option)
    kind = api.family_of(arguments.model)
    validate(
        kind.schemas()[1], {name: value for name, value in options.items() if name != "n"}, tr("options of {model}", model=arguments.model)
    )
    spec = spec_for(arguments.requests, model=arguments.model, out=arguments.out, seed=arguments.seed, options=options, keep=arguments.keep)
    spec |= {"device": arguments.device, "threads": arguments.threads}
    return follow_here("batch", spec, arguments, output, name=arguments.requests.name)


def _option(text: str) -> tuple[str, Any]:
    """`form=七绝` as a name and a value of YAML."""
    import yaml

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError("--option takes key=value, not '{text}'", text=text)
    try:
        parsed: Mapping[str, Any] | Any = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UsageError("--option {text}: the value is not YAML", text=text) from None
    return name.replace("-", "_"), parsed
