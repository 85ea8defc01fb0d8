"""`miaobi library ACTION`: what was kept, found again, judged, taken out and in."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.cli.jobs import library_argument
from miaobi.cli.parser import Parser, whole_number
from miaobi.core.errors import UsageError, unknown
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output
    from miaobi.library.meaning import Floats, Space
    from miaobi.library.store import Kept, Library, Query

ACTIONS = {  # words that each takes, and what it does
    "list": ("", "the newest contents"),
    "search": ("WORDS", "contents that hold words or phrases, or with --meaning those that mean the same"),
    "show": ("ID", "everything about a content"),
    "save": ("ID FILE", "write a content to a file, with its label"),
    "rate": ("ID 1-5", "say how good it is"),
    "choose": ("BETTER WORSE", "say which of two answers is better"),
    "edit": ("ID TEXTFILE", "keep a better version of a text; - reads it from the terminal"),
    "comment": ("ID WORDS", "say something about it"),
    "tag": ("ID TAG ...", "give it tags; one that begins with ^ is taken away"),
    "remove": ("ID ...", "forget contents"),
    "export": ("FOLDER", "write contents, files and judgements to a new folder (a backup, too)"),
    "import": ("FOLDER", "take in what export wrote"),
    "preferences": ("FOLDER", "write what was preferred as prompt, chosen, rejected"),
    "prune": ("DAYS", "forget what is older and was not judged, and files that nothing needs"),
}
_NARROWED = ("list", "search", "export", "preferences")
OPTIONS = {  # which actions heed an option
    "by": ("rate", "choose", "edit", "comment"),
    "meaning": ("search",),
    "seen": ("search",),
    "like": ("search",),
    "modality": _NARROWED,
    "model": _NARROWED,
    "tag": _NARROWED,
    "rated": _NARROWED,
    "days": _NARROWED,
    "limit": ("list", "search"),
    "kind": ("preferences",),
    "all": ("prune",),
}
LIMIT = 20
SCORER = "scorer"  # the built-in model that compares pictures and captions
WORDS = 72  # characters of a content in a list


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The action, its words, and what narrows a list."""
    from miaobi.library.preferences import KINDS

    parser.add_argument("action", metavar="ACTION", choices=None, help=tr("one of those below"))
    parser.add_argument("words", metavar="WORD", nargs="*", default=[], help=tr("what the action takes"))
    library_argument(parser)
    parser.add_argument("--by", default="", metavar="NAME", help=tr("who judges"))
    parser.add_argument("--meaning", action="store_true", help=tr("search by meaning instead of by words"))
    parser.add_argument("--seen", action="store_true", help=tr("search pictures by what is seen in them, whatever they were asked to show"))
    parser.add_argument("--like", default="", metavar="FILE", help=tr("search pictures that look like this one; words then only narrow"))
    parser.add_argument("--scorer", default=SCORER, metavar="MODEL", help=tr("the model that sees, of the family scorer (default: scorer)"))
    parser.add_argument(
        "--modality", default="", choices=("text", "image", "audio", "music", "video"), help=tr("only contents of this kind")
    )
    parser.add_argument("--model", default="", metavar="NAME", help=tr("only contents of this model"))
    parser.add_argument("--tag", default="", metavar="TAG", help=tr("only contents with this tag"))
    parser.add_argument("--rated", type=whole_number(1, 5), default=0, metavar="N", help=tr("only contents rated N or better on average"))
    parser.add_argument("--days", type=whole_number(0, 100_000), metavar="N", help=tr("only contents of the last N days"))
    parser.add_argument("--limit", type=whole_number(1, 100_000), default=LIMIT, metavar="N", help=tr("at most so many in a list"))
    parser.add_argument("--kind", action="append", choices=KINDS, help=tr("which preferences (may be repeated; else all)"))
    parser.add_argument("--all", action="store_true", help=tr("prune what was judged, too"))
    rows = [(f"{name} {takes}".strip(), tr(summary)) for name, (takes, summary) in ACTIONS.items()]
    width = max(len(head) for head, _ in rows)
    parser.epilog = tr("actions") + ":\n" + "\n".join(f"  {head:<{width}}  {summary}" for head, summary in rows)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Do the action."""
    if arguments.action not in ACTIONS:
        raise unknown("action", arguments.action, ACTIONS)
    takes = ACTIONS[arguments.action][0].split()
    count, more = len(takes) - (takes[-1:] == ["..."]), takes[-1:] == ["..."] or takes[-1:] == ["WORDS"]
    if arguments.action == "search" and arguments.like:
        count = 0  # words then only narrow
    if len(arguments.words) < count or (len(arguments.words) > count and not more):
        raise UsageError("write: miaobi library {action} {words}", action=arguments.action, words=" ".join(takes))
    _refuse_others(arguments)
    from miaobi.library.store import Library

    library = Library.open(arguments.library)
    try:
        _DO[arguments.action](library, arguments, output)
    finally:
        library.close()
    return 0


def _refuse_others(arguments: argparse.Namespace) -> None:
    """Options that the action would not heed: who prunes what one model made must not lose everything."""
    for option, actions in OPTIONS.items():
        if arguments.action not in actions and getattr(arguments, option) not in (None, "", 0, False, LIMIT):
            names = ", ".join(actions)
            raise UsageError("--{option} says nothing to `{action}`, only to: {names}", option=option, action=arguments.action, names=names)


def _query(arguments: argparse.Namespace, text: str = "") -> Query:
    from miaobi.library.store import Query

    since = "" if arguments.days is None else (datetime.now(UTC) - timedelta(days=arguments.days)).strftime("%Y-%m-%dT%H:%M:%S")
    return Query(text=text, modality=arguments.modality, model=arguments.model, tag=arguments.tag, at_least=arguments.rated, since=since)


def _list(library: Library, arguments: argparse.Namespace, output: Output) -> None:
    query = _query(arguments, " ".join(arguments.words))
    found, total = library.find(query, limit=arguments.limit), library.count(query)
    _print(output, found, total, [""] * len(found))


def _search(library: Library, arguments: argparse.Namespace, output: Output) -> None:
    question = " ".join(arguments.words)
    if not (arguments.meaning or arguments.seen or arguments.like):
        _list(library, arguments, output)
        return
    if arguments.meaning and (arguments.seen or arguments.like):
        raise UsageError("search by meaning, or by what is seen in pictures; --meaning does not go with --seen and --like")
    from miaobi.library.meaning import search

    space, wanted = _asked(arguments, question)
    query = _query(arguments, question if arguments.like else "")
    with output.progress() as tick:
        found = search(library, space, wanted, query=query, limit=arguments.limit,
                       on_progress=lambda done, total: tick("reading", done, total))  # fmt: skip
    _print(output, [each.kept for each in found], len(found), [f"{each.cosine:.2f}" for each in found])


def _asked(arguments: argparse.Namespace, question: str) -> tuple[Space, str | Floats]:
    """Where to look, and what for: words, or a picture's vector."""
    from miaobi.library.meaning import PictureSpace, TextSpace

    if not (arguments.seen or arguments.like):
        return TextSpace(), question
    from miaobi import api
    from miaobi.core.artifact import read_bytes
    from miaobi.data.pictures import decode
    from miaobi.engine.metrics.retrieval import as_judge

    judge = api.load(arguments.scorer)
    space = PictureSpace(as_judge(judge.model, where="--scorer"), judge.card.source)
    return space, space.seen(decode(read_bytes(Path(arguments.like)))) if arguments.like else question


def _print(output: Output, found: Sequence[Kept], total: int, marks: Sequence[str]) -> None:
    from miaobi.cli.terminal import table
    from miaobi.library.exchange import as_dict

    rows = [
        tuple(filter(None, (kept.id[:8], kept.kept[:16].replace("T", " "), kept.label.model, _stars(kept), mark, _line(kept))))
        for kept, mark in zip(found, marks)
    ]
    width = max((len(row) for row in rows), default=0)
    text = table([row + ("",) * (width - len(row)) for row in rows]) if rows else tr("nothing found")
    if total > len(found):
        text += "\n" + tr("{shown} of {total}; --limit shows more", shown=len(found), total=total)
    output.result({"contents": [as_dict(kept) for kept in found], "total": total}, text)


def _stars(kept: Kept) -> str:
    return "–" if kept.rating is None else f"{kept.rating:.1f}"


def _line(kept: Kept) -> str:
    """A content in one line: its text, or what was asked and which files it has."""
    text = " / ".join(kept.text.split("\n")) if kept.texts else kept.label.prompt
    files = ", ".join(stored.mime for stored in kept.media)
    line = f"{text}  [{files}]" if files else text
    return line if len(line) <= WORDS else line[: WORDS - 1] + "…"


def _show(library: Library, arguments: argparse.Namespace, output: Output) -> None:
    from miaobi.cli.show import as_text
    from miaobi.library.exchange import as_dict

    kept = library.get(arguments.words[0])
    values = as_dict(kept) | {"parents": list(kept.parents), "children": list(kept.children)}
    values["files"] = [str(library.files.path(stored.sha256)) for stored in kept.media]
    output.result(values, as_text(values))


def _save(library: Library, arguments: argparse.Namespace, output: Output) -> None:
    from miaobi.trust import label as labels

    id, path = arguments.words
    labels.write(library.content(id), Path(path))
    output.result({"path": path}, path)


def _rate(library: Library, arguments: argparse.Namespace, output: Output) -> None:
    from miaobi.library.store import HIGHEST, LOWEST

    id, value = arguments.words
    if not (value.isascii() and value.isdecimal() and len(value) < 9):
        raise UsageError("a rating is a whole number from {low} to {high}, not {value}", low=LOWEST, high=HIGHEST, value=value)
    library.rate(id, int(value), by=arguments.by)
    _done(library, id, output)


def _choose(library: Library, arguments: argparse.Namespace, output: Output) -> None:
    library.choose(*arguments.words, by=arguments.by)
    _done(library, arguments.words[0], output)


def _edit(library: Library, arguments: argparse.Namespace, output: Output) -> None:
    import sys

    from miaobi.core.artifact import read_text

    id, source = arguments.words
    text = sys.stdin.read() if source == "-" else read_text(Path(source))
    library.edit(id, text.strip("\n"), by=arguments.by)
    _done(library, id, output)


def _comment(library: Library, arguments: argparse.Namespace, output: Output) -> None:
    library.comment(arguments.words[0], " ".join(arguments.words[1:]), by=arguments.by)
    _done(library, arguments.words[0], output)


def _tag(library: Library, arguments: argparse.Namespace, output: Output) -> None:
    id, *tags = arguments.words
    add = [tag for tag in tags if not tag.startswith("^")]
    library.tag(id, add, remove=[tag[1:] for tag in tags if tag.startswith("^")])
    _done(library, id, output)


def _remove(library: Library, arguments: argparse.Namespace, output: Output) -> None:
    whole = [library.get(id).id for id in arguments.words]  # all of them are there, or none goes
    removed = [library.remove(id) for id in whole]
    output.result({"removed": removed}, tr("forgotten: {ids}", ids=", ".join(removed)))


def _export(library: Library, arguments: argparse.Namespace, output: Output) -> None:
    from miaobi.library.exchange import export

    moved = export(library, Path(arguments.words[0]), query=_query(arguments))
    value = {"contents": moved.contents, "files": moved.files, "folder": arguments.words[0]}
    output.result(value, tr("{contents} contents with {files} files are in {folder}", **value))


def _import(library: Library, arguments: argparse.Namespace, output: Output) -> None:
    from miaobi.library.exchange import import_

    moved = import_(library, Path(arguments.words[0]))
    value = {"contents": moved.contents, "files": moved.files, "known": moved.known}
    output.result(value, tr("{contents} contents came in; {known} were here already", **value))


def _preferences(library: Library, arguments: argparse.Namespace, output: Output) -> None:
    from miaobi.library.exchange import PREFERENCES, export_preferences
    from miaobi.library.preferences import KINDS

    path = Path(arguments.words[0])
    count = export_preferences(library, path, kinds=tuple(arguments.kind or KINDS), query=_query(arguments))
    output.result(
        {"preferences": count, "path": str(path / PREFERENCES)},
        tr("{count} preferences are in {path}", count=count, path=path / PREFERENCES),
    )


def _prune(library: Library, arguments: argparse.Namespace, output: Output) -> None:
    from miaobi.library.store import OLDEST_DAYS

    days = arguments.words[0]
    if not (days.isascii() and days.isdecimal() and len(days) < 9):
        raise UsageError("an age in days is from 0 to {most:,}, not {days}", most=OLDEST_DAYS, days=days)
    contents, files, size = library.prune(int(days), also_judged=arguments.all)
    value: dict[str, Any] = {"contents": contents, "files": files, "bytes": size}
    output.result(value, tr("forgotten: {contents} contents, {files} files of {bytes:,} bytes", **value))


def _done(library: Library, id: str, output: Output) -> None:
    """What the content is now."""
    kept = library.get(id)
    _print(output, [kept], 1, [""])


_DO: dict[str, Callable[[Library, argparse.Namespace, Output], None]] = {
    "list": _list,
    "search": _search,
    "show": _show,
    "save": _save,
    "rate": _rate,
    "choose": _choose,
    "edit": _edit,
    "comment": _comment,
    "tag": _tag,
    "remove": _remove,
    "export": _export,
    "import": _import,
    "preferences": _preferences,
    "prune": _prune,
}
