"""What an encoder-decoder is made of (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

import string

from pydantic import Field, field_validator, model_validator

from miaobi.core.language import tr
from miaobi.core.schema import Schema
from miaobi.engine.sampling.options import Sampling


class Config(Schema):
    """The network's shape, and which text of a record it reads and which it writes."""

    source: str = "{title}"
    """What is read: a template of the record's `{text}`, its `{first_line}` and the `{rest}`, and of the fields of its meta (`{title}`)."""
    target: str = "{text}"
    """What is written, likewise."""
    width: int = Field(256, ge=8, le=16384)
    """Length of the vectors that a token is; a multiple of `heads`."""
    layers: int = Field(3, ge=1, le=256)
    """How many blocks the encoder has, and as many the decoder."""
    heads: int = Field(4, ge=1, le=256)
    """How many attentions a block has side by side."""
    hidden: int = Field(0, ge=0, le=65536)
    """Inner width of the feed-forward part; 0 is 4 widths."""
    context: int = Field(256, ge=4, le=131072)
    """The most tokens that are read, and that are written; longer texts are cut."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the activations that training switches off."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the probability that training spreads over all tokens."""

    @field_validator("source", "target")
    @classmethod
    def _readable(cls, value: str) -> str:
        try:
            fields = [(name, spec or turn) for _, name, spec, turn in string.Formatter().parse(value) if name is not None]
        except ValueError as error:
            raise ValueError(tr("the template cannot be read: {error}", error=error)) from None
        if not fields or not all(name.isidentifier() and not formed for name, formed in fields):
            raise ValueError(tr("a template names fields in braces, such as {example}", example="{title}"))
        return value

    @model_validator(mode="after")
    def _heads_divide(self) -> Config:
        if self.width % self.heads:
            raise ValueError(tr("width {width} is not a multiple of heads {heads}", width=self.width, heads=self.heads))
        return self

    @property
    def inner(self) -> int:
        """Inner width of the feed-forward part."""
        return self.hidden or 4 * self.width


class Options(Sampling):
    """What a person may ask of a text; the prompt is what is read."""
