"""What a masked language model is made of (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from miaobi.core.language import tr
from miaobi.core.schema import Schema
from miaobi.engine.sampling.options import Sampling


class Config(Schema):
    """The network's shape, what it learns to say, and how gaps are made for it."""

    task: Literal["mask", "classify", "tag"] = "mask"
    """What it says: the tokens of gaps, one class of a text, or a tag for every character."""
    field: str = "label"
    """classify and tag: the field of meta with the class, or with the list of tags."""
    width: int = Field(256, ge=8, le=16384)
    """Length of the vectors that a token is; a multiple of `heads`."""
    layers: int = Field(4, ge=1, le=256)
    """How many blocks of attention and feed-forward."""
    heads: int = Field(4, ge=1, le=256)
    """How many attentions a block has side by side."""
    hidden: int = Field(0, ge=0, le=65536)
    """Inner width of the feed-forward part; 0 is 4 widths."""
    context: int = Field(256, ge=8, le=131072)
    """The most tokens that it sees at once, the two marks of a text's ends among them."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of the activations that training switches off."""
    masking: Literal["uniform", "fixed"] = "uniform"
    """`uniform` masks any share of a text, from one token to all, as writing by unmasking needs; `fixed` is BERT's own: of `share` of the
    tokens, eight in ten are masked, one is replaced and one is left."""
    share: float = Field(0.15, gt=0, le=1)
    """masking fixed: the share of tokens to be told."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Config:
        if self.width % self.heads:
            raise ValueError(tr("width {width} is not a multiple of heads {heads}", width=self.width, heads=self.heads))
        return self

    @property
    def inner(self) -> int:
        """Inner width of the feed-forward part."""
        return self.hidden or 4 * self.width


LEFT_ONLY = ("beams", "no_repeat_ngram", "min_tokens", "stop", "json_schema", "regex", "logprobs")


class Options(Sampling):
    """What a person may ask. Gaps in the prompt are written [MASK] or □; without a gap the prompt is continued."""

    order: Literal["confident", "random", "left"] = "confident"
    """In which order gaps are filled: the surest first (Chang et al., 2022), at random, or from left to right like other models."""
    steps: int = Field(0, ge=0, le=4096)
    """In how many rounds all gaps are filled; 0 is one gap a round."""
    length: int = Field(0, ge=0, le=65536)
    """How many tokens a continuation has; 0 draws a length that the training texts had."""
    revise: int = Field(0, ge=0, le=64)
    """Rounds afterwards in which the least sure tokens are masked and filled again (Ghazvininejad et al., 2019)."""

    @model_validator(mode="after")
    def _order_fits(self) -> Options:
        given = [name for name in LEFT_ONLY if getattr(self, name, None) not in (None, 0, "", []) and self._differs(name)]  # {} is any JSON
        if given and self.order != "left":
            raise ValueError(tr("{names} go from left to right; add order=left", names=", ".join(given)))
        if self.order == "left" and (self.steps or self.revise):
            raise ValueError(tr("with order=left every step writes one token, so steps and revise cannot be set"))
        return self

    def _differs(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).model_fields[name].default)
