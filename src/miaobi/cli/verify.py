"""`miaobi verify THING`: is the label of a file whole and does it fit its content; are the files of a model those that were sealed."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from miaobi.cli.parser import Parser
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """What to check."""
    parser.add_argument("thing", metavar="THING", help=tr("a labelled file, or a model"))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exit code 0 when everything holds, 1 when something does not."""
    from miaobi import api
    from miaobi.core.artifact import Artifact
    from miaobi.trust import label

    found = api.verify(arguments.thing)
    if isinstance(found, Artifact):
        text = tr("{folder}: every file is as it was sealed (SHA-256 {source}).", folder=found.folder, source=found.sha256)
        output.result({"kind": "model", "good": True, "folder": found.folder, "source": found.sha256, "files": len(found.files)}, text)
        return 0
    value = {"kind": "content", "good": found.good, "labelled": found.labelled, "intact": found.intact, "problems": found.problems}
    value |= {"replayable": found.replayable, "visible": found.visible, "aigc": found.implicit}
    if found.watermark is not None:
        value["watermark"] = {"found": found.watermark.found, "payload": found.watermark.describe(), "p_value": found.watermark.p_value}
    if found.signature is not None:
        value["signature"] = dataclasses.asdict(found.signature)
    value["label"] = label.to_dict(found.label) if found.label else None
    output.result(value, str(found))
    return 0 if found.good else 1
