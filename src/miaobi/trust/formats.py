"""How a text and its two labels lie in a file: pure functions from `Marked` to bytes and back, one pair for each suffix.

The text comes back exactly as it was, whatever it holds: the front matter is ours alone and first, everything after it belongs to the
text, and the visible words are one known line at the end.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from miaobi.core.types import NOTHING
from miaobi.trust import aigc

VISIBLE = {"zh": "本内容由人工智能生成", "en": "AI-generated"}
_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_OUR_LINE = re.compile(r"^(AIGC|miaobi): (\{.*\})[ \t]*\r?$", re.MULTILINE)
_DEEPEST = 32
_FIRST_BREAK = re.compile(r"\A\r?\n")
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")  # YAML would refuse these or fold them into spaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """What a labelled file holds: the text, the implicit label, our own label as plain values, and the visible words (empty: none)."""

    text: str
    implicit: Mapping[str, str] = field(default_factory=dict)
    label: Mapping[str, Any] = field(default_factory=dict)
    visible: str = ""


@dataclass(frozen=True, slots=True)
class Format:
    """A pair of functions. With `sidecar`, the file has no place for a label, which then lies in `<name>.aigc.json` beside it."""

    encode: Callable[[Marked], str]
    decode: Callable[[str], Marked]
    sidecar: bool = False


def encode_markdown(marked: Marked) -> str:
    """YAML front matter of two lines, `AIGC` and `miaobi`, whose values are JSON (so YAML too), then the text, then the visible words."""
    return f"---\nAIGC: {json_line(marked.implicit)}\nmiaobi: {json_line(marked.label)}\n---\n\n{_with_visible(marked)}"


def decode_markdown(source: str) -> Marked:
    """The labels of the first front matter block; a file without one is all text."""
    match = _FRONT_MATTER.match(source)
    values = _front_matter(match[1]) if match else {}
    implicit = aigc.parse(values.get("AIGC"))
    if match is None or (implicit is None and "miaobi" not in values):
        return _without_visible(source)
    return _without_visible(_FIRST_BREAK.sub("", source[match.end() :]), implicit=implicit, label=values.get("miaobi"))


def encode_text(marked: Marked) -> str:
    """The text and the visible words; the labels go to the sidecar."""
    return _with_visible(marked)


def decode_text(source: str) -> Marked:
    """The text without the visible words."""
    return _without_visible(source)


def encode_sidecar(marked: Marked) -> str:
    """The two labels alone, as JSON."""
    return json.dumps({"AIGC": marked.implicit, "miaobi": marked.label}, ensure_ascii=False, indent=2, default=dict) + "\n"


def decode_sidecar(source: str, text: Marked) -> Marked:
    """`text` with the labels of its sidecar."""
    values = json_mapping(source)
    return _marked(text.text, implicit=aigc.parse(values), label=values.get("miaobi"), visible=text.visible)


def encode_json(marked: Marked) -> str:
    """An object with `aigc`, `miaobi`, `notice` (the visible words) and `text`."""
    values = {"aigc": marked.implicit, "miaobi": marked.label, "notice": marked.visible, "text": marked.text}
    return json.dumps(values, ensure_ascii=False, indent=2, default=dict) + "\n"


def decode_json(source: str) -> Marked:
    """The fields that `encode_json` wrote; a file of other JSON is all text."""
    values = json_mapping(source)
    if "aigc" not in values and "AIGC" not in values:
        return Marked(text=source)
    implicit = aigc.parse(values.get("aigc", values.get("AIGC")))
    text, notice = values.get("text"), values.get("notice")
    return _marked(
        text if isinstance(text, str) else "",
        implicit=implicit,
        label=values.get("miaobi"),
        visible=notice if isinstance(notice, str) else "",
    )


def encode_html(marked: Marked) -> str:
    """A whole page: the labels in `<meta>`, the text in one `<article>` that keeps its line breaks, the visible words in a `<footer>`."""
    language = next((name for name, words in VISIBLE.items() if words == marked.visible), "en")
    # a browser reads a bare carriage return as a line feed
    text = html.escape(marked.text, quote=False).replace("\r", "&#13;")
    return (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="AIGC" content="{html.escape(json_line(marked.implicit))}">\n'
        f'<meta name="miaobi" content="{html.escape(json_line(marked.label))}">\n'
        f"<title>{html.escape(str(marked.label.get('prompt', '')) or 'miaobi')}</title>\n"
        "<style>body{max-width:40em;margin:3em auto;padding:0 1em;font:1.1em/1.8 serif}article{white-space:pre-wrap}"
        "footer{margin-top:2em;opacity:.7}</style>\n</head>\n<body>\n"
        f'<article id="miaobi-text">{text}</article>\n<footer>{html.escape(marked.visible)}</footer>\n</body>\n</html>\n'
    )


def decode_html(source: str) -> Marked:
    """The labels and the text of `encode_html`; of another page only an implicit label, if it has one."""
    page = _Page()
    page.feed(source)
    page.close()
    implicit = aigc.parse(page.metas.get("AIGC"))
    text = "".join(page.texts["article"]) if page.ours else source
    label = json_mapping(page.metas.get("miaobi", ""))
    visible = "".join(page.texts["footer"]).strip()
    return _marked(text, implicit=implicit, label=label, visible=visible)


FORMATS: Mapping[str, Format] = {
    ".md": Format(encode_markdown, decode_markdown),
    ".txt": Format(encode_text, decode_text, sidecar=True),
    ".json": Format(encode_json, decode_json),
    ".html": Format(encode_html, decode_html),
}


class _Page(HTMLParser):
    """Collects the named metas and the text of our two elements."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.metas: dict[str, str] = {}
        self.texts: dict[str, list[str]] = {"article": [], "footer": []}
        self.ours = False
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "meta" and values.get("name") in ("AIGC", "miaobi"):
            self.metas.setdefault(str(values["name"]), values.get("content") or "")
        if tag == "article" and values.get("id") == "miaobi-text":
            self.ours, self._inside = True, tag
        elif tag == "footer" and self.ours:
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside].append(data)


def _marked(text: str, *, implicit: Mapping[str, str] | None, label: object, visible: str) -> Marked:
    return Marked(text=text, implicit=implicit or NOTHING, label=label if isinstance(label, Mapping) else NOTHING, visible=visible)


def _with_visible(marked: Marked) -> str:
    return f"{marked.text}\n\n{marked.visible}\n" if marked.visible else marked.text


def _without_visible(body: str, *, implicit: Mapping[str, str] | None = None, label: object = None) -> Marked:
    """The body split into text and the visible words. Only one line goes: a text that itself ends with these words keeps its own."""
    for words in VISIBLE.values():
        for line_break in ("\n", "\r\n"):  # the second where an editor or git converted the file
            ending = f"{line_break}{line_break}{words}{line_break}"
            if body.endswith(ending):
                return _marked(body.removesuffix(ending), implicit=implicit, label=label, visible=words)
    return _marked(body, implicit=implicit, label=label, visible="")


def json_line(value: Mapping[str, Any]) -> str:
    """One line of JSON that is also a YAML flow mapping."""
    line = json.dumps(value, ensure_ascii=False, default=dict)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def json_mapping(source: str) -> dict[str, Any]:
    """The object that JSON text holds; empty where it holds none."""
    try:
        values = json.loads(source)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _front_matter(block: str) -> dict[str, Any]:
    """Our two lines as JSON (YAML 1.1 would read 1e-05 as text); otherwise, written by others or reformatted by an editor, as YAML."""
    lines = {match[1]: json_mapping(match[2]) for match in _OUR_LINE.finditer(block)}
    if len(lines) == 2 and all(lines.values()):
        return lines
    if "AIGC" not in block and "miaobi" not in block:
        return {}
    import yaml

    try:
        values = yaml.safe_load(block) if _tame(block) else {}
    except (yaml.YAMLError, ValueError, RecursionError):
        return {name: value for name, value in lines.items() if value}
    return values if isinstance(values, dict) else {}


def _tame(block: str) -> bool:
    """Whether YAML has neither aliases (a few lines can stand for a billion values) nor more nesting than a label."""
    import yaml

    starts = (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken, yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken)
    ends = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
    depth = 0
    for token in yaml.scan(block):
        depth += isinstance(token, starts) - isinstance(token, ends)
        if isinstance(token, yaml.AliasToken) or depth > _DEEPEST:
            return False
    return True
