"""How much an n-gram model looks at (`Config`) and what a person may ask of it (`Options`)."""

from __future__ import annotations

import string

from pydantic import Field, field_validator

from miaobi.core.language import tr
from miaobi.core.schema import Schema
from miaobi.engine.sampling.options import Sampling


class Config(Schema):
    """The longest n-gram, and the text of a record."""

    order: int = Field(5, ge=1, le=16)
    """How many tokens an n-gram has; each is predicted from the order - 1 tokens before it."""
    template: str = Field("{text}", min_length=1, max_length=1000)
    """What is learned of a record: `{text}` is its text, any other name an entry of its meta (`{title}\\n{text}`)."""

    @field_validator("template")
    @classmethod
    def _plain_names(cls, value: str) -> str:
        try:
            fields = [(field, spec or turn) for _, field, spec, turn in string.Formatter().parse(value) if field is not None]
        except ValueError as error:
            raise ValueError(tr("the template is not readable ({error}); write {{text}} for the record's text", error=error)) from None
        if not fields or not all(field.isidentifier() and not formed for field, formed in fields):
            raise ValueError(tr("a template names fields of a record in braces: text, title or another entry of its meta"))
        return value


class Options(Sampling):
    """What a person may ask of a text."""
