"""`miaobi jobs ACTION`: work that is in line, under way or over, and the worker that does it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miaobi.cli.parser import Parser, whole_number
from miaobi.core.errors import MiaobiError, UsageError, unknown
from miaobi.core.language import tr

if TYPE_CHECKING:
    from miaobi.cli.terminal import Output, Tick
    from miaobi.library.queue import Job, Queue

ACTIONS = {  # words that each takes, and what it does
    "list": ("", "the newest jobs (also without an action)"),
    "show": ("ID", "everything about a job"),
    "follow": ("ID", "watch a job until it is over"),
    "train": ("RECIPE", "put a training in line"),
    "adapt": ("RECIPE", "put the change of a model in line"),
    "distill": ("RECIPE", "put the shrinking of a model in line"),
    "tune": ("RECIPE", "put a search for good settings in line"),
    "evaluate": ("RECIPE", "put an evaluation in line"),
    "work": ("", "do the jobs in line, one after the other, until stopped"),
    "pause": ("ID", "stop a job so that it can go on later"),
    "resume": ("ID", "let a paused job go on"),
    "cancel": ("ID", "stop a job for good"),
    "retry": ("ID", "let a failed or cancelled job go on from where it was"),
    "prioritise": ("ID N", "move a job in the line; the higher goes first"),
    "remove": ("ID", "forget a job that is over"),
}
ON_RECIPES = ("train", "adapt", "distill", "tune", "evaluate")
LOOK_SECONDS = 0.5


def library_argument(parser: Parser) -> None:
    """`--library`."""
    text = tr("a folder, or sqlite:///… or postgresql://… (else in the home folder)")
    parser.add_argument("--library", default="", metavar="WHERE", help=text)


def arguments(parser: Parser, words: Sequence[str]) -> None:
    """The action and its words."""
    from miaobi.cli.recipes import machine_arguments
    from miaobi.library.queue import HIGHEST, LOWEST, State

    parser.add_argument("action", metavar="ACTION", nargs="?", default="list", help=tr("one of those below"))
    parser.add_argument("words", metavar="WORD", nargs="*", default=[], help=tr("what the action takes"))
    library_argument(parser)
    states = tuple(map(str, State))
    parser.add_argument("--state", action="append", default=[], choices=states, help=tr("only jobs in this state (may be repeated)"))
    parser.add_argument("--limit", type=whole_number(1, 100_000), default=20, metavar="N", help=tr("at most so many in a list"))
    parser.add_argument("--drain", action="store_true", help=tr("work: end when nothing is left in line"))
    parser.add_argument("--only", default="", metavar="ID", help=tr("work: do just this job"))
    parser.add_argument("--priority", type=whole_number(LOWEST, HIGHEST), default=0, metavar="N", help=tr("the higher goes first"))
    parser.add_argument("--preset", default="", metavar="NAME", help=tr("apply these named changes of the recipe"))
    text = tr("change one value of the recipe, such as train.steps=100 (may be repeated)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help=text)
    text = tr("tune: a key and its range, such as train.optimizer.lr=log(1e-4,1e-2) (may be repeated)")
    parser.add_argument("--param", action="append", default=[], metavar="KEY=RANGE", dest="parameters", help=text)
    parser.add_argument("--trials", type=whole_number(1, 100_000), default=20, metavar="N", help=tr("tune: attempts in all"))
    machine_arguments(parser)
    rows = [(f"{name} {takes}".strip(), tr(summary)) for name, (takes, summary) in ACTIONS.items()]
    width = max(len(head) for head, _ in rows)
    parser.epilog = tr("actions") + ":\n" + "\n".join(f"  {head:<{width}}  {summary}" for head, summary in rows)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Do the action."""
    if arguments.action not in ACTIONS:
        raise unknown("action", arguments.action, ACTIONS)
    takes = ACTIONS[arguments.action][0].split()
    if len(arguments.words) != len(takes):
        raise UsageError("write: miaobi jobs {action} {words}", action=arguments.action, words=" ".join(takes))
    if arguments.action in ON_RECIPES:
        return _enqueue(arguments, output)
    if arguments.action == "work":
        return _work(arguments, output)
    with _queue(arguments) as queue:
        return _DO[arguments.action](queue, arguments, output)


class _queue:  # noqa: N801
    """The queue of the library that is meant, closed at the end."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from miaobi.library.store import Library

        self.library = Library.open(arguments.library)

    def __enter__(self) -> Queue:
        from miaobi.library.queue import Queue

        return Queue(self.library.database)

    def __exit__(self, *error: object) -> None:
        self.library.close()


def _list(queue: Queue, arguments: argparse.Namespace, output: Output) -> int:
    from miaobi.cli.terminal import table
    from miaobi.library.queue import State

    jobs = queue.list([State(name) for name in arguments.state], limit=arguments.limit)
    rows = [(job.id, tr(str(job.state)), job.kind, job.name, _far(job), job.created[:16].replace("T", " "), job.error) for job in jobs]
    output.result({"jobs": [as_dict(job) for job in jobs]}, table(rows) if rows else tr("no jobs"))
    return 0


def _show(queue: Queue, arguments: argparse.Namespace, output: Output) -> int:
    _print(queue.get(arguments.words[0]), output)
    return 0


def _print(job: Job, output: Output) -> None:
    from miaobi.cli.show import as_text

    output.result(as_dict(job), as_text(as_dict(job)))


def _ask(queue: Queue, arguments: argparse.Namespace, output: Output) -> int:
    _print(queue.ask(arguments.words[0], arguments.action), output)
    return 0


def _prioritise(queue: Queue, arguments: argparse.Namespace, output: Output) -> int:
    id, number = arguments.words
    try:
        value = int(number)
    except ValueError:
        raise UsageError("a priority is a whole number, not '{value}'", value=number) from None
    _print(queue.prioritise(id, value), output)
    return 0


def _remove(queue: Queue, arguments: argparse.Namespace, output: Output) -> int:
    id = queue.get(arguments.words[0]).id
    queue.remove(id)
    output.result({"removed": [id]}, tr("forgotten: {ids}", ids=id))
    return 0


def _follow(queue: Queue, arguments: argparse.Namespace, output: Output) -> int:
    from miaobi.library.queue import State

    id = queue.get(arguments.words[0]).id
    with output.progress() as tick:
        while (job := queue.get(id)).state in (State.QUEUED, State.RUNNING, State.LOST):
            _tick(job, tick)
            time.sleep(LOOK_SECONDS)
        _tick(job, tick)
    return _ended(job, output)


_DO: dict[str, Callable[[Queue, argparse.Namespace, Output], int]] = {
    "list": _list,
    "show": _show,
    "follow": _follow,
    "pause": _ask,
    "resume": _ask,
    "cancel": _ask,
    "retry": _ask,
    "prioritise": _prioritise,
    "remove": _remove,
}


def _enqueue(arguments: argparse.Namespace, output: Output) -> int:
    """A job of a recipe, as the recipe is now."""
    from miaobi.core.recipe import Recipe

    recipe = Recipe.load(Path(arguments.words[0]), preset=arguments.preset, overrides=arguments.overrides)
    spec = {
        "folder": str(Path.cwd()),
        "recipe": recipe.model_dump(mode="json"),
        "device": arguments.device,
        "threads": arguments.threads,
    }
    if arguments.action == "tune":
        spec |= {"parameters": arguments.parameters, "trials": arguments.trials}
    arguments.later = True
    return follow_here(arguments.action, spec, arguments, output, name=recipe.name)


def follow_here(kind: str, spec: Mapping[str, Any], arguments: argparse.Namespace, output: Output, *, name: str) -> int:
    """Put a job in line and, unless it is for later, do it in this terminal; interrupted, it stays in the line."""
    from miaobi.serve.kinds import checked

    whole = checked(kind, spec)
    with _queue(arguments) as queue:
        id = queue.add(kind, whole, name=name, priority=arguments.priority)
        if arguments.later:
            output.news("in line; do it with: miaobi jobs work --only {id}", id=id)
            _print(queue.get(id), output)
            return 0
        try:
            _work_on(arguments, output, only=id)
        except KeyboardInterrupt:
            output.news("the job {id} keeps what is done. Go on with: miaobi jobs work --only {id}", id=id)
            raise
        return _ended(queue.get(id), output)


def _work(arguments: argparse.Namespace, output: Output) -> int:
    if arguments.only:
        with _queue(arguments) as queue:
            arguments.only = queue.get(arguments.only).id
    output.news("working; Ctrl-C ends it, and a job in hand goes back into the line")
    count = _work_on(arguments, output, only=arguments.only, drain=arguments.drain)
    output.result({"jobs": count}, tr("{count} jobs done", count=count))
    return 0


def _work_on(arguments: argparse.Namespace, output: Output, *, only: str = "", drain: bool = False) -> int:
    from miaobi.serve.worker import work

    with output.progress() as tick:
        return work(arguments.library, only=only, drain=drain, on_job=lambda job: _tick(job, tick))


def _tick(job: Job, tick: Tick) -> None:
    if job.progress:
        tick(str(job.progress["phase"]), int(job.progress["done"]), job.progress["total"], f"{job.name} {job.progress['detail']}".strip())


def _ended(job: Job, output: Output) -> int:
    """The result, or what went wrong as an error."""
    from miaobi.library.queue import State

    if job.state is State.FAILED:
        raise MiaobiError("the job {id} has failed: {error}", id=job.id, error=job.error)
    _print(job, output)
    return 0


def _far(job: Job) -> str:
    if not job.progress or not job.progress.get("total"):
        return ""
    return f"{job.progress['done']:,}/{job.progress['total']:,}"


def as_dict(job: Job) -> dict[str, Any]:
    """Plain values; of the recipe of a training the name is enough."""
    from dataclasses import asdict

    values = asdict(job) | {"state": str(job.state)}
    values["spec"] = {key: value for key, value in job.spec.items() if key != "recipe"}
    return values
