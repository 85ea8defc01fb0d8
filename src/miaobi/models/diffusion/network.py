"""The network of a diffusion model: a denoising backbone, the encoders of its conditions, and the frozen autoencoder of a latent model.

Conditions add up to one vector; an empty caption, style 0 and class 0 are "not told". Shapes: B pictures, C channels, S their side, D width
of the condition.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.models.common.autoencoder import Autoencoder, AutoencoderConfig
from miaobi.models.common.dit import DiT
from miaobi.models.common.picture_config import DiTConfig, UNetConfig
from miaobi.models.common.text_condition import TextEncoder
from miaobi.models.common.text_units import FEATURES
from miaobi.models.common.unet import UNet
from miaobi.models.diffusion.schema import Config

MOST_GROUPS = 32


class Network(nn.Module):
    """Noisy pictures or latents, times and conditions to predictions."""

    words: Tensor

    def __init__(self, config: Config, *, words: Any, styles: int = 0, classes: int = 0, latent: AutoencoderConfig | None = None) -> None:
        super().__init__()
        self.config = config
        channels = latent.latent if latent else config.channels
        conditional = bool(words is not None or styles or classes)
        self.backbone: UNet | DiT = _backbone(config, channels, conditional)
        D = condition_width(config)
        self.register_buffer("words", torch.from_numpy(np.zeros(0, np.int64) if words is None else words))
        self.text: TextEncoder | None = None
        if words is not None:
            self.text = TextEncoder(len(words), config.text_width, D, layers=config.text_layers, tokens=config.text_tokens)
        self.style = nn.Embedding(styles + 1, D) if styles else None
        self.label = nn.Embedding(classes + 1, D) if classes else None
        self.autoencoder = Autoencoder(replace(latent)).requires_grad_(False) if latent else None

    def initialise(self, generator: torch.Generator) -> None:
        """Random weights; the autoencoder keeps its own."""
        self.backbone.initialise(generator)
        if self.text is not None:
            self.text.initialise(generator)
        for table in (self.style, self.label):
            if table is not None:
                nn.init.normal_(table.weight, std=1.0, generator=generator)

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """A vector (B, D) and tokens (B, K, D) of captions, given by rows (B, L, F) of the vocabulary."""
        assert self.text is not None
        vector, tokens = self.text(rows)
        return vector, tokens

    def condition(
        self, text: tuple[Tensor, Tensor] | None, style: Tensor | None, label: Tensor | None, *, told: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor | None]:
        """What is told, as a vector (B, D) and tokens (B, K, D); None for a model that is told nothing.

        Args:
            text: what `read` gives.
            style, label: (B,) numbers, 0 for none.
            told: (B,) False where the caption is hidden: the empty text stands in its place.
        """
        vector, tokens = text if text is not None else (None, None)
        if text is not None and told is not None and not told.all():
            nothing = self.read(torch.zeros((1, 1, FEATURES), dtype=torch.long, device=told.device))
            vector, tokens = (torch.where(told.view(-1, *[1] * (x.ndim - 1)), x, y) for x, y in zip(text, nothing))
        for table, numbers in ((self.style, style), (self.label, label)):
            if table is not None and numbers is not None:
                named = table(numbers) * (numbers > 0)[:, None]  # (B, D)
                vector = named if vector is None else vector + named
        return vector, tokens if self.config.text_tokens else None

    def forward(self, x: Tensor, time: Tensor, vector: Tensor | None, tokens: Tensor | None, low: Tensor | None = None) -> Tensor:
        """The prediction; an upscaler is shown `low`, the small picture at full size."""
        if low is not None:
            x = torch.cat([x, low], dim=1)
        prediction: Tensor = self.backbone(x, time, vector=vector, tokens=tokens)
        return prediction

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """What is denoised: the pixels themselves, or their latents."""
        if self.autoencoder is None:
            return pixels
        with torch.autocast(pixels.device.type, enabled=False):  # frozen: exact, and remembered
            return self.autoencoder.encode(pixels)[0]

    @torch.no_grad()
    def decode(self, x: Tensor) -> Tensor:
        """Pixels (B, C, S, S) of what was denoised."""
        return x if self.autoencoder is None else self.autoencoder.decode(x)


def condition_width(config: Config) -> int:
    """D, the length of the vector of all conditions."""
    return config.width if config.backbone == "dit" else 4 * config.widths[0]


def shrink(pixels: Tensor, factor: int) -> Tensor:
    """The small picture that an upscaler starts from, with every pixel repeated: (B, C, S, S) again."""
    return F.interpolate(F.avg_pool2d(pixels, factor), scale_factor=factor, mode="nearest")


def _backbone(config: Config, channels: int, conditional: bool) -> UNet | DiT:
    vector = condition_width(config) if conditional else 0
    tokens = vector if "text" in config.conditions and config.text_tokens else 0
    inputs = 2 * channels if config.upscale > 1 else channels
    if config.backbone == "dit":
        return DiT(
            DiTConfig(
                channels=channels,
                in_channels=inputs,
                patch=config.patch,
                width=config.width,
                layers=config.layers,
                heads=config.heads,
                vector_width=vector,
                token_width=tokens,
                dropout=config.dropout,
            )
        )
    shared = math.gcd(*config.widths, MOST_GROUPS)
    return UNet(
        UNetConfig(
            channels=channels,
            in_channels=inputs,
            widths=tuple(config.widths),
            blocks=config.blocks,
            attention=tuple(config.attention),
            head_width=shared,
            groups=shared,
            vector_width=vector,
            token_width=tokens,
            dropout=config.dropout,
        )
    )
