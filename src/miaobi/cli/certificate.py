"""`miaobi certificate`: with what files are signed (C2PA), and `miaobi certificate --new NAME` to make one's own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from miaobi.cli.parser import Parser
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """Show, or make."""
    parser.add_argument("--new", metavar="NAME", help=tr("make a certificate in the name of a studio or person"))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exit code 0 when files are signed here, 1 when they are not."""
    from miaobi.trust import signature

    if arguments.new is not None:
        signature.new_certificate(arguments.new)
    signs, folder = signature.signs(), signature.folder()
    if signs:
        text = tr("pictures, sounds and films are signed as {name}; the certificate is in {folder}", name=signature.name(), folder=folder)
    else:
        text = tr("nothing is signed: there is no certificate in {folder}. Make one with: miaobi certificate --new NAME", folder=folder)
    output.result({"signs": signs, "folder": folder, "name": signature.name() if signs else ""}, text)
    return 0 if signs else 1
