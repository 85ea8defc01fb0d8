"""The letters of films: the font that comes along, then what the system has for letters that it lacks.

`wenkai.woff2` is LXGW WenKai (SIL Open Font License 1.1, OFL.txt), reduced to the 6,763 characters of GB 2312, those of classical verse and
the Latin letters, so that the same timeline gives the same pixels on every machine. Any other letter is taken from the first font of the
system that has it; a letter that no font has is reported, and drawn as an empty box.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageFont

from miaobi.core.errors import UsageError, unknown

OWN = Path(__file__).with_name("wenkai.woff2")
SUFFIXES = frozenset({".ttf", ".otf", ".ttc", ".otc", ".woff", ".woff2"})
FIRST = (
    "notosanscjk",
    "sourcehansans",
    "notosanssc",
    "pingfang",
    "msyh",
    "wqy-microhei",
    "wqy-zenhei",
    "simhei",
    "hiragino",
    "dejavusans.",
)
MOST = 400  # fonts that are looked through for a letter
ABSENT = "\U0010fffd"  # a letter that no font has: it shows what a font draws in place of one


@dataclass(frozen=True, slots=True)
class Fonts:
    """The fonts that letters are taken from, in order."""

    paths: tuple[Path, ...]

    @classmethod
    def named(cls, name: str = "") -> Fonts:
        """The font that a person names (a file, or part of the name of an installed one), then our own.

        Raises:
            UsageError: there is none of that name, or the file is no font.
        """
        return cls(((_found(name),) if name else ()) + (OWN,))

    def font(self, letter: str, size: int) -> ImageFont.FreeTypeFont:
        """The first font with the letter; our own where none has it."""
        for path in (*self.paths, *_installed()):
            opened = face(path, size)
            if opened is not None and _has(path, letter):
                return opened
        return self.main(size)

    def main(self, size: int) -> ImageFont.FreeTypeFont:
        """The font whose measures set the lines.

        Raises:
            UsageError: it cannot be opened.
        """
        opened = face(self.paths[0], size)
        if opened is None:
            raise UsageError("the font {path} cannot be opened. Name another with `font:` in the timeline", path=self.paths[0])
        return opened

    def missing(self, text: str) -> str:
        """The letters that no font has."""
        known = (*self.paths, *_installed())
        return "".join(sorted({letter for letter in text if not letter.isspace() and not any(_has(path, letter) for path in known)}))


@functools.lru_cache(maxsize=256)
def face(path: Path, size: int) -> ImageFont.FreeTypeFont | None:
    """A font at a size in pixels; None where it cannot be opened. The basic layout gives the same pixels with and without libraqm."""
    try:
        return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        return None


@functools.lru_cache(maxsize=100_000)
def _has(path: Path, letter: str) -> bool:
    """Whether a font draws the letter as anything but its sign for a missing one."""
    opened = face(path, 24)
    if opened is None:
        return False
    return letter.isspace() or _drawn(opened, letter) != _drawn(opened, ABSENT)


def _drawn(font: ImageFont.FreeTypeFont, letter: str) -> tuple[tuple[int, int], float, bytes]:
    mask = font.getmask(letter)
    return mask.size, font.getlength(letter), bytes(mask)


@functools.cache
def _installed() -> tuple[Path, ...]:
    """Fonts of the system, those that are known to have many letters first; always in the same order."""
    found = {path for folder in _folders() if folder.is_dir() for path in _fonts_in(folder)}
    return tuple(sorted(found, key=lambda path: (_rank(path), path.name.lower(), str(path)))[:MOST])


def _fonts_in(folder: Path) -> Iterable[Path]:
    return (Path(top) / name for top, _, names in os.walk(folder) for name in names if Path(name).suffix.lower() in SUFFIXES)


def _rank(path: Path) -> int:
    name = path.name.lower()
    return next((number for number, start in enumerate(FIRST) if start in name), len(FIRST))


def _folders() -> Sequence[Path]:
    home = Path.home()
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts", home / "AppData/Local/Microsoft/Windows/Fonts"]
    if sys.platform == "darwin":
        return [home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts")]
    return [home / ".fonts", home / ".local/share/fonts", Path("/usr/local/share/fonts"), Path("/usr/share/fonts")]


def _found(name: str) -> Path:
    """The font that a name means."""
    path = Path(name)
    if path.suffix.lower() in SUFFIXES and path.is_file():
        if face(path, 24) is None:
            raise UsageError("{path} is no font that can be opened", path=path)
        return path
    wanted = name.lower().replace(" ", "")
    for installed in _installed():
        if wanted in installed.stem.lower().replace(" ", "") and face(installed, 24) is not None:
            return installed
    raise unknown("font", name, [installed.stem for installed in _installed()][:40])
