"""MusicXML: a `<miscellaneous-field>` of the identification for each label (MusicXML 4.0); the rest of the text stays letter for letter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import unescape
from typing import BinaryIO
from xml.sax.saxutils import escape

from miaobi.trust import stored
from miaobi.trust.stored import Data
from miaobi.trust.tags import NAMES, damaged

_FIELD = r'[ \t]*<miscellaneous-field name="({names})">(.*?)</miscellaneous-field>\n?'
_BEHIND = re.compile(r"[ \t]*<(?:defaults|credit|part-list)\b")  # what may follow the identification


def read(data: Data) -> Mapping[str, Sequence[str]]:
    """The texts of the two names."""
    found: dict[str, list[str]] = {}
    for name, text in re.findall(_FIELD.format(names="|".join(NAMES)), _decoded(data), re.DOTALL):
        found.setdefault(name, []).append(unescape(text))
    return found


def write(data: Data, texts: Mapping[str, str], target: BinaryIO) -> None:
    """The fields in the miscellany that is there, or in a new one."""
    target.write(_with_fields(data, texts).encode())


def _with_fields(data: Data, texts: Mapping[str, str]) -> str:
    text = without(_decoded(data), texts)
    fields = "".join(f'<miscellaneous-field name="{name}">{escape(value)}</miscellaneous-field>\n' for name, value in texts.items())
    for closing, around in (("</miscellaneous>", "{}"), ("</identification>", "<miscellaneous>\n{}</miscellaneous>\n")):
        if closing in text:
            return text.replace(closing, around.format(fields) + closing, 1)
    place = _BEHIND.search(text)
    if place is None:
        raise damaged("no part-list")
    whole = f"<identification>\n<miscellaneous>\n{fields}</miscellaneous>\n</identification>\n"
    return text[: place.start()] + whole + text[place.start() :]


def without(text: str, names: Mapping[str, str] | Sequence[str] = NAMES) -> str:
    """The score without these fields, and without a miscellany that held nothing else."""
    text = re.sub(_FIELD.format(names="|".join(names)), "", text, flags=re.DOTALL)
    text = re.sub(r"<miscellaneous>\s*</miscellaneous>\n?", "", text)
    return re.sub(r"<identification>\s*</identification>\n?", "", text)


def _decoded(data: Data) -> str:
    try:
        return stored.whole(data).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise damaged("not UTF-8") from None
