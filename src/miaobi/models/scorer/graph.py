"""The picture tower and its eye as an ONNX graph, so that pictures are embedded without torch and without the eye's package.

Input: pixels (B, 3, S, S) in [-1, 1]. Output: vectors (B, D) of length 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from miaobi.core.errors import ArtifactError, unknown
from miaobi.engine import features
from miaobi.models.common.eye_graph import EyeGraph, array
from miaobi.models.common.graph_nodes import Nodes, open_graph
from miaobi.models.common.picture_features import grid_of
from miaobi.models.scorer.runtime import GRAPHS

if TYPE_CHECKING:
    from miaobi.models.scorer.model import Scorer
    from miaobi.models.scorer.network import PictureTower

PROBES = 8  # pictures of noise that the graph is compared on
LARGEST_ERROR = 1e-3  # of a cosine, in fp32


def export(model: Scorer, folder: Path, formats: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
    """Write the graphs into `folder` and compare them with torch; returns for each the largest error of a cosine with the right vector.

    Raises:
        UsageError: an unknown format.
        ArtifactError: the fp32 graph is off, so it is not kept.
        MissingExtra: the package `onnx` is not installed.
    """
    errors: dict[str, dict[str, float]] = {}
    size, grid = model.config.size, model.config.grid
    pixels = np.random.default_rng(0).uniform(-1, 1, (PROBES, 3, size, size)).astype(np.float32)
    with torch.inference_mode():
        expected = model.network.eval().picture(grid_of(features.network(), torch.from_numpy(pixels), grid)).numpy()
    for name in formats:
        if name not in GRAPHS:
            raise unknown("format", name, GRAPHS)
        write(model, folder / GRAPHS[name], quantised=name == "int8")
        (found,) = open_graph(folder, [GRAPHS[name]]).run(None, {"pixels": pixels})
        error = float(np.abs(1 - (found * expected).sum(axis=1)).max())
        errors[name] = {"cosine_error": error}
        if name == "fp32" and error > LARGEST_ERROR:
            (folder / GRAPHS[name]).unlink()
            raise ArtifactError("the exported graph differs from the model by {error:.1%}; it was not kept", error=error)
    return errors


def write(model: Scorer, path: Path, *, quantised: bool) -> None:
    """Write one graph."""
    nodes = Nodes(quantised=quantised)
    size, grid = model.config.size, model.config.grid
    places = EyeGraph(nodes, features.network(), size=size).grid("pixels", grid)
    vector = _tower(nodes, model.network.picture, places, grid * grid)
    nodes.save(path, inputs=[("pixels", ["batch", 3, size, size])], outputs=[("vectors", vector, ["batch", model.config.dimensions])])


def _tower(nodes: Nodes, tower: PictureTower, places: str, num_places: int) -> str:
    """`PictureTower.forward`."""
    H, D = tower.heads, tower.enter.out_features // tower.heads

    def linear(x: str, name: str) -> str:
        layer = getattr(tower, name)
        return nodes.linear(x, f"picture.{name}", array(layer.weight), array(layer.bias))

    x = nodes.silu(linear(places, "enter"))  # (B, N, W)
    weights = nodes.op("Softmax", linear(x, "weigh"), axis=1)  # (B, N, H)
    x = nodes.op("Reshape", x, nodes.integers(0, num_places, H, D))
    x = nodes.op("Mul", x, nodes.op("Unsqueeze", weights, nodes.integers(-1)))
    x = nodes.op("ReduceSum", x, nodes.integers(1), keepdims=0)  # (B, H, D)
    x = nodes.op("Reshape", x, nodes.integers(0, H * D))
    gain, bias = (nodes.constant(f"picture.norm.{name}", array(getattr(tower.norm, name))) for name in ("weight", "bias"))
    x = nodes.op("LayerNormalization", x, gain, bias, axis=-1, epsilon=tower.norm.eps)
    return nodes.op("LpNormalization", linear(nodes.silu(linear(x, "inner")), "leave"), axis=-1, p=2)
