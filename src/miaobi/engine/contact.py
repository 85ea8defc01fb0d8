"""Several generated pictures on one sheet, which is a generated picture itself and carries a label that names them all."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from types import MappingProxyType

from miaobi.core.types import Content, Label, Media, Modality
from miaobi.trust import label as labels
from miaobi.trust.replay import NO_REQUEST

MAX_CELL = 256  # pixels: larger pictures are shown smaller


def contact_sheet(contents: Sequence[Content], *, columns: int = 0) -> Media:
    """The first picture of every content side by side as one labelled PNG; by default about as many columns as rows.

    Its label is that of the first content, but for the hash, and cannot be replayed; `parents` are the pictures' own hashes.
    """
    from miaobi.data import pictures

    found = [part for content in contents for part in [next(filter(labels.is_picture, content.parts), None)] if part is not None]
    assert found, "a contact sheet of contents without pictures"
    pixels = [pictures.decode(part.data) for part in found]
    cell = min(MAX_CELL, max(max(picture.shape[:2]) for picture in pixels))
    sheet = pictures.contact_sheet(pixels, columns=columns or math.ceil(math.sqrt(len(pixels))), size=cell)
    media = Media(modality=Modality.IMAGE, mime="image/png", data=pictures.encode(sheet), name="contact")
    return labels.embed(media, _label([content.label for content in contents], labels.content_sha256((media,))))


def _label(made: Sequence[Label], sha256: str) -> Label:
    return dataclasses.replace(
        made[0],
        index=0,
        request_sha256=NO_REQUEST,
        content_sha256=sha256,
        mark="",
        watermark="",
        notes=MappingProxyType({"pictures": len(made)}),
        parents=tuple(f"picture:{label.content_sha256}" for label in made),
    )
