"""The frozen picture codec inside a model that works on latents: whether it fits, and its two halves as graphs for the light runtime."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from miaobi.core.errors import UsageError
from miaobi.models.common import traced_graph
from miaobi.models.common.autoencoder import Autoencoder

ENCODER, DECODER = "encoder", "decoder"


def check_fit(codec: Autoencoder, *, size: int, channels: int, step: int) -> None:
    """Refuse a codec of other pictures.

    Args:
        size, channels: of the pictures that the model is to draw.
        step: the latents' side must be a multiple of it.

    Raises:
        UsageError: it is one, or its latents do not fit the patches.
    """
    own, cells = codec.config, codec.latent_shape[1]
    if (own.size, own.channels) != (size, channels):
        raise UsageError(
            "the codec was trained on {channels} channels of {size} pixels, and the model is to draw {wanted_channels} of {wanted}",
            channels=own.channels,
            size=own.size,
            wanted_channels=channels,
            wanted=size,
        )
    if cells % step:
        raise UsageError("the codec's latents have {cells} cells a side, no multiple of {step}", cells=cells, step=step)


class _Encoding(nn.Module):
    def __init__(self, codec: Autoencoder) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, pixels: Tensor) -> Tensor:
        return self.codec.encode(pixels)[0]


class _Decoding(nn.Module):
    def __init__(self, codec: Autoencoder) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, latents: Tensor) -> Tensor:
        return self.codec.decode(latents)


def export(codec: Autoencoder, folder: Path, latents: Tensor) -> dict[str, float]:
    """Write both halves below `folder`, compared with torch on latents (B, C, H, W) and on the pictures that they stand for.

    Always in full precision: they are small, and every picture goes through them.

    Raises:
        ArtifactError: a graph is too far off, so it is not kept.
    """
    decoding = _Decoding(codec)
    errors = traced_graph.export(decoding, folder, DECODER, {"latents": latents}, formats=["fp32"])["fp32"]
    with torch.inference_mode():
        pixels = decoding(latents)
    return errors | traced_graph.export(_Encoding(codec), folder, ENCODER, {"pixels": pixels.clone()}, formats=["fp32"])["fp32"]
