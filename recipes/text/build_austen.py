"""Make `datasets/austen/passages.jsonl` from Jane Austen's six novels: what the recipes in recipes/text/austen learn.

The novels are in the public domain; Debian's package r-cran-janeaustenr (MIT) carries Project Gutenberg's texts of them. They lie in it as
lists of lines in R's own format, of which these forty lines read as much as is needed. A passage is as many whole sentences of a chapter as
make 300 characters; with it stand the novel and the passage before, for models that write one text from another.

    apt-get download r-cran-janeaustenr
    python recipes/text/build_austen.py r-cran-janeaustenr_*.deb datasets/austen
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

STRINGS, STRING = 16, 9  # R's types of a character vector and of one string in it
CHAPTER = re.compile(r"(chapter|volume)\s+([ivxlc]+|\d+)\b.*", re.IGNORECASE)
SENTENCE = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[\"'(]*[A-Z])")
LEAST = 300  # characters of a passage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="the .deb file, or the folder that it was unpacked into")
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as unpacked:
        if given.package.is_file():
            subprocess.run(["dpkg-deb", "-x", str(given.package), unpacked], check=True)
        root = Path(unpacked) if given.package.is_file() else given.package
        [data] = root.rglob("janeaustenr/data/Rdata.rdb")
        novels = list(vectors(data.read_bytes()))
    given.folder.mkdir(parents=True, exist_ok=True)
    rows = [row for lines in novels for row in passages(lines)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (given.folder / "passages.jsonl").write_text(text, encoding="utf-8")
    print(f"{len(rows)} passages of {len(novels)} novels")


def vectors(data: bytes) -> Iterator[list[str]]:
    """The character vectors of an .rdb file: each is four bytes of length and a zlib stream."""
    while data:
        stream = zlib.decompressobj()
        yield strings(stream.decompress(data[4:]))
        data = stream.unused_data


def strings(data: bytes) -> list[str]:
    """One serialised character vector: a header with the name of the encoding, flags, a count, and strings with flags and lengths."""

    def number(place: int) -> int:
        return int.from_bytes(data[place : place + 4], "big", signed=True)

    assert data[:2] == b"X\n", "R's binary serialisation"
    place = 14 + (4 + number(14) if number(2) == 3 else 0)
    assert data[place + 3] == STRINGS, "a character vector"
    found, count, place = [], number(place + 4), place + 8
    for _ in range(count):
        assert data[place + 3] == STRING
        length = number(place + 4)
        found.append(data[place + 8 : place + 8 + length].decode("utf-8"))
        place += 8 + length
    return found


def passages(lines: list[str]) -> Iterator[dict[str, str]]:
    """A novel's passages; none goes beyond its chapter."""
    title, before = lines[0].strip().title(), ""
    for chapter in chapters(lines):
        held: list[str] = []
        for sentence in [*sentences(chapter), ""]:
            if held and (not sentence or sum(map(len, held)) >= LEAST):
                text = " ".join(held)
                yield {"text": text, "title": title, "before": before}
                before, held = text, []
            held.append(sentence)
        before = ""


def chapters(lines: list[str]) -> Iterator[list[str]]:
    """The paragraphs between headings; what stands before the first heading is no part of the novel."""
    paragraphs: list[str] | None = None
    for paragraph in "\n".join(lines).split("\n\n"):
        text = " ".join(paragraph.split())
        if CHAPTER.fullmatch(text):
            if paragraphs:
                yield paragraphs
            paragraphs = []
        elif paragraphs is not None and text and not text.startswith("THE END"):
            paragraphs.append(text.replace("_", ""))
    if paragraphs:
        yield paragraphs


def sentences(paragraphs: list[str]) -> Iterator[str]:
    """All sentences of a chapter."""
    for paragraph in paragraphs:
        yield from SENTENCE.split(paragraph)


if __name__ == "__main__":
    main()
