"""Where a verb's words go: results to stdout, news and progress to stderr; silent, or machine-readable, when asked."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from miaobi.core.language import tr


class Tick(Protocol):
    """Told how far a phase is; `total` is None when it is not known, `detail` stands behind the bar."""

    def __call__(self, phase: str, done: int, total: int | None, detail: str = "") -> None:
        """Draw it."""
        ...


class Output:
    """The two streams of one command. `json` prints the result as JSON; `quiet` prints nothing but the result."""

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet

    @property
    def live(self) -> bool:
        """Whether a person watches stdout, so that text may appear as it is written."""
        return sys.stdout.isatty() and not self.json

    def result(self, value: Mapping[str, Any], text: str) -> None:
        """Print the result: `value` as JSON when that was asked for, else `text`."""
        print(to_json(value) if self.json else text, flush=True)  # before any news: the two streams may go to one place

    def news(self, template: str, /, **values: object) -> None:
        """A line for the person at work, on stderr; nothing when quiet or when a program listens."""
        if not self.quiet and not self.json:
            print(tr(template, **values), file=sys.stderr, flush=True)

    def error(self, message: str, *, kind: str, exit_code: int) -> None:
        """An error on stderr, as JSON when that was asked for."""
        with contextlib.suppress(BrokenPipeError):
            if self.json:
                print(to_json({"error": {"kind": kind, "message": message, "exit_code": exit_code}}), file=sys.stderr)
            else:
                print(f"miaobi: {message}", file=sys.stderr)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Tick]:
        """A callable that draws one bar a phase with the time left; it does nothing when nobody watches stderr."""
        if self.quiet or self.json or not sys.stderr.isatty():
            yield lambda phase, done, total, detail="": None
            return
        with _bars() as tick:
            yield tick


@contextlib.contextmanager
def _bars() -> Iterator[Tick]:
    """One bar a phase, each on a line of its own that stays when the phase is over."""
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def tick(phase: str, done: int, total: int | None, detail: str = "") -> None:
        if phase not in bars:
            for bar in bars.values():
                bar.close()
            bars[phase] = tqdm(desc=tr(phase), total=total, bar_format=_KNOWN if total else _UNKNOWN, dynamic_ncols=True, mininterval=0.2)
        bar = bars[phase]
        bar.total = total
        bar.set_postfix_str(detail, refresh=False)
        bar.update(done - bar.n)

    try:
        yield tick
    finally:
        for bar in bars.values():
            bar.close()


_KNOWN = "{desc}  {bar:30}  {n:,}/{total:,}  {elapsed} < {remaining}{postfix}"
_UNKNOWN = "{desc}  {n:,}  {elapsed}{postfix}"


def to_json(value: object) -> str:
    """Readable JSON of plain values, paths, mappings and sets."""
    import json

    return json.dumps(value, ensure_ascii=False, indent=2, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset | tuple):
        return sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)
    raise TypeError(f"{type(value).__name__} has no JSON")


def table(rows: Sequence[tuple[str, ...]], *, indent: str = "") -> str:
    """Rows as aligned columns; Chinese letters count two."""
    from miaobi.cli.parser import width

    widths = [max((width(row[column]) for row in rows), default=0) for column in range(max(map(len, rows), default=0))]
    lines = ("  ".join(cell + " " * (size - width(cell)) for cell, size in zip(row, widths)) for row in rows)
    return "\n".join(indent + line.rstrip() for line in lines)
