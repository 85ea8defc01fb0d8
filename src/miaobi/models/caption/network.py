"""A picture's places as the beginning of a text: the prefix of Mokady et al. (2021, ClipCap) before the shared Transformer.

B pictures, R rows of captions, N places, F features of a place, T tokens, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from miaobi.models.caption.schema import Config
from miaobi.models.common.picture_features import NUM_FEATURES
from miaobi.models.common.transformer import Transformer
from miaobi.models.common.transformer_config import TransformerConfig


class CaptionNetwork(nn.Module):
    """The way from the eye into the Transformer, and the Transformer."""

    def __init__(self, config: Config, vocab_size: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.enter = nn.Linear(NUM_FEATURES, config.width)
        self.norm = nn.LayerNorm(config.width)
        self.decoder = Transformer(decoder_shape(config, vocab_size))

    def initialise(self, generator: torch.Generator) -> None:
        """As the Transformer has it; the way in keeps the size of its numbers."""
        self.decoder.initialise(generator)
        nn.init.normal_(self.enter.weight, std=NUM_FEATURES**-0.5, generator=generator)
        nn.init.zeros_(self.enter.bias)

    def prefix(self, places: Tensor) -> Tensor:
        """(B, N, F) to (B, N, W)."""
        return self.norm(self.enter(F.dropout(places, self.dropout, self.training)))  # type: ignore[no-any-return]

    def forward(self, places: Tensor, tokens: Tensor, weights: Tensor, owners: Tensor) -> Tensor:
        """Logits (selected, V) of the targets that `weights` (R, T) has, rows `tokens` (R, T) about the pictures `owners` (R,)."""
        prefix = self.prefix(places)[owners]  # (R, N, W)
        select = F.pad(weights, (prefix.shape[1], 0))  # (R, N + T)
        return self.decoder(tokens, select=select, prefix=prefix)  # type: ignore[no-any-return]


def decoder_shape(config: Config, vocab_size: int) -> TransformerConfig:
    """The Llama-like Transformer; its context holds the places and a caption."""
    return TransformerConfig(
        vocab_size=vocab_size,
        width=config.width,
        layers=config.layers,
        heads=config.heads,
        key_heads=config.heads,
        head_width=config.width // config.heads,
        hidden=-(-config.width * 8 // 3 // 32) * 32,
        context=config.grid**2 + config.length + 1,
        dropout=config.dropout,
    )
