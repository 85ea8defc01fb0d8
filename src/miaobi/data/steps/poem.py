"""`poem`: rows of the chinese-poetry collection become clean verse, one sentence a line.

The collection holds more than poems: editors' notes in brackets, gaps (□), descriptions of characters that no font had ({汸番}), characters
that an old encoding destroyed (荼コ), lists of lost poems (存目), stage directions. What can be removed without guessing is removed; every
other such poem is dropped with a reason, because a model learns a gap as readily as a rhyme.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from miaobi.core.schema import Schema
from miaobi.core.types import Record
from miaobi.data.records import Dropped
from miaobi.data.steps import Step, register
from miaobi.data.steps.qu_tunes import qu_tune


class Poem(Schema):
    """Clean verse from rows with `text`, `title`, `author` and `tune`; the source's meta gives `era` and `kind`."""

    kind: Literal["shi", "ci", "qu", ""] = ""
    """When the source's meta does not say."""
    most: int = Field(200, ge=1)
    """Longer poems, in characters without punctuation, are dropped."""
    least: int = Field(10, ge=1)
    """Shorter ones too."""
    fragments: bool = False
    """Keep single lines of lost poems (entitled 句)."""


HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_NOT_VERSE = re.compile(f"[^{HAN}，。、\n]")
_GAP = re.compile(r"[□■○●◇︽﹀]|\.{2,}|…|\?")
_NOTE = re.compile(r"（[^（）]*）")
_LOST = re.compile(r"[缺阙闕残殘佚脱]")
_READING = re.compile(f"\\[([{HAN}]{{1,2}})\\]|〔([{HAN}]{{1,2}})〕")
_HEADING = re.compile(r"〔[^〔〕]*〕|〖[^〖〗]*〗")
_QUOTES = re.compile('[「」『』《》〈〉“”‘’"·•]')
_FULL_WIDTH = str.maketrans({"(": "（", ")": "）", ",": "，", ";": "；", ":": "：", "!": "！", "．": "。", ".": "。", "［": "[", "］": "]"})
_MARKS = str.maketrans({"！": "。", "？": "。", "；": "，", "：": "，", "—": "", "－": "", "\u3000": "□", "\t": "", " ": "", "\r": ""})
_ANY_BRACKETS = re.compile(r"（[^（）]*）|\([^()]*\)|\[[^\[\]]*\]|〔[^〔〕]*〕|〖[^〖〗]*〗")
_NOT_TITLE = re.compile(f"[^{HAN}，。、・·/A-Za-z0-9\\s]")
_FRAGMENT = re.compile(r"(断|斷|残|殘|逸|佚)?句([\s其].*)?$")


def build_poem(options: Poem) -> Step:
    """Notes and gaps, then punctuation, then lines, then length."""

    def step(record: Record) -> Record | Dropped:
        kind = str(record.meta.get("kind") or options.kind or ("ci" if record.meta.get("tune") else "shi"))
        title = _one_line(record.meta.get("title"))
        if not options.fragments and _FRAGMENT.match(title):
            return Dropped("fragment", title)
        if title.startswith("存目"):
            return Dropped("listed_only", title)
        text = strip_notes(record.text, kind)
        if isinstance(text, Dropped):
            return text
        lines = verse_lines(text)
        num_characters = sum(len(line) - line.count("，") - line.count("、") - 1 for line in lines)
        if not num_characters:
            return Dropped("empty")
        if num_characters > options.most:
            return Dropped("too_long", str(num_characters))
        if num_characters < options.least:
            return Dropped("too_short", str(num_characters))
        return dataclasses.replace(record, parts=("\n".join(lines),), meta=_meta(record.meta, kind, title))

    return step


def strip_notes(text: str, kind: str) -> str | Dropped:
    """Verse in Han characters and ，。、 alone, or why that cannot be had without guessing."""
    if not _NOT_VERSE.search(text):
        return text  # most poems
    text = text.translate(_FULL_WIDTH)
    if "（" in text or "）" in text:
        if kind == "qu":  # (旦云)羞人答答的: what follows a stage direction is speech, not song
            return Dropped("stage_direction", _around(text, text.index("（") if "（" in text else 0))
        stripped = _strip_brackets(text)
        if isinstance(stripped, Dropped):
            return stripped
        text = stripped
    text = _READING.sub(lambda match: match[1] or match[2], text)  # 沾[襟]: a character taken from another edition
    text = _HEADING.sub("", text)  # 〔黄鍾爲角〕: the mode that it is sung in
    if hole := _question_gap(text, kind):
        return Dropped("gap", hole)
    if gap := _GAP.search(text):
        return Dropped("gap", _around(text, gap.start()))
    text = _QUOTES.sub("", text).translate(_MARKS)
    if "□" in text:  # a full-width space stands for a lost character
        return Dropped("gap", _around(text, text.index("□")))
    if "{" in text or "<" in text:
        return Dropped("described_character", _around(text, max(text.find("{"), text.find("<"))))
    if strange := _NOT_VERSE.search(text):
        return Dropped("foreign_character", _around(text, strange.start()))
    return text


def _strip_brackets(text: str) -> str | Dropped:
    """`text` without its notes; notes may hold notes. A note that says that something is lost is a gap."""
    while True:
        notes = _NOTE.findall(text)
        if not notes:
            break
        for note in notes:
            if len(note) <= 8 and _LOST.search(note):
                return Dropped("gap", note)
        text = _NOTE.sub("", text)
    if "（" in text or "）" in text:
        return Dropped("unbalanced_brackets", _around(text, max(text.find("（"), text.find("）"))))
    return text


def _question_gap(text: str, kind: str) -> str:
    """A ？ inside a line of shi that stands for a character (到？茶商期又失), seen by the length of the line; else ""."""
    if kind != "shi" or "？" not in text:
        return ""
    lengths = Counter(len(part) for part in re.split(r"[，。；！\n]+", text) if part and "？" not in part)
    if not lengths:
        return ""
    usual = lengths.most_common(1)[0][0]
    for part in re.split(r"[，。；！\n]+", text):
        if "？" in part.rstrip("？」』") and len(part) == usual:
            return part
    return ""


def verse_lines(text: str) -> list[str]:
    """One sentence a line. Runs of marks become the strongest of them; a mark at a line's start belongs to nothing and goes."""
    lines = []
    text = re.sub(r"(?<=[，、])\n|\n(?=[，、。])", "", text)  # a sentence that was broken over two lines
    for sentence in re.split(r"。|\n", text):
        sentence = re.sub(r"[，、]*，[，、]*", "，", sentence).strip("，、")
        if sentence:
            lines.append(sentence + "。")
    return lines


def _meta(meta: Mapping[str, Any], kind: str, title: str) -> dict[str, Any]:
    """The meta that models use, in a fixed order, and nothing else."""
    tune = _one_line(meta.get("tune"))
    if kind == "qu":
        title, tune = qu_tune(title)
    title = title or tune
    values = {"title": title, "author": _one_line(meta.get("author")), "era": meta.get("era", ""), "kind": kind}
    return {**values, "tune": tune} if kind != "shi" else values


def _one_line(value: object) -> str:
    """A title or a name without notes, line breaks and doubled spaces."""
    text = value if isinstance(value, str) else ""
    return " ".join(_NOT_TITLE.sub("", _ANY_BRACKETS.sub("", text)).split())


def _around(text: str, position: int) -> str:
    """The place in the text that a person should look at."""
    return text[max(0, position - 6) : position + 8].replace("\n", " ")


register("poem", Poem, build_poem, shorthand="kind")
