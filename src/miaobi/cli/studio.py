"""`miaobi studio`: the pages to make, judge, find and train things with, in the browser; a server with the studio in it."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

from miaobi.cli.parser import Parser
from miaobi.cli.serve import PACKAGES, server_arguments, settings_of
from miaobi.core.errors import MissingExtra
from miaobi.core.language import language, tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """Those of the server, and whether a browser is opened."""
    server_arguments(parser)
    parser.add_argument("--no-browser", action="store_true", help=tr("print the address, and open no browser"))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    for package in ("gradio", *PACKAGES):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(tr("the studio"), "studio", package)
    from miaobi.serve.http import app, listen
    from miaobi.serve.pool import Pool

    settings = settings_of(arguments)
    listen.check(settings)
    output.news("one moment")
    from miaobi.studio.app import mount
    from miaobi.studio.room import Room

    served = app.build(settings, pool=Pool(settings))
    mount(served, Room(served.state.miaobi))
    with contextlib.suppress(KeyboardInterrupt):
        listen.run(served, settings, on_ready=lambda url: _ready(url, arguments, output))
    output.news("stopped")
    return 0


def _ready(url: str, arguments: argparse.Namespace, output: Output) -> None:
    """Say where, and go there."""
    address = f"{url}/studio/{language()}/"
    if output.json:
        output.result({"url": address}, "")
    else:
        output.news("the studio is at {url} (Ctrl-C stops it; what is in line goes on next time)", url=address)
    if not arguments.no_browser and not output.json:
        import webbrowser

        webbrowser.open(address)
