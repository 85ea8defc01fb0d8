"""Readable text from HTML with the standard library: block elements break lines; scripts, styles, menus and forms are left out."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from miaobi.data.readers.encoding import encoding_of, open_bytes

_SILENT_TAGS = "script style noscript template svg math nav header footer aside form button select iframe object head"
_BLOCK_TAGS = """
address article blockquote br dd div dl dt fieldset figcaption figure h1 h2 h3 h4 h5 h6 hr li main ol p pre section table td th tr ul
"""
_SILENT, _BLOCK = frozenset(_SILENT_TAGS.split()), frozenset(_BLOCK_TAGS.split())
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]+)", re.IGNORECASE)


def page_encoding(path: Path) -> str:
    """As the page says in its `<meta charset>`, else detected. `gb2312` and `gbk` mean GB18030, as in browsers."""
    with open_bytes(path) as stream:
        head = stream.read(4096)
    match = None if head.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")) else _CHARSET.search(head)
    name = match[1].decode("ascii").lower() if match else ""
    if name in ("gb2312", "gbk", "x-gbk"):
        return "gb18030"
    return encoding_of(path, name if name and _is_known(name) else "")


def _is_known(name: str) -> bool:
    import codecs

    try:
        codecs.lookup(name)
    except LookupError:
        return False
    return True


class _Text(HTMLParser):
    """Collects text outside silent elements."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.title: list[str] = []
        self.silent: list[str] = []
        self.in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title":
            self.in_title = not self.title
        elif tag in _SILENT:
            self.silent.append(tag)
        elif tag == "body":
            self.silent.clear()  # an unclosed <head> must not swallow the page
        if tag in _BLOCK:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self.in_title = False
        elif tag in self.silent:
            while self.silent and self.silent.pop() != tag:
                pass
        if tag in _BLOCK:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if self.in_title:
            self.title.append(data)
        elif not self.silent:
            self.pieces.append(data)


def page_text(page: str) -> tuple[str, str]:
    """Title and text of a page; lines are trimmed and empty ones left out."""
    parser = _Text()
    parser.feed(page)
    parser.close()
    lines = (re.sub(r"[^\S\n]+", " ", line).strip() for line in "".join(parser.pieces).splitlines())
    return " ".join("".join(parser.title).split()), "\n".join(line for line in lines if line)
