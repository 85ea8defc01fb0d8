"""argparse in the house's manners: no abbreviations, an unknown option named with the nearest known one, errors as `UsageError`."""

from __future__ import annotations

import argparse
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from miaobi.core.errors import UsageError, unknown
from miaobi.core.language import tr


def width(text: str) -> int:
    """Columns that `text` takes in a terminal: Chinese letters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def wrap(text: str, columns: int) -> list[str]:
    """Lines of at most `columns` columns, broken at spaces and between Chinese letters."""
    lines, line = [], ""
    for word in _words(text):
        if line and width(line + word.rstrip()) > columns:
            lines.append(line.rstrip())
            line = ""
        line += word
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


def _words(text: str) -> Iterable[str]:
    """Pieces that a line may end after: words with their space, and single wide letters with the marks that follow them."""
    piece = ""
    for letter in " ".join(text.split()) + " ":
        opens = width(letter) == 2 and letter not in "，。：；、！？）》”"
        if piece and opens:
            yield piece
            piece = ""
        piece += letter
        if letter == " ":
            yield piece
            piece = ""


class Formatter(argparse.HelpFormatter):
    """Help that wraps by columns, so that Chinese lines fit too, and keeps the line breaks of an epilog."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=min(100, shutil.get_terminal_size().columns - 2))

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrap(text, width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for paragraph in text.split("\n") for line in _fill(paragraph, width - len(indent)))


def _fill(paragraph: str, columns: int) -> list[str]:
    """A paragraph's lines; a table row (`  name  text`) keeps its column."""
    name, gap, text = paragraph.lstrip().partition("  ")
    if not paragraph.startswith("  ") or not gap:
        return wrap(paragraph, columns)
    column = len(paragraph) - len(text.lstrip())
    first, *others = wrap(text, columns - column) or [""]
    return [f"  {name}".ljust(column) + first, *(" " * column + line for line in others)]


class Parser(argparse.ArgumentParser):
    """An argument parser that raises `UsageError` instead of ending the process."""

    def __init__(self, *, prog: str, usage: str | None = None, description: str | None = None, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=epilog,
            formatter_class=Formatter,
            allow_abbrev=False,
            add_help=False,
        )
        self.add_argument("-h", "--help", action="help", help=tr("show this help and exit"))

    def error(self, message: str) -> NoReturn:
        """Called by argparse with an (already translated) message."""
        raise UsageError("{message}. See: {program} --help", message=message, program=self.prog)

    def parse_args(self, words: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Like argparse's, but words and options may be mixed, and an unknown option is named with the nearest known one."""
        found, extra = self.parse_known_intermixed_args(words, namespace)
        for word in extra:
            if word.startswith("-"):
                raise unknown("option", word.partition("=")[0], self.option_names())
        if extra:
            raise UsageError("one word too many: '{word}'. See: {program} --help", word=extra[0], program=self.prog)
        return found

    def short_usage(self) -> str:
        """`miaobi verb WHAT [OPTION ...]`: the options are listed below it anyway."""
        places = [action for action in self._actions if not action.option_strings]
        words = [f"[{action.metavar}]" if action.nargs in ("?", "*") else str(action.metavar) for action in places]
        return " ".join([self.prog, *words, "[OPTION ...]"])

    def option(self, name: str) -> argparse.Action | None:
        """The action behind `--name`, if there is one."""
        return next((action for action in self._actions if name in action.option_strings), None)

    def option_names(self) -> list[str]:
        """Every `--option` of this parser, in the order of the help."""
        return [name for action in self._actions for name in action.option_strings[-1:]]


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """An argument type: an integer of `low` to `high`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(
                tr("'{text}' is not a whole number from {low} to {high}", text=text, low=low, high=high).replace("%", "%%")
            )
        return number

    return parse
