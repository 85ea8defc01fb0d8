"""`miaobi replay FILE`: makes the content of a labelled file again, from its label, and compares the two.

A text is compared byte for byte, a picture pixel for pixel, a sound sample for sample, a score note for note, each as its model made it:
the label of a file in another format holds the hash of what it was, and that format's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from miaobi.cli.parser import Parser
from miaobi.cli.recipes import given_arguments, machine_arguments
from miaobi.core.language import tr
from miaobi.core.types import Media, Modality

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output


GIVEN = {
    "image": "the very picture that was given, when there was one (repeated, when there were several)",
    "mask": "the very mask that was given, when there was one",
    "style_image": "the very style picture that was given, when there was one",
    "sound": "the very sound that was given, when there was one",
    "music": "the very tune that was given, when there was one",
    "video": "the very film that was given, when there was one",
}


SAME = {
    Modality.TEXT: "The same, byte for byte.",
    Modality.IMAGE: "The same, pixel for pixel.",
    Modality.AUDIO: "The same, sample for sample.",
    Modality.MUSIC: "The same, note for note.",
    Modality.VIDEO: "The same, frame for frame.",
}


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The labelled file, and where the copy goes."""
    parser.add_argument("file", metavar="FILE", type=Path, help=tr("a labelled file"))
    parser.add_argument("--model", metavar="MODEL", help=tr("the model, when it is not found by its hash"))
    given_arguments(parser, GIVEN, GIVEN)
    parser.add_argument("--out", metavar="PATH", type=Path, help=tr("write the content that was made again"))
    machine_arguments(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Exit code 0 when every byte of the text, pixel or sample is the same, 1 when one is not."""
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
        api.write(replayed.content, arguments.out)
        output.news("written: {path}", path=arguments.out)
    content = replayed.content
    medium = next((part for part in content.parts if isinstance(part, Media)), None)
    words = label.visible(label.visible_language(content.text))
    same = tr(SAME[medium.modality if medium else Modality.TEXT])
    verdict = same if replayed.identical else tr("NOT the same: {difference}", difference=replayed.difference)
    value = {
        "identical": replayed.identical,
        "difference": replayed.difference,
        "text": content.text,
        "label": label.to_dict(content.label),
    }
    output.result(value, verdict if medium else f"{content.text}\n\n{words}\n{verdict}")
    return 0 if replayed.identical else 1
