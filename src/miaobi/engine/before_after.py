"""What an adaptation gained and what it cost: one model before, another after, on held-out records of the new data and of the old.

Bits per character on text that the base knew tell what was forgotten. What a training towards preferences or rewards says of held-out
prompts stands in its run, at step 0 and at the last. Every difference is tested in pairs over the same records or prompts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from miaobi.core.artifact import write_text
from miaobi.core.protocols import Model, Score, Scorer
from miaobi.core.types import Record
from miaobi.engine.ask import draw
from miaobi.engine.journal import HELD_OUT, evaluations, rows_of
from miaobi.engine.metrics import Figure
from miaobi.engine.metrics.confidence import difference, ratio

REPORT, SCHEMA = "adapt.json", "miaobi.adapt/1"


def report(
    before: Model,
    after: Model,
    sides: Mapping[str, Sequence[Record]],
    *,
    run: Path,
    count: int,
    best: bool = False,
    seed: int = 0,
    notes: Mapping[str, str],
) -> dict[str, Any]:
    """Measure both on every side (`own`, `general`), write `adapt.json` into the run's folder, and return what it holds.

    `notes` says of a side that is missing why it is; `best`, that the weights of the best evaluation were kept.
    """
    found = {name: compared(before, after, draw(records, count, seed=seed), seed=seed) for name, records in sides.items() if len(records)}
    result = {
        "schema": SCHEMA,
        "before": before.card.name,
        "after": after.card.name,
        "bits_per_character": {name: side for name, side in found.items() if side},
        "held_out": watched(run, best=best, seed=seed),
        "notes": dict(notes),
    }
    write_text(run / REPORT, json.dumps(result, ensure_ascii=False, indent=2) + "\n")
    return result


def compared(before: Model, after: Model, records: Sequence[Record], *, seed: int = 0) -> dict[str, Any]:
    """Bits per character of both and the difference (after - before); nothing where one gives no likelihoods."""
    if not (isinstance(before, Scorer) and isinstance(after, Scorer)):
        return {}
    scores = [list(model.score(records)) for model in (before, after)]
    counted = [place for place, (one, other) in enumerate(zip(*scores, strict=True)) if one.characters == other.characters > 0]
    if not counted:
        return {}
    old, new = (_bits([side[place] for place in counted], seed) for side in scores)
    gap = difference(new, old, seed=seed)
    return {"records": len(counted), "before": old.to_dict(), "after": new.to_dict(), "difference": gap.to_dict()}


def _bits(scores: Sequence[Score], seed: int) -> Figure:
    return ratio([score.bits for score in scores], [score.characters for score in scores], seed=seed, unit="bits/character", better="lower")


def watched(run: Path, *, best: bool = False, seed: int = 0) -> dict[str, dict[str, Any]]:
    """What the training saw on held-out records, by name: at its first evaluation and its last (or its best), and whether they differ."""
    seen = evaluations(run)
    if not seen:
        return {}
    kept = seen[-1]["best_step"] if best else seen[-1]["step"]
    first, last = seen[0], next((row for row in reversed(seen) if row["step"] == kept), seen[-1])
    each = {row["step"]: row for row in rows_of(run / HELD_OUT)}
    old, new = (each.get(row["step"], {}) for row in (first, last))
    names = [name.removeprefix("val_") for name in first if name.startswith("val_") and name in last]
    steps = {"first_step": first["step"], "last_step": last["step"]}
    found: dict[str, dict[str, Any]] = {name: {"first": first[f"val_{name}"], "last": last[f"val_{name}"], **steps} for name in names}
    for name in names if first is not last else ():
        if name in old and name in new:
            found[name]["difference"] = difference(ratio(new[name], seed=seed), ratio(old[name], seed=seed), seed=seed).to_dict()
    return found
