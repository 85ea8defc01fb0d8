"""`miaobi render`: read the timeline, make the film."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from miaobi.apps.common.film import check_target, render, to_dict
from miaobi.apps.common.script import Script
from miaobi.apps.film.schema import Inputs
from miaobi.core.apps import Desk

DRAFT_FPS = 12.0


def run(inputs: Inputs, out: Path, desk: Desk, /) -> Mapping[str, Any]:
    """The film at `out`; raises as `render` does."""
    check_target(out)
    script = Script.load(Path(inputs.timeline))
    if inputs.draft:
        return to_dict(render(draft(script), out, desk, options={"draft": True}))
    return to_dict(render(script, out, desk))


def draft(script: Script) -> Script:
    """The same film, small and coarse."""
    timeline = script.timeline
    width, height = (max(32, side // 4 * 2) for side in timeline.size)
    return dataclasses.replace(script, timeline=timeline.model_copy(update={"size": (width, height), "fps": min(timeline.fps, DRAFT_FPS)}))
