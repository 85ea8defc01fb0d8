"""What a person would have asked for a picture that exists: its caption, its style, its class; evaluation asks for held-out ones so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from miaobi.core.types import Record, Request
from miaobi.models.common.captions import LANGUAGES, captions_of


def request_of(record: Record, *, words: bool = False, styles: Sequence[str] = (), classes: Sequence[str] = ()) -> Request | None:
    """The request, in the first language that the record has a caption in; None when the model could not be asked for this picture.

    Args:
        words: whether the model reads captions; then the classes do not matter.
        styles: the styles that it knows.
        classes: the classes that it knows by name, which stand in the prompt.
    """
    style, name = str(record.meta.get("style", "")), str(record.meta.get("class", ""))
    options: dict[str, Any] = {"style": style} if style in styles else {}
    if styles and not options:
        return None
    if words:
        caption = next((text for language in LANGUAGES for text in captions_of(record, language)), "")
        return Request.of(caption, **options) if caption else None
    if classes:
        return Request.of(name, **options) if name in classes else None
    return Request.of("", **options) if options else None
