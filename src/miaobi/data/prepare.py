"""From sources to a `Dataset`: read and step on all cores, find duplicates, split, write shards, train the tokenizer, write the card.

Every unit of work that is done is kept in `<folder>.work`, so that a run that was killed goes on where it stopped; the result is the same,
byte for byte, as of a run that was not. The finished folder appears at once, by renaming.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from miaobi.core.artifact import explain_os_errors, new_folder, write_text
from miaobi.core.errors import Busy, DataError, UsageError
from miaobi.core.lock import taken
from miaobi.core.recipe import Data
from miaobi.data import assemble
from miaobi.data import plan as planning
from miaobi.data.conversations import BAD
from miaobi.data.dataset import MANIFEST, Dataset
from miaobi.data.duplicates import Part, Parts, mark
from miaobi.data.plan import Plan
from miaobi.data.pool import run_units
from miaobi.data.worker import done_path, dropped_path, part_path, run_unit

OnProgress = Callable[[str, int, int | None], None]


def prepare(
    section: Data,
    folder: Path,
    *,
    name: str = "",
    resume: bool = True,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
    cache: Path | None = None,
    offline: bool = False,
) -> Dataset:
    """Make the data set that a recipe's data section describes; one that is there already and would be the same is opened as it is.

    `on_progress(phase, done, total)` hears of the phases find, read, compare, write, tokenizer, card. `workers` counts processes; by
    default there is one a core.

    Raises:
        UsageError: an unknown step or option, or `folder` holds something else.
        DataError: a source is missing, unreadable or empty, nothing is left after the steps, or there is no network.
        MissingExtra: a format or a step needs a package of the extra `data`.
        Busy: another process prepares the same folder.
        MiaobiError: the disk is full or not writable.
    """
    report = on_progress or (lambda phase, done, total: None)
    folder = folder.absolute()
    if folder.exists() and not (folder / MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("{folder} holds other things; name a new or empty folder for the data set", folder=folder)
    plan = planning.make(section, cache=cache, offline=offline, on_progress=report)
    work = folder.with_name(folder.name + ".work")
    with explain_os_errors(work), _alone(work):
        if resume and (folder / MANIFEST).is_file() and (found := _opened(folder)) and found.plan == plan.fingerprint:
            return found
        _open_work(plan, work, resume)
        _read_all(plan, work, workers, report)
        parts, dropped, read = _collect(plan, work)
        _check_conversations(plan, work, dropped)
        if not parts.num_records:
            raise _nothing_left(plan, work, dropped, read)
        marks = mark(
            parts,
            work,
            exact=plan.exact,
            near=plan.near,
            group=plan.group,
            split=section.split,
            on_progress=lambda done, total: report("compare", done, total),
        )
        with new_folder(folder, replace=True) as fresh:
            assemble.assemble(
                plan, parts, marks, work / "units", fresh, name=name or folder.name, dropped=dropped, read=read, on_progress=report
            )
    return Dataset.open(folder)


def _opened(folder: Path) -> Dataset | None:
    """The data set in `folder`, or None when it is damaged and must be made again."""
    with contextlib.suppress(DataError):
        return Dataset.open(folder)
    return None


@contextlib.contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Hold the work folder for this process, and remove it when all went well. The system lets go of the lock when the process dies."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("a") as file:
        if taken(file):
            raise Busy("another process is preparing {folder}. Wait for it or stop it", folder=work)
        yield
    shutil.rmtree(work)


def _open_work(plan: Plan, work: Path, resume: bool) -> None:
    """Keep the finished units of the same plan; begin anew when the plan is another."""
    path = work / "plan.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if resume and json.loads(path.read_text(encoding="utf-8"))["fingerprint"] == plan.fingerprint:
            write_text(path, json.dumps(planning.to_json(plan), ensure_ascii=False))  # the files may lie elsewhere now
            return
    path.unlink(missing_ok=True)
    shutil.rmtree(work / "units", ignore_errors=True)
    (work / "units").mkdir()
    write_text(path, json.dumps(planning.to_json(plan), ensure_ascii=False))


def _read_all(plan: Plan, work: Path, workers: int | None, report: OnProgress) -> None:
    """Run the units that are not done yet. With a limit they run one after the other, since each may take what the others left."""
    folder = work / "units"
    weights = [sum(piece.weight for piece in unit) for unit in plan.units]
    done = sum(weights[unit] for unit in range(len(weights)) if done_path(folder, unit).is_file())
    todo = [unit for unit in range(len(weights)) if not done_path(folder, unit).is_file()]
    report("read", done, sum(weights))

    def on_done(unit: int) -> None:
        nonlocal done
        done += weights[unit]
        report("read", done, sum(weights))

    if plan.section.limit is None:
        run_units(plan, work, todo, workers=workers, on_done=on_done)
        return
    left = plan.section.limit
    for unit in range(len(weights)):
        if unit in todo and left:
            run_unit(plan, unit, folder, most=left)
            on_done(unit)
        if done_path(folder, unit).is_file():
            left -= json.loads(done_path(folder, unit).read_text(encoding="utf-8"))["read"]


def _collect(plan: Plan, work: Path) -> tuple[Parts, Counter[str], int]:
    """The parts of all units in order, what was dropped, and how many records were read."""
    parts: list[Part] = []
    dropped: Counter[str] = Counter()
    read = 0
    for unit in range(len(plan.units)):
        path = done_path(work / "units", unit)
        if not path.is_file():
            continue  # beyond the limit
        summary = json.loads(path.read_text(encoding="utf-8"))
        read += summary["read"]
        dropped.update(summary["dropped"])
        for number in range(len(summary["parts"])):
            lines = part_path(work / "units", unit, number)
            parts.append(Part.open(lines))
    return Parts(parts), dropped, read


def _check_conversations(plan: Plan, work: Path, dropped: Counter[str]) -> None:
    """Refuse data of which more rows are malformed than the recipe bears.

    Raises:
        DataError: with the first of those rows and what is wrong with it.
    """
    count = dropped[f"read {BAD}"]
    if count <= plan.section.malformed:
        return
    rows = (json.loads(line) for unit in range(len(plan.units)) for line in _lines(dropped_path(work / "units", unit)))
    first = next(row for row in rows if row["reason"] == BAD)
    raise DataError(
        "{count} rows are no conversations, and data.malformed bears {most}. The first is {row}: {problem}",
        count=count,
        most=plan.section.malformed,
        row=first["id"],
        problem=first["detail"],
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] if path.is_file() else []


def _nothing_left(plan: Plan, work: Path, dropped: Counter[str], read: int) -> DataError:
    """Why a run ends with no record, with the commonest reasons and one example."""
    if not read:
        return DataError("the sources hold no record: {names}", names=", ".join(str(source["name"]) for source in plan.sources))
    reasons = ", ".join(f"{key.partition(' ')[2]} ({count})" for key, count in dropped.most_common(4))
    rows = (json.loads(line) for unit in range(len(plan.units)) for line in _lines(dropped_path(work / "units", unit)))
    first = next(rows, {"id": "", "reason": "", "detail": ""})
    return DataError(
        "none of the {read} records is left. Dropped: {reasons}. The first is {row}: {problem}",
        read=read,
        reasons=reasons,
        row=first["id"],
        problem=" ".join(filter(None, (first["reason"], first["detail"]))),
    )
