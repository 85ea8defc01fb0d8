"""`--keep`: what a verb makes goes to the library, too, each content as soon as it is whole, so that Ctrl-C loses none."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from miaobi.cli.parser import Parser
from miaobi.core.language import tr
from miaobi.core.types import Content

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output
    from miaobi.core.types import Chunk
    from miaobi.library.store import Library


def keep_arguments(parser: Parser) -> None:
    """`--keep`, and `--library`, which says where."""
    from miaobi.cli.jobs import library_argument

    parser.add_argument("--keep", action="store_true", help=tr("keep what is made in the library"))
    library_argument(parser)


class Keeping:
    """The library that contents go to, or none. `ids` are those of what was kept, in the order in which it was made."""

    def __init__(self, library: Library | None) -> None:
        self.library = library
        self.ids: list[str] = []

    @classmethod
    @contextmanager
    def at(cls, arguments: argparse.Namespace, output: Output) -> Iterator[Self]:
        """The library that the arguments name, opened before anything is made; at the end a line says what was kept, after Ctrl-C too."""
        if not arguments.keep:
            yield cls(None)
            return
        from miaobi.library.store import Library

        keeping = cls(Library.open(arguments.library))
        try:
            yield keeping
        finally:
            assert keeping.library is not None
            keeping.library.close()
            if keeping.ids:
                output.news("kept in the library: {ids}", ids=", ".join(keeping.ids))

    def add(self, content: Content) -> None:
        """One of an app's contents, unless it is only another form of one that is kept."""
        from miaobi import api

        for whole in api.whole([content]) if self.library is not None else ():
            assert self.library is not None
            self.ids.append(self.library.keep(whole, origin="create"))

    def add_file(self, path: Path, *, origin: str) -> None:
        """What an app wrote, if it is a film or a sound with a label."""
        from miaobi import api

        for content in api.written(path) if self.library is not None else ():
            assert self.library is not None
            self.ids.append(self.library.keep(content, origin=origin))

    def each(self, chunks: Iterator[Chunk | Content]) -> Iterator[Chunk | Content]:
        """The same chunks; a content is kept before it is handed on. Closing the chunks is left to the caller."""
        for chunk in chunks:
            if self.library is not None and isinstance(chunk, Content):
                self.ids.append(self.library.keep(chunk, origin="cli"))
            yield chunk
