"""`miaobi render`: read the timeline, make the film."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from miaobi.apps.common.film import check_target, draft, render, to_dict
from miaobi.apps.common.script import Script
from miaobi.apps.film.schema import Inputs
from miaobi.core.apps import Desk


def run(inputs: Inputs, out: Path, desk: Desk, /) -> Mapping[str, Any]:
    """The film at `out`; raises as `render` does."""
    check_target(out)
    script = Script.load(Path(inputs.timeline))
    if inputs.draft:
        return to_dict(render(draft(script), out, desk, options={"draft": True}))
    return to_dict(render(script, out, desk))
