"""`miaobi render TIMELINE`: a timeline in YAML as a film, with the time that is left; its label is in the file."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.cli.keeping import Keeping, keep_arguments
from miaobi.cli.parser import Parser
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output
    from miaobi.core.types import Content

RESUME: tuple[str, ...] = ()  # the same command goes on


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The timeline, where to, and whether a quick look will do."""
    parser.add_argument("timeline", metavar="TIMELINE", type=Path, help=tr("the timeline, a YAML file"))
    parser.add_argument("--out", type=Path, metavar="FILE", help=tr("the film, .mp4 or .webm (default: the timeline's name with .mp4)"))
    keep_arguments(parser)
    parser.add_argument("--draft", action="store_true", help=tr("half the size and 12 frames a second: a quick look"))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Render, and print the paths of what was written."""
    inputs = {"timeline": str(arguments.timeline), "draft": arguments.draft}
    out = arguments.out or Path(arguments.timeline.stem + ".mp4")
    with Keeping.at(arguments, output) as keeping:
        made = run_app("film", inputs, out, output)
        keeping.add_file(out, origin="film")
    output.result(made, "\n".join([made["film"], *made["subtitles"]]))
    output.news("{seconds:.1f} s, {frames} frames of {width} by {height}", seconds=made["seconds"], frames=made["frames"],
                width=made["size"][0], height=made["size"][1])  # fmt: skip
    return 0


def run_app(
    name: str, inputs: dict[str, Any], out: Path, output: Output, *, made: Callable[[Content], object] | None = None
) -> dict[str, Any]:
    """What an app says of what it made, its progress drawn as bars; each model is loaded once."""
    from miaobi import api

    with output.progress() as tick:
        return api.run_app(name, inputs, out, tick=tick, news=output.news, made=made)
