"""The captioner as two ONNX graphs: the eye with the way in (`onnx/picture.onnx`), and the Transformer with a prefix (`onnx/model.onnx`).

The first: pixels (B, 3, S, S) in [-1, 1] to prefix (B, N, W). The second: see `models.common.decoder_graph`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from miaobi.core.errors import ArtifactError
from miaobi.models.caption.runtime import EYE
from miaobi.models.common import decoder_graph, traced_graph
from miaobi.models.common.decoder_runtime import OnnxStepper
from miaobi.models.common.eye_tower import EyeTower
from miaobi.models.common.transformer import TorchStepper

if TYPE_CHECKING:
    from miaobi.models.caption.model import Captioner
    from miaobi.models.caption.network import CaptionNetwork

PROBES = 4  # pictures of noise that the graphs are compared on
LARGEST_ERROR = 1e-3  # of a logit, in fp32, as a share of the largest


class WayIn(nn.Module):
    """`CaptionNetwork.prefix` as a network of its own."""

    def __init__(self, network: CaptionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, places: Tensor) -> Tensor:
        return self.network.prefix(places)


def export(model: Captioner, folder: Path, formats: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
    """Write both graphs into the `folder` of the saved model, and compare them with torch.

    Returns for each format the largest errors, as shares of the largest number, and the share of equal likeliest first tokens.

    Raises:
        UsageError: an unknown format.
        ArtifactError: the fp32 graphs are off, so they are not kept.
        MissingExtra: the package `onnx` is not installed.
    """
    size = model.config.size
    pixels = torch.rand((PROBES, 3, size, size), generator=torch.Generator().manual_seed(0)) * 2 - 1
    eye = EyeTower(WayIn(model.network.eval()), model.config.grid)
    seen = traced_graph.export(eye, folder, EYE, {"pixels": pixels}, formats=formats)
    decoder_graph.write(folder, precisions=[cast("decoder_graph.Precision", name) for name in formats], prefix=True)
    prompts = [[model.vocabulary.begin(language)] for language in ("zh", "en")] * (PROBES // 2)
    with torch.inference_mode():
        prefix = eye(pixels)
        expected = TorchStepper(model.network.decoder, prefix=prefix).start(prompts).float().numpy()
    errors = {}
    for name in formats:
        stepper = OnnxStepper(folder, precision=cast("decoder_graph.Precision", name)).fresh(prefix.numpy())
        found = stepper.start(prompts)
        error = float(np.abs(found - expected).max() / np.abs(expected).max())
        errors[name] = {"logit_error": error, "same_likeliest": float((found.argmax(-1) == expected.argmax(-1)).mean()), **seen[name]}
        if name == "fp32" and error > LARGEST_ERROR:
            (folder / decoder_graph.FILES[name]).unlink()
            raise ArtifactError(
                "the exported graph differs from the model by {error:.1%} of the largest logit; it was not kept", error=error
            )
    return errors
