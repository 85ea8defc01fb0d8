"""Pictures of the styles that are learned, and the number of each one's style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from miaobi.core.errors import DataError
from miaobi.core.types import Record
from miaobi.models.common.picture_codec import PictureCodec
from miaobi.models.style.schema import Config

if TYPE_CHECKING:
    from numpy.random import Generator

    from miaobi.core.protocols import Batch


class StyleCodec:
    """`pixels` (B, 3, S, S) over the background, in [-1, 1]; `labels` (B,) the numbers of their styles. `cycle` refuses other styles."""

    def __init__(self, config: Config, styles: Sequence[str]) -> None:
        self.styles = tuple(styles)
        self.pictures = PictureCodec(config.size, 3, augmentation=config, classes=styles, field="style")

    def length(self, record: Record, /) -> int:
        """Pictures are of one size."""
        return 1

    def collate(self, records: Sequence[Record], /, *, rng: Generator | None = None) -> Batch:
        """One batch; raises `DataError` for a record without a picture or of a style that is not learned."""
        return self.pictures.collate(records, rng=rng)


def styles_of(records: Sequence[Record], wanted: Sequence[str]) -> tuple[str, ...]:
    """The styles to learn, in the order of their numbers.

    Raises:
        DataError: no record has a style, or none has one of those that are wanted.
    """
    there = dict.fromkeys(str(record.meta["style"]) for record in records if record.meta.get("style"))
    if not there:
        raise DataError("none of the records has meta 'style', so there is no style to learn")
    for name in wanted:
        if name not in there:
            raise DataError("no record is of the style '{style}'. Styles of the data: {known}", style=name, known=", ".join(sorted(there)))
    return tuple(dict.fromkeys(wanted)) or tuple(sorted(there))
