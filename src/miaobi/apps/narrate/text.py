"""A text file as headings and paragraphs: what Markdown and HTML add is taken away, lines that were cut at a margin are joined again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path

from miaobi.core.errors import DataError, UsageError
from miaobi.data.readers.encoding import whole
from miaobi.data.subtitles import width_of

LARGEST = 16 << 20  # bytes of a text: weeks of speech
WRAPPED = (40, 120)  # columns of a margin at which lines are cut by hand or by a program
LONGEST = 60  # characters of a heading
STANZA = 8  # lines between two empty ones, on average; where there are more, each is a paragraph
FORCED = 0.8  # the share of a paragraph's lines that must fill the margin
_FRONT_MATTER = re.compile(r"\A---\n.*?^---\n", re.DOTALL | re.MULTILINE)
_NUMERAL = "零〇一二三四五六七八九十百千两0-9０-９"
_MARKDOWN_HEADING = re.compile(r"^#{1,6}[ \t]+(.*?)[ \t#]*$")
_UNDERLINED = re.compile(r"^(=+|-{3,})\s*$")
_CHINESE_HEADING = re.compile(
    rf"^(?:(?:第[{_NUMERAL}]+[章回节節卷部篇集幕话話]|卷[{_NUMERAL}]+)(?:[\s：:、·.—-].{{0,40}}|[^。！？；，,.!?;]{{0,20}})"
    r"|[序引][言章子]?|前言|楔子|尾声|后记|附录|番外)$"
)
_ENGLISH_HEADING = re.compile(
    r"^(?:(?:chapter|book|part|act|scene|canto|section|letter|volume)\s+(?:[ivxlcdm]+|\d+|[a-z]+(?:-[a-z]+)?)(?:[.:—–-].{0,60})?"
    r"|prologue|epilogue|preface|introduction|foreword|afterword|appendix|conclusion)\.?$",
    re.IGNORECASE,
)
_NUMBER_WORD = re.compile(
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif)ty"
    "|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last"
)


@dataclass(frozen=True, slots=True)
class Block:
    """A heading or a paragraph, in one line; `ends` tells whether a paragraph is over with it (the lines of a poem are not)."""

    text: str
    heading: bool = False
    ends: bool = True


def read(path: Path) -> list[Block]:
    """The blocks of a text file that hold anything to read.

    Raises:
        UsageError: no such file, or nothing in it to read.
        DataError: no text, or too much of it.
    """
    if not path.is_file():
        raise UsageError("there is no file at {path}", path=path)
    if path.stat().st_size > LARGEST:
        raise DataError("{path} has more than {most:,} bytes; divide it", path=path, most=LARGEST)
    suffix = path.suffix.lower()
    if suffix in (".html", ".htm"):
        from miaobi.data.readers.html import page_encoding, page_text

        text = page_text(whole(path, page_encoding(path)))[1]
    else:
        text = whole(path)
    found = [block for block in blocks(text, markdown=suffix in (".md", ".markdown")) if any(map(str.isalnum, block.text))]
    if not found:
        raise UsageError("there is nothing in {path} to read", path=path)
    return found


def blocks(text: str, *, markdown: bool = False) -> Iterator[Block]:
    """The headings and paragraphs of a text; front matter is none of it."""
    body = _FRONT_MATTER.sub("", text.replace("\r\n", "\n").removeprefix("\ufeff"))
    if markdown:
        body = _plain(body)
    margin = _margin(body)
    stretches = [stretch.strip("\n").split("\n") for stretch in re.split(r"\n[ \t\u3000]*\n", body)]
    airy = sum(map(len, stretches)) <= STANZA * len(stretches)
    for lines in stretches:
        yield from _blocks([line.strip() for line in lines], margin, airy=airy)


def _blocks(lines: Sequence[str], margin: int, *, airy: bool) -> Iterator[Block]:
    """What stands between two empty lines; `airy` tells whether these part the paragraphs of the text, or single lines do."""
    held: list[str] = []
    headings = _headings(lines)
    for number, (line, heading) in enumerate(zip(lines, headings)):
        if _UNDERLINED.match(line):
            continue
        if heading:
            yield from _paragraphs(held, margin, airy=airy)
            held = []
            yield Block(heading, heading=True)
        elif line and not (number and headings[number - 1].endswith(f" {line}")):  # else it is the heading's second line
            held.append(line)
    yield from _paragraphs(held, margin, airy=airy)


def _headings(lines: Sequence[str]) -> list[str]:
    """For every line the words of the heading that it is; empty for other lines, and for those of a table of contents."""
    numbered = [_is_numbered(line) for line in lines]
    found = []
    for number, (line, following) in enumerate(zip(lines, [*lines[1:], ""])):
        signed = _MARKDOWN_HEADING.match(line)
        run = len(list(takewhile(bool, numbered[number:]))) + len(list(takewhile(bool, reversed(numbered[:number]))))
        if signed:
            found.append(signed[1])
        elif line and len(line) <= LONGEST and _UNDERLINED.match(following):
            found.append(line)
        elif numbered[number] and run <= 2:
            titled = len(lines) == 2 and number == 0 and following and not numbered[1] and len(following) <= LONGEST
            found.append(f"{line} {following}" if titled else line)
        else:
            found.append("")
    return found


def _is_numbered(line: str) -> bool:
    """第三回, Chapter XII and the like, by themselves in a line."""
    if _CHINESE_HEADING.match(line):
        return True
    if not _ENGLISH_HEADING.match(line):
        return False
    word = "".join(line.split()[1:2]).rstrip(".:—–-").casefold()
    return not word.isalpha() or re.fullmatch("[ivxlcdm]+", word) is not None or _NUMBER_WORD.fullmatch(word.split("-")[0]) is not None


def _paragraphs(lines: Sequence[str], margin: int, *, airy: bool) -> Iterator[Block]:
    """Lines as one paragraph where a margin cut them, else each for itself."""
    if len(lines) < 2:
        yield from map(Block, lines)
        return
    forced = [margin and width_of(line) + _gap(line, after) + width_of(_first_word(after)) > margin for line, after in pairwise(lines)]
    if sum(map(bool, forced)) >= FORCED * len(forced):
        whole = lines[0]
        for before, line in pairwise(lines):
            cut = re.search(r"[a-z]-$", whole) and line[:1].islower()  # a word that was parted
            whole = whole[:-1] + line if cut else whole + " " * _gap(before, line) + line
        yield Block(whole)
        return
    for number, line in enumerate(lines, 1):
        yield Block(line, ends=not airy or number == len(lines))


def _margin(text: str) -> int:
    """The width at which lines seem to be cut; 0 for a text whose paragraphs are lines."""
    widths = sorted(width_of(line.rstrip()) for line in text.split("\n") if line.strip())
    widest = widths[int(0.95 * (len(widths) - 1))] if widths else 0
    return widest if WRAPPED[0] <= widest <= WRAPPED[1] else 0


def _gap(before: str, after: str) -> int:
    """How many spaces stand between two lines that are joined: none in Chinese."""
    return int(width_of(before[-1:]) == 1 and width_of(after[:1]) == 1)


def _first_word(line: str) -> str:
    """What would have had to fit at the end of the line before."""
    return line[:1] if width_of(line[:1]) == 2 else line.split(" ", 1)[0]


_SIGNS: Sequence[tuple[str, str]] = (
    (r"^(```|~~~).*?^\1[ \t]*$", ""),  # code
    (r"<!--.*?-->", ""),
    (r"!\[([^\]]*)\]\([^)]*\)", r"\1"),
    (r"\[([^\]]+)\](?:\([^)]*\)|\[[^\]]*\])", r"\1"),
    (r"\[\^[^\]]+\]:?", ""),
    (r"^[ \t]*\[[^\]]+\]:[ \t]+\S+.*$", ""),
    (r"</?[a-zA-Z][^<>]*>", ""),
    (r"^[ \t]*\|?[ \t]*:?-{3,}:?[ \t]*(?:\|[ \t]*:?-{3,}:?[ \t]*)+\|?[ \t]*$", ""),  # the line below a table's head
    (r"^[ \t]*(?:(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|(?:-[ \t]+){2,}-[ \t]*)$", ""),
    (r"^[ \t]*>[ \t]?", ""),
    (r"^[ \t]*[-*+][ \t]+(?:\[[ xX]\][ \t]+)?", ""),
    (r"(\*\*|__|~~)(?=\S)(.+?)(?<=\S)\1", r"\2"),
    (r"(?<![\w*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\w*])", r"\1"),
    (r"(?<![\w_])_(?=\S)([^_\n]+?)(?<=\S)_(?![\w_])", r"\1"),
    (r"`+([^`\n]+)`+", r"\1"),
)


def _plain(text: str) -> str:
    """Markdown without its signs, but for those of headings; a table is read row by row."""
    for pattern, instead in _SIGNS:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE | (re.DOTALL if "```" in pattern or "<!--" in pattern else 0))
    return re.sub(r"^[ \t]*\|(.*)\|[ \t]*$", lambda row: ", ".join(cell.strip() for cell in row[1].split("|")), text, flags=re.MULTILINE)
