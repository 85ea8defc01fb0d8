"""What a recurrent language model is made of (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from miaobi.core.schema import Schema
from miaobi.engine.sampling.options import Sampling


class Config(Schema):
    """The network's shape."""

    cell: Literal["ffn", "rnn", "lstm", "gru"] = "lstm"
    """`ffn` sees a window of tokens (Bengio et al., 2003), `rnn` is Elman's (1990), `lstm` Hochreiter and Schmidhuber's (1997), `gru`
    Cho et al.'s (2014)."""
    width: int = Field(256, ge=4, le=16384)
    """Length of the vectors that a token is."""
    hidden: int = Field(0, ge=0, le=65536)
    """Length of the state, and of ffn's inner layers; 0 is as `width`."""
    layers: int = Field(1, ge=1, le=64)
    """How many cells stand on each other."""
    window: int = Field(5, ge=1, le=1024)
    """ffn: how many tokens it sees."""
    context: int = Field(256, ge=2, le=131072)
    """Training: gradients flow through so many tokens; longer documents are cut. Generation has no end to its memory, but for ffn."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the activations that training switches off, never along time (Zaremba et al., 2014)."""
    tied: bool = True
    """Input and output embeddings are one tensor (Press and Wolf, 2017)."""

    @property
    def inner(self) -> int:
        """Length of the state."""
        return self.hidden or self.width


class Options(Sampling):
    """What a person may ask of a text."""
