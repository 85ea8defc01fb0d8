"""What a person would have asked for a recording that exists: the text that is spoken in it; evaluation asks for held-out ones so."""

from __future__ import annotations

from miaobi.core.types import Record, Request
from miaobi.models.tacotron.schema import Config
from miaobi.models.tacotron.text import text_to_read


def request_for(config: Config, record: Record) -> Request | None:
    """The request; None for a record without a text."""
    text = text_to_read(record, config.text)
    return Request.of(text) if text else None
