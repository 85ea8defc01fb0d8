"""Where generated contents are written: the names of their files, refused before anything is generated when they cannot be."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from miaobi.core.errors import MiaobiError, UsageError, unknown

CONTACT = "contact.png"
LONGEST = 40  # letters of a prompt in a file's name


class Texts:
    """Where `--out` says that texts go; nowhere without it, since they are printed."""

    def __init__(self, out: str | None) -> None:
        self.out = out
        self.folder = _is_folder(out)
        if out and not self.folder:
            from miaobi.trust.formats import FORMATS

            _check_suffix(out, FORMATS)

    def paths(self, count: int) -> list[Path]:
        """One path a content: `poem.md`, or `poem-1.md`, `poem-2.md`, … when there are several."""
        if not self.out:
            return []
        if self.folder:
            return [Path(self.out) / f"{number}.md" for number in range(1, count + 1)]
        return _numbered(Path(self.out), count)


class Files:
    """Where `count` pictures, sounds, films or scores go: the file that `--out` names, the folder, or, without it, files of their own name.

    A file that was named has the format of its suffix, one of `suffixes`; the others have that of what was made.
    """

    def __init__(self, out: str | None, *, count: int, name: str, suffixes: Mapping[str, str], contact: bool) -> None:
        self.contact: Path | None = None
        self._suffixes = suffixes
        usual = next(iter(suffixes))
        self.named = bool(out) and not _is_folder(out)
        if out and _is_folder(out):
            width = max(2, len(str(count)))
            self.paths = [Path(out) / f"{number:0{width}}{usual}" for number in range(1, count + 1)]
            self.contact = Path(out) / CONTACT if contact and count > 1 else None
        elif out:
            _check_suffix(out, suffixes)
            self.paths = _numbered(Path(out), count)
        else:
            self.paths = self._free(name, usual, count)
        self._check()

    def path(self, number: int, mime: str) -> Path:
        """Where number `number`, counted from 0, of that format is written."""
        path = self.paths[number]
        return (
            path
            if self.named
            else path.with_suffix(next((suffix for suffix, known in self._suffixes.items() if known == mime), path.suffix))
        )

    def _check(self) -> None:
        """Media take long to make, so what would fail at writing fails now; and none is written over another."""
        for path in [*self.paths, *([self.contact] if self.contact else [])]:
            taken = next((one for one in ([path] if self.named else self._formats(path)) if one.exists()), None)
            if taken:
                raise UsageError("{path} exists already; choose another name, or remove it", path=taken)
        above = next(folder for folder in self.paths[0].absolute().parents if folder.exists())
        if not above.is_dir():
            raise MiaobiError("{path} cannot be written: a file is where a folder should be, or the reverse", path=self.paths[0])
        if not os.access(above, os.W_OK):
            raise MiaobiError("no permission to write {path}. Choose another folder or mend its permissions", path=self.paths[0])

    def _free(self, name: str, usual: str, count: int) -> list[Path]:
        """Names in the working folder that are not taken."""
        for attempt in itertools.count(1):
            paths = _numbered(Path(f"{name}{usual}" if attempt == 1 else f"{name}.{attempt}{usual}"), count)
            if not any(one.exists() for path in paths for one in self._formats(path)):
                return list(paths)
        raise AssertionError("there is always a free name")

    def _formats(self, path: Path) -> list[Path]:
        """The file under the suffix of every format."""
        return [path.with_suffix(suffix) for suffix in self._suffixes]


def picture_name(prompt: str, model: str, seed: int) -> str:
    """`一只猫-7`: what the picture shows, or else who made it, and the seed."""
    words = "".join(letter if letter.isalnum() else " " for letter in prompt).split()
    return f"{'-'.join(words)[:LONGEST].strip('-') or model}-{seed}"


def _is_folder(out: str | None) -> bool:
    return bool(out) and (str(out).endswith("/") or Path(str(out)).is_dir())


def _check_suffix(out: str, known: Mapping[str, Any]) -> None:
    suffix = Path(out).suffix.lower()
    if not suffix:
        raise UsageError("'{out}' has no file ending. Write {out}{usual} for a file, {out}/ for a folder", out=out, usual=next(iter(known)))
    if suffix not in known:
        raise unknown("file ending", suffix, known)


def _numbered(path: Path, count: int) -> list[Path]:
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, count + 1)]
