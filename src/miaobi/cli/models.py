"""`miaobi models`: what can be used right away, and the families that can be trained."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from miaobi.cli.parser import Parser
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """No arguments of its own."""


def run(arguments: argparse.Namespace, output: Output) -> int:
    """List models and families; neither torch, numpy nor pydantic is imported for it."""
    from miaobi import api
    from miaobi.cli.terminal import table
    from miaobi.core.families import families

    models = api.list_models()
    kinds = list(families().values())
    lines = [tr("models (use one: miaobi generate NAME)")]
    rows = [(model.name, model.family, f"{model.bytes / 1e6:.1f} MB", model.licence, str(model.folder)) for model in models]
    lines.append(table(rows, indent="  ") if rows else "  " + tr("none yet"))
    lines += ["", tr("families (train one: miaobi train RECIPE)")]
    lines.append(table([(kind.name, ", ".join(sorted(kind.verbs)), tr(kind.summary)) for kind in kinds], indent="  "))
    value = {
        "models": [model.as_dict() for model in models],
        "families": [
            {"name": kind.name, "summary": kind.summary, "outputs": sorted(kind.outputs), "verbs": sorted(kind.verbs), "extra": kind.extra}
            for kind in kinds
        ],
    }
    output.result(value, "\n".join(lines))
    return 0
