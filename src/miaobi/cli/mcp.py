"""`miaobi mcp`: the verbs as tools for an agent, over the Model Context Protocol on standard input and output."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from miaobi.cli.jobs import library_argument
from miaobi.cli.parser import Parser, whole_number
from miaobi.core.errors import MissingExtra, UsageError
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The folder, the models, the library."""
    from miaobi.cli.recipes import machine_arguments

    text = tr("the only folder that the tools read from and write to (default: the working folder)")
    parser.add_argument("--folder", type=Path, default=Path(), metavar="FOLDER", help=text)
    text = tr("serve only this model (may be repeated; else every one that is here)")
    parser.add_argument("--model", action="append", default=[], metavar="NAME", help=text)
    parser.add_argument("--queue", type=whole_number(1, 100_000), default=64, metavar="N", help=tr("requests that may wait"))
    machine_arguments(parser)
    library_argument(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Serve until the agent is gone."""
    for package, extra in (("mcp", "mcp"), ("sqlalchemy", "library")):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra("miaobi mcp", extra, package)
    if not arguments.folder.is_dir():
        raise UsageError("there is no folder {path}", path=arguments.folder)
    import asyncio

    from miaobi.serve.mcp.server import serve
    from miaobi.serve.pool import Options, Pool

    options = Options(models=tuple(arguments.model), device=arguments.device, threads=arguments.threads or 0, queue=arguments.queue)
    asyncio.run(serve(Pool(options), arguments.folder, library=arguments.library))
    return 0
