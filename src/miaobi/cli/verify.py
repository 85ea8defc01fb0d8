"""`miaobi verify THING …`: is the label of a file whole and does it fit its content; are the files of a model those that were sealed."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from miaobi.cli.parser import Parser
from miaobi.core.errors import MiaobiError
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """What to check."""
    parser.add_argument("things", nargs="+", metavar="THING", help=tr("a labelled file, or a model (may be several)"))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exit code 0 when everything holds, 1 when something does not. Of several things, each that cannot be read is told, too."""
    if len(arguments.things) == 1:
        value, text = _checked(arguments.things[0])
        output.result(value, text)
        return 0 if value["good"] else 1
    found: list[dict[str, Any]] = []
    lines = []
    for thing in arguments.things:
        try:
            value, text = _checked(thing)
        except MiaobiError as error:
            value, text = {"good": False, "problems": [str(error)]}, str(error)
        found.append({"thing": thing, **value})
        lines.append(text)
    good = sum(value["good"] for value in found)
    lines.append(tr("{good} of {count} are good.", good=good, count=len(found)))
    output.result({"good": good == len(found), "things": found}, "\n".join(lines))
    return 0 if good == len(found) else 1


def _checked(thing: str) -> tuple[dict[str, Any], str]:
    """What is known of one thing, in values and in words."""
    from miaobi import api
    from miaobi.core.artifact import Artifact
    from miaobi.trust import label

    found = api.verify(thing)
    if isinstance(found, Artifact):
        text = tr("{folder}: every file is as it was sealed (SHA-256 {source}).", folder=found.folder, source=found.sha256)
        return {"kind": "model", "good": True, "folder": found.folder, "source": found.sha256, "files": len(found.files)}, text
    value: dict[str, Any] = {
        "kind": "content",
        "good": found.good,
        "labelled": found.labelled,
        "intact": found.intact,
        "problems": found.problems,
    }
    value |= {"replayable": found.replayable, "visible": found.visible, "aigc": found.implicit}
    if found.watermark is not None:
        value["watermark"] = {"found": found.watermark.found, "payload": found.watermark.describe(), "p_value": found.watermark.p_value}
    if found.signature is not None:
        value["signature"] = dataclasses.asdict(found.signature)
    value["label"] = label.to_dict(found.label) if found.label else None
    return value, str(found)
