"""How well attention followed the texts that were spoken, and how often the model found their ends."""

from __future__ import annotations

from miaobi.engine.metrics import Evidence, Figure, Unmeasurable, metric
from miaobi.engine.metrics.confidence import ratio, share


@metric("alignment", needs=["samples"])
def alignment(evidence: Evidence) -> dict[str, Figure]:
    """Focus times order times coverage of attention, each a share; and the share of sentences whose end the model found itself."""
    notes = [sample.notes for sample in evidence.samples.get("", ()) if "alignment" in sample.notes]
    if not notes:
        raise Unmeasurable("none of the contents says how attention went")
    figures = {"": ratio([float(one["alignment"]) for one in notes], seed=evidence.seed, better="higher")}
    for name in ("focus", "order", "coverage"):
        figures[name] = ratio([float(one[name]) for one in notes], seed=evidence.seed, better="higher")
    figures["ended"] = share([bool(one["ended"]) for one in notes], seed=evidence.seed)
    return figures
