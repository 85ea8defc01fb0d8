"""`miaobi replay FILE`: makes the content of a labelled file again, from its label, and compares the two.

A text is compared byte for byte, a picture pixel for pixel as its model made it: a lossy file's label holds the hash of what it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from miaobi.cli.parser import Parser
from miaobi.cli.recipes import given_arguments, machine_arguments
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output


GIVEN = {
    "image": "the very picture that was given, when there was one (repeated, when there were several)",
    "mask": "the very mask that was given, when there was one",
    "style_image": "the very style picture that was given, when there was one",
}


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The labelled file, and where the copy goes."""
    parser.add_argument("file", metavar="FILE", type=Path, help=tr("a labelled file"))
    parser.add_argument("--model", metavar="MODEL", help=tr("the model, when it is not found by its hash"))
    given_arguments(parser, GIVEN, GIVEN)
    parser.add_argument("--out", metavar="PATH", type=Path, help=tr("write the content that was made again"))
    machine_arguments(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exit code 0 when every byte of the text, or every pixel, is the same, 1 when one is not."""
    from miaobi import api
    from miaobi.trust import label

    replayed = api.replay(
        arguments.file,
        model=arguments.model,
        device=arguments.device,
        threads=arguments.threads,
        **{name: getattr(arguments, name) for name in GIVEN},
    )
    if arguments.out:
        label.write(replayed.content, arguments.out)
        output.news("written: {path}", path=arguments.out)
    content = replayed.content
    picture = any(map(label.is_picture, content.parts))
    words = label.visible(label.visible_language(content.text))
    same = tr("The same, pixel for pixel.") if picture else tr("The same, byte for byte.")
    verdict = same if replayed.identical else tr("NOT the same: {difference}", difference=replayed.difference)
    value = {
        "identical": replayed.identical,
        "difference": replayed.difference,
        "text": content.text,
        "label": label.to_dict(content.label),
    }
    output.result(value, verdict if picture else f"{content.text}\n\n{words}\n{verdict}")
    return 0 if replayed.identical else 1
