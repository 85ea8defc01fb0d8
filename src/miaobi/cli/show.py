"""`miaobi show THING`: the label of a file, the card of a model, the data card of a dataset, the state of a run, a recipe filled in."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from miaobi.cli.parser import Parser
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output

LONGEST = 400  # characters of one value on the screen; --json prints all


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """What to show."""
    parser.add_argument("thing", metavar="THING", help=tr("a labelled file, a model, a dataset, a run or a recipe"))


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Print it as indented `key: value` lines."""
    from miaobi import api

    shown = api.show(arguments.thing)
    output.result(shown, as_text(shown))
    return 0


def as_text(value: Mapping[str, Any], indent: str = "") -> str:
    """Nested mappings as indented lines; empty values are left out."""
    lines = []
    for key, item in value.items():
        if item is None or item in ("", [], {}, ()):
            continue
        if isinstance(item, Mapping):
            lines += [f"{indent}{key}:", as_text(item, indent + "  ")]
        elif isinstance(item, list | tuple) and any(isinstance(entry, Mapping) for entry in item):
            for entry in item:
                lines += [f"{indent}{key}:", as_text(entry, indent + "  ") if isinstance(entry, Mapping) else f"{indent}  {entry}"]
        else:
            lines.append(f"{indent}{key}: {_inline(item, indent)}")
    return "\n".join(line for line in lines if line)


def _inline(item: Any, indent: str) -> str:
    """A value on its line; text of several lines stands indented below its key."""
    text = ", ".join(map(str, item)) if isinstance(item, list | tuple) else str(item).strip()
    text = text if len(text) <= LONGEST else text[:LONGEST] + " …"
    gap = f"\n{indent}  "
    return gap + text.replace("\n", gap) if "\n" in text else text
