"""Where a model looks while it writes: what reports draw of models that read one text and write another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from miaobi.core.protocols import Model
from miaobi.engine.metrics import Sample

SHOWN = 2  # texts of which a report shows it
MOST = 60  # tokens of a text beyond these are cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """For S tokens that were read and T that were written, in each layer how much (T, S) each one looks at each; rows sum to 1."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    layers: tuple[NDArray[np.float32], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values of what a page shows."""
        layers = [np.round(weights[:MOST, :MOST].astype(np.float64), 3).tolist() for weights in self.layers]
        return {"source": list(self.source[:MOST]), "target": list(self.target[:MOST]), "layers": layers}


@runtime_checkable
class Attentive(Protocol):
    """A model that can show where it looks."""

    def attention(self, source: str, target: str, /) -> Attention:
        """Where it looks in `source` while it writes `target`."""
        ...


def looks(model: Model, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Of the first samples, where the model looked; nothing of a model that cannot show it."""
    if not isinstance(model, Attentive):
        return []
    written = [sample for sample in samples if sample.text.strip()][:SHOWN]
    return [model.attention(sample.content.label.prompt, sample.text).to_dict() for sample in written]
