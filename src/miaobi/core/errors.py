"""Errors that a person reads: what is wrong, what is possible, what to do.

`MiaobiError` is for mistakes of the user or of the world (a missing file, an unknown name, a full disk) and is shown without a
traceback. Our own invariants are `assert`s and stay loud.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from miaobi.core.language import tr


class MiaobiError(Exception):
    """A mistake that the user can mend. `exit_code` is what the command line returns.

    The first argument is an English template with `{named}` fields; the catalogue of `core.language` translates it.
    """

    exit_code = 1

    def __init__(self, template: str, /, **values: object) -> None:
        super().__init__(template, values)
        self.template = template
        self.values = values

    def __str__(self) -> str:
        return tr(self.template, **self.values)


class UsageError(MiaobiError):
    """The request itself is wrong: an unknown name, option or recipe key, a contradiction, an impossible value."""

    exit_code = 2


class Unreadable(UsageError):
    """A text holds nothing that a model can say; what stands before and after it may be good."""


class DataError(MiaobiError):
    """Input data cannot be read or leaves nothing to work with."""

    exit_code = 3


class ArtifactError(MiaobiError):
    """A saved model or checkpoint is missing, damaged, unfinished or of a newer format."""

    exit_code = 4


class MissingExtra(MiaobiError):
    """A package of an optional extra is not installed; the message names the command that installs it."""

    exit_code = 5

    def __init__(self, what: str, extra: str, package: str = "") -> None:
        super().__init__(
            "{what} needs the package {package}, which the base install leaves out. Install it with: pip install 'miaobi[{extra}]'",
            what=what,
            package=package or extra,
            extra=extra,
        )


class Busy(MiaobiError):
    """Another process holds the folder."""

    exit_code = 6


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for an unknown name, with the nearest known name and the whole list.

    >>> str(unknown("family", "gna", ["gan", "ngram"]))
    "unknown family 'gna'. Did you mean 'gan'? Known: gan, ngram"
    """
    names = sorted(filter(None, known))  # an empty choice means "not chosen"
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    listed = ", ".join(names) if names else "–"
    kind = tr(kind)
    if near:
        return UsageError(
            "unknown {kind} '{name}'. Did you mean '{near}'? Known: {known}", kind=kind, name=name, near=near[0], known=listed
        )
    return UsageError("unknown {kind} '{name}'. Known: {known}", kind=kind, name=name, known=listed)
