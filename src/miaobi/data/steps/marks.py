"""`marks`: takes the punctuation out of a text and keeps it as tags, one for each character left: what a model learns that puts it back.

Old Chinese books have no punctuation; to part their sentences (断句) is to say after which character which mark stands.
"""

from __future__ import annotations

import dataclasses
import unicodedata

from miaobi.core.schema import Schema
from miaobi.core.types import Record
from miaobi.data.records import Dropped
from miaobi.data.steps import Step, register
from miaobi.data.steps.text import with_text

NONE = "O"  # the tag of a character that nothing follows


class Marks(Schema):
    """Punctuation becomes tags."""

    field: str = "marks"
    """The field of meta that gets the list of tags: the mark after each character, or O."""
    spaces: bool = False
    """Keep white space in the text (English); without it, line breaks and spaces go as well."""


def build_marks(options: Marks) -> Step:
    """The first of several marks counts; what stands before the first character is dropped."""

    def step(record: Record) -> Record | Dropped:
        kept: list[str] = []
        tags: list[str] = []
        for letter in record.text:
            if unicodedata.category(letter).startswith("P"):
                if tags and tags[-1] == NONE:
                    tags[-1] = letter
            elif options.spaces or not letter.isspace():
                kept.append(letter)
                tags.append(NONE)
        if not kept:
            return Dropped("nothing_but_marks")
        return dataclasses.replace(with_text(record, "".join(kept)), meta={**record.meta, options.field: tags})

    return step


register("marks", Marks, build_marks, shorthand="field")
