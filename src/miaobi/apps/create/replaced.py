"""A person's own files in place of what models would make: found, read whole, and refused when they are of the wrong kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from miaobi.core.errors import DataError, UsageError, unknown

KINDS = ("poem", "picture", "music", "narration", "film")
SUFFIXES = {
    "poem": (".txt", ".md"),
    "music": (".mid", ".midi", ".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a"),
    "narration": (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a"),
    "film": (".mp4", ".webm"),
}
LONGEST_POEM = 4000  # letters


def check(replace: Mapping[str, str]) -> None:
    """Read every replacement once, before anything takes its time.

    Raises:
        UsageError: no such stage or part, no such file, or a file of another kind.
    """
    for target, file in replace.items():
        kind, dash, number = target.partition("-")
        if kind not in KINDS:
            raise unknown("stage", target, KINDS)
        if dash and (kind not in ("picture", "narration") or not number.isdecimal()):
            raise UsageError("--replace {target}: only pictures and narrations have numbers, as in picture-2", target=target)
        read(kind, Path(file), target)


def check_numbers(replace: Mapping[str, str], scenes: int) -> None:
    """Refuse a file for a scene that the poem does not have.

    Raises:
        UsageError: such a number.
    """
    known = [f"{kind}-{number}" for kind, first in (("picture", 1), ("narration", 0)) for number in range(first, scenes + 1)]
    for target, file in replace.items():
        if file and "-" in target and target not in known:
            raise UsageError(
                "--replace {target}: the poem has {count} scenes, so there are {known}", target=target, count=scenes, known=", ".join(known)
            )


def of(replace: Mapping[str, str], part: str) -> str:
    """The person's file for a part (`picture-2`): its own, else that of its stage; empty for none."""
    return replace.get(part) or replace.get(part.partition("-")[0]) or ""


def read(kind: str, path: Path, target: str) -> bytes:
    """The bytes of a replacement, decoded once to see that it is what it should be."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError("--replace {target}: there is no file at {path}", target=target, path=path) from None
    except (OSError, ValueError) as error:
        raise UsageError("--replace {target}: {path} cannot be read ({problem})", target=target, path=path, problem=error) from None
    if kind in SUFFIXES and path.suffix.lower() not in SUFFIXES[kind]:
        known = ", ".join(SUFFIXES[kind])
        raise UsageError("--replace {target}: {path} does not end in {known}", target=target, path=path, known=known)
    try:
        _decode(kind, data, path)
    except DataError as error:
        raise UsageError(
            "--replace {target}: {path} is of another kind, or damaged ({problem})", target=target, path=path, problem=error
        ) from None
    return data


def _decode(kind: str, data: bytes, path: Path) -> None:
    if kind == "poem":
        text(data)
    elif kind == "picture":
        from miaobi.data import pictures

        pictures.decode(data)
    elif kind == "film":
        from miaobi.data import videos

        videos.probe(path)
    elif path.suffix.lower() in (".mid", ".midi"):
        from miaobi.data.scores import read_midi

        read_midi(data)
    else:
        from miaobi.data import sounds

        sounds.decode(data)


def text(data: bytes) -> str:
    """A poem's text.

    Raises:
        DataError: it is no UTF-8, empty, or as long as a book.
    """
    try:
        found = data.decode("utf-8-sig").replace("\r\n", "\n").strip()
    except UnicodeDecodeError:
        raise DataError("it is not UTF-8 text") from None
    if not found or len(found) > LONGEST_POEM:
        raise DataError("a poem has 1 to {most} letters, and this has {count}", most=LONGEST_POEM, count=len(found))
    return found
