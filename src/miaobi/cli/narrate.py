"""`miaobi narrate FILE`: a text of any length read aloud, with the time that is left; its label is in the sound."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from miaobi.cli.keeping import Keeping, keep_arguments
from miaobi.cli.options import add_options, given_options
from miaobi.cli.parser import Parser
from miaobi.cli.render import run_app
from miaobi.core.errors import UsageError
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output

RESUME: tuple[str, ...] = ()  # the same command goes on


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The text, where to, and the options of the app."""
    from miaobi.core.apps import app

    parser.add_argument("file", metavar="FILE", type=Path, help=tr("the text, a .txt, .md or .html file"))
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=tr("the sound: .wav .mp3 .flac .ogg .m4a (default: the text's name with .wav)")
    )
    keep_arguments(parser)
    add_options(parser, app("narrate").schema(), tr("options of {model}", model="narrate"), skip=("file",))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Read, and print the paths of what was written."""
    from miaobi.core.apps import app

    file: Path = arguments.file
    options = given_options(arguments, app("narrate").schema(), tr("options of {model}", model="narrate"), known={"file": str(file)})
    out = arguments.out or Path(file.stem + ".wav")
    if out.resolve() == file.resolve():
        raise UsageError("{path} would be written over itself; choose another name", path=file)
    with Keeping.at(arguments, output) as keeping:
        made = run_app("narrate", {**options, "file": str(file)}, out, output)
        keeping.add_file(out, origin="narrate")
    output.result(made, "\n".join([made["out"], *made["subtitles"]]))
    output.news(
        "{seconds:.1f} s in {passages} passages and {chapters} chapters",
        seconds=made["seconds"],
        passages=made["passages"],
        chapters=len(made["chapters"]),
    )
    return 0
