"""Steps that rewrite text: `normalise` (Unicode and spaces), `clean` (what is not text), `simplify` (traditional to simplified)."""

from __future__ import annotations

import dataclasses
import functools
import re
import unicodedata
from typing import Any, Literal

from pydantic import Field

from miaobi.core.schema import Schema
from miaobi.core.types import Record
from miaobi.data.records import Dropped
from miaobi.data.steps import Step, register


def with_text(record: Record, text: str) -> Record:
    """`record` with `text` as its only part."""
    return dataclasses.replace(record, parts=(text,))


class Normalise(Schema):
    """One way to write the same thing: Unicode form, line breaks, spaces."""

    form: Literal["NFC", "NFKC", "none"] = "NFC"
    """NFKC also turns full-width letters, digits and punctuation into plain ones."""
    spaces: bool = True
    """Runs of spaces become one; lines lose spaces at their ends; more than one empty line becomes one."""


def build_normalise(options: Normalise) -> Step:
    """Unicode form, then line breaks, then spaces."""

    def step(record: Record) -> Record:
        text = record.text
        if options.form != "none":
            text = unicodedata.normalize(options.form, text)
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
        return with_text(record, squeeze(text) if options.spaces else text)

    return step


def squeeze(text: str) -> str:
    """Single spaces, no spaces at line ends, at most one empty line in a row."""
    text = re.sub(r"[^\S\n]+", " ", text)
    text = re.sub(r" ?\n ?", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


class Clean(Schema):
    """Remove what is not text: control and zero-width characters, byte-order marks, soft hyphens; by choice links and HTML tags."""

    links: bool = False
    """Remove web addresses."""
    tags: bool = False
    """Remove HTML tags and comments."""
    replacement: Literal["keep", "drop"] = "drop"
    """What happens to a record with U+FFFD, the mark of a decoding that went wrong."""


_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]")
_LINK = re.compile(r"(?:https?://|www\.)[^\s<>\"'，。；、）】》]+")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,2000}>|<!--.*?-->", re.DOTALL)


def build_clean(options: Clean) -> Step:
    """Control characters always; tags and links when asked for; lone surrogates and U+FFFD drop the record."""

    def step(record: Record) -> Record | Dropped:
        text = _CONTROL.sub("", record.text)
        if options.replacement == "drop" and "\ufffd" in text:
            return Dropped("replacement_character")
        if options.tags:
            text = _TAG.sub(" ", text)
        if options.links:
            text = _LINK.sub(" ", text)
        return with_text(record, text.strip())

    return step


class Simplify(Schema):
    """Convert between Chinese scripts with OpenCC (`t2s`: traditional to simplified)."""

    config: Literal["t2s", "tw2s", "hk2s", "tw2sp", "s2t", "s2tw", "s2hk", "jp2t"] = "t2s"
    """From which script to which, in OpenCC's names."""
    fields: list[str] = Field(default_factory=list)
    """Fields of meta that are converted too."""


def build_simplify(options: Simplify) -> Step:
    """OpenCC over the text and the named fields."""

    def step(record: Record) -> Record:
        convert = converter(options.config).convert
        changed: dict[str, Any] = {
            name: convert(value) for name in options.fields if isinstance(value := record.meta.get(name), str) and value
        }
        return dataclasses.replace(record, parts=(convert(record.text),), meta={**record.meta, **changed})

    return step


@functools.cache
def converter(config: str) -> Any:
    """The OpenCC converter; its dictionaries load on first use."""
    import opencc

    return opencc.OpenCC(config)


register("normalise", Normalise, build_normalise, shorthand="form")
register("clean", Clean, build_clean)
register("simplify", Simplify, build_simplify, shorthand="config")
