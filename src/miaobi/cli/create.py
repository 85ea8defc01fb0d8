"""`miaobi create BRIEF`: a poem, pictures, music, a voice, a film and a page in one folder; run again, it makes only what changed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.cli.keeping import Keeping, keep_arguments
from miaobi.cli.options import add_options, given_options
from miaobi.cli.parser import Parser
from miaobi.cli.render import run_app
from miaobi.cli.targets import LONGEST
from miaobi.core.errors import UsageError
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output

RESUME: tuple[str, ...] = ()  # the same command goes on


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The brief, the folder, and one option for each field of the app's inputs."""
    from miaobi.core.apps import app

    parser.add_argument(
        "brief", metavar="BRIEF", nargs="?", default="", help=tr('what the work is about: "中秋月夜", "a rainy harbour at night"')
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help=tr("the work's folder (default: the brief's words); named again, it goes on")
    )
    keep_arguments(parser)
    parser.add_argument("--later", action="store_true", help=tr("only put it in line; a worker (miaobi jobs work) does it"))
    add_options(parser, app("create").schema(), tr("options of {model}", model="create"), skip=("brief",))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Create, keep, and say what to open."""
    from miaobi import api
    from miaobi.core.apps import app
    from miaobi.trust import label

    given = given_options(arguments, app("create").schema(), tr("options of {model}", model="create"))
    brief = arguments.brief.strip()
    if brief:
        given["brief"] = brief
    if arguments.later:
        return _later(arguments, given, output)
    with Keeping.at(arguments, output) as keeping:
        made = run_app("create", given, arguments.out or _folder(brief), output, made=keeping.add)
        if arguments.keep:
            keeping.ids = api.keep_work(made, library=arguments.library)  # the same, now with the title
    words = label.visible(label.visible_language(made["poem"]))
    where = tr("open: {path}", path=made["open"]) if made["open"] else tr("made in {path}", path=made["folder"])
    lines = [made["poem"], "", words, where]
    made.pop("contents")  # the files hold them
    output.result({**made, "kept": keeping.ids}, "\n".join(lines))
    output.news("made anew: {parts}; seed {seed}", parts=", ".join(made["made"]) or "–", seed=made["seed"])
    return 0


def _later(arguments: argparse.Namespace, given: dict[str, Any], output: Output) -> int:
    """Put the work in line. A seed is drawn now, unless the folder remembers one: whoever carries it out makes the same."""
    import secrets

    from miaobi.cli.jobs import follow_here

    out: Path = (arguments.out or _folder(given.get("brief", ""))).absolute()
    if not out.exists():
        _folder(given.get("brief", ""))  # raises when there is nothing to begin with
        given.setdefault("seed", secrets.randbits(31))
    spec = {"folder": str(Path.cwd()), "app": "create", "inputs": given, "out": str(out), "keep": arguments.keep}
    arguments.priority = 0
    return follow_here("app", spec, arguments, output, name=given.get("brief") or out.name)


def _folder(brief: str) -> Path:
    """`a-rainy-harbour-at-night`: a folder that is called like the brief."""
    words = "".join(letter if letter.isalnum() else " " for letter in brief).split()
    if not words:
        raise UsageError('the brief is empty: say what the work is about, such as "中秋月夜" or "a rainy harbour at night"')
    return Path("-".join(words)[:LONGEST].strip("-"))
