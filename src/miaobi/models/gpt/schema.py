"""What a language model is made of (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from miaobi.core.schema import Schema
from miaobi.engine.sampling.options import Sampling


class Config(Schema):
    """The network's shape. `architecture` sets what GPT-2, Llama, Qwen2 and Qwen3 do differently, and the names on disk."""

    architecture: Literal["gpt2", "llama", "qwen2", "qwen3"] = "llama"
    """Whose design, and whose names on disk."""
    width: int = Field(320, ge=8, le=16384)
    """Length of the vectors that a token is; a multiple of `heads`."""
    layers: int = Field(6, ge=1, le=256)
    """How many blocks of attention and feed-forward."""
    heads: int = Field(5, ge=1, le=256)
    """How many attentions a block has side by side."""
    key_heads: int = Field(0, ge=0, le=256)
    """0 is as many as `heads`; fewer is grouped-query attention."""
    hidden: int = Field(0, ge=0, le=65536)
    """Inner width of the feed-forward part; 0 is 4 widths for gpt2, else 8/3 rounded up to 32."""
    context: int = Field(512, ge=8, le=131072)
    """The most tokens that it sees at once."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the activations that training switches off."""
    tied: bool = True
    """Input and output embeddings are one tensor."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the probability that training spreads over all tokens."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Config:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.heads % (self.key_heads or self.heads):
            raise ValueError(f"heads {self.heads} is not a multiple of key_heads {self.key_heads}")
        if self.architecture == "gpt2" and self.key_heads not in (0, self.heads):
            raise ValueError("gpt2 has as many key heads as heads")
        return self


class Options(Sampling):
    """What a person may ask of a text."""

    window: Literal["refuse", "slide"] = "refuse"
    """What happens with a prompt longer than the model reads: an error, or only its end is read."""
