"""The shape and arithmetic of the shared Transformer, apart from it so that the exporter and the runtime need no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig:
    """Everything that decides the network's shape and arithmetic."""

    vocab_size: int
    width: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    hidden: int  # inner width of the feed-forward part
    context: int  # longest sequence the positions were made for
    norm: Literal["layer", "rms"] = "rms"
    norm_eps: float = 1e-6
    feed_forward: Literal["gelu", "swiglu"] = "swiglu"
    positions: Literal["learned", "rotary"] = "rotary"
    rope_theta: float = 10_000.0
    rope_type: Literal["default", "linear", "llama3", "yarn"] = "default"  # how positions are stretched; see `rotary`
    rope_scaling: tuple[tuple[str, float], ...] = ()  # the numbers of that, by their names in config.json
    query_key_norm: bool = False
    attention_bias: bool = False  # on query, key and value
    output_bias: bool = False  # on the attention's output projection
    feed_forward_bias: bool = False
    tied: bool = True
    dropout: float = 0.0
