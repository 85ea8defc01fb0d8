"""The captioner as two ONNX graphs: the eye with the way in (`onnx/picture.onnx`), and the Transformer with a prefix (`onnx/model.onnx`).

The first: pixels (B, 3, S, S) in [-1, 1] to prefix (B, N, W). The second: see `models.common.decoder_graph`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from miaobi.core.errors import ArtifactError, unknown
from miaobi.engine import features
from miaobi.models.caption.runtime import EYES
from miaobi.models.common import decoder_graph
from miaobi.models.common.decoder_runtime import OnnxStepper
from miaobi.models.common.eye_graph import EyeGraph, array
from miaobi.models.common.graph_nodes import Nodes, open_graph
from miaobi.models.common.picture_features import grid_of
from miaobi.models.common.transformer import TorchStepper

if TYPE_CHECKING:
    from miaobi.models.caption.model import Captioner

PROBES = 4  # pictures of noise that the graphs are compared on
LARGEST_ERROR = 1e-2  # of a logit, in fp32, as a share of the largest


def export(model: Captioner, folder: Path, formats: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
    """Write both graphs into the `folder` of the saved model, and compare the first token's logits with torch's.

    Raises:
        UsageError: an unknown format.
        ArtifactError: the fp32 graphs are off, so they are not kept.
        MissingExtra: the package `onnx` is not installed.
    """
    for name in formats:
        if name not in EYES:
            raise unknown("format", name, EYES)
    decoder_graph.write(folder, precisions=[cast("decoder_graph.Precision", name) for name in formats], prefix=True)
    size = model.config.size
    pixels = np.random.default_rng(0).uniform(-1, 1, (PROBES, 3, size, size)).astype(np.float32)
    prompts = [[model.vocabulary.begin(language)] for language in ("zh", "en")] * (PROBES // 2)
    expected = _expected(model, pixels, prompts)
    errors = {}
    for name in formats:
        _write_eye(model, folder / EYES[name], quantised=name == "int8")
        (prefix,) = open_graph(folder, [EYES[name]]).run(None, {"pixels": pixels})
        stepper = OnnxStepper(folder, precision=cast("decoder_graph.Precision", name)).fresh(prefix)
        found = stepper.start(prompts)
        error = float(np.abs(found - expected).max() / np.abs(expected).max())
        errors[name] = {"logit_error": error, "same_likeliest": float((found.argmax(-1) == expected.argmax(-1)).mean())}
        if name == "fp32" and error > LARGEST_ERROR:
            (folder / EYES[name]).unlink()
            raise ArtifactError("the exported graph differs from the model by {error:.1%}; it was not kept", error=error)
    return errors


@torch.inference_mode()
def _expected(model: Captioner, pixels: np.ndarray, prompts: Sequence[Sequence[int]]) -> np.ndarray:
    """Torch's logits (B, V) of the token after each prompt."""
    prefix = model.network.eval().prefix(grid_of(features.network(), torch.from_numpy(pixels), model.config.grid))
    found: np.ndarray = TorchStepper(model.network.decoder, prefix=prefix).start(prompts).float().numpy()
    return found


def _write_eye(model: Captioner, path: Path, *, quantised: bool) -> None:
    nodes, network = Nodes(quantised=quantised), model.network
    size, grid = model.config.size, model.config.grid
    places = EyeGraph(nodes, features.network(), size=size).grid("pixels", grid)
    x = nodes.linear(places, "enter", array(network.enter.weight), array(network.enter.bias))
    gain, bias = nodes.constant("norm", array(network.norm.weight)), nodes.constant("norm.bias", array(network.norm.bias))
    prefix = nodes.op("LayerNormalization", x, gain, bias, axis=-1, epsilon=network.norm.eps)
    shape: list[int | str] = ["batch", grid * grid, model.config.width]
    nodes.save(path, inputs=[("pixels", ["batch", 3, size, size])], outputs=[("prefix", prefix, shape)])
