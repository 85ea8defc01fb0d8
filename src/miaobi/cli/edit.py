"""`miaobi edit HOW FILE`: a film or sound that exists, cut, shortened, dubbed, subtitled or described."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.cli.keeping import Keeping, keep_arguments
from miaobi.cli.options import add_options, given_options
from miaobi.cli.parser import Parser
from miaobi.cli.render import run_app
from miaobi.core.errors import UsageError, unknown
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output

WAYS = ("cuts", "trim", "highlight", "dub", "subtitle", "describe")
_ENDINGS = {"cuts": ".json", "describe": ".json"}  # the others keep the file's own


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """How, what, where to, and the options of that way."""
    from miaobi.core.apps import app

    way = next((word for word in words if not word.startswith("-")), "")
    parser.add_argument("way", metavar="HOW", type=_way, help=tr("one of: {known}", known=", ".join(WAYS)))
    parser.add_argument("file", metavar="FILE", type=Path, help=tr("the film or sound"))
    parser.add_argument("--out", type=Path, metavar="FILE", help=tr("where to (default: beside the file, with HOW in its name)"))
    keep_arguments(parser)
    if way in WAYS:
        add_options(parser, app(way).schema(), tr("options of {model}", model=f"edit {way}"), skip=("file",))
    else:
        parser.epilog = "\n".join(f"  {name:<9}  {tr(app(name).summary)}" for name in WAYS)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Edit, and say what came of it."""
    from miaobi.core.apps import app

    way, file = arguments.way, arguments.file
    out = arguments.out or file.with_name(f"{file.stem}.{way}{_ENDINGS.get(way, file.suffix)}")
    if out.resolve() == file.resolve():
        raise UsageError("{path} would be written over itself; choose another name", path=file)
    options = given_options(arguments, app(way).schema(), tr("options of {model}", model=f"edit {way}"), known={"file": str(file)})
    with Keeping.at(arguments, output) as keeping:
        made = run_app(way, {**options, "file": str(file)}, out, output)
        keeping.add_file(out, origin=way)
    output.result(made, _text(way, made))
    return 0


def _way(text: str) -> str:
    if text not in WAYS:
        raise unknown("way of editing", text, WAYS)
    return text


def _text(way: str, made: Mapping[str, Any]) -> str:
    """What a person reads: the table of shots, or the paths of what was written."""
    from miaobi.cli.terminal import table

    if "shots" in made:
        rows = [(_clock(row["start"]), _clock(row["end"]), str(row.get("caption", ""))) for row in made["shots"]]
        return f"{table(rows)}\n{made['out']}"
    return "\n".join(dict.fromkeys([made["out"], *made.get("subtitles", ())]))


def _clock(seconds: float) -> str:
    """`0:01:02.345`."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes) // 60}:{int(minutes) % 60:02}:{rest:06.3f}"
