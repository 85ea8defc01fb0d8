"""`Queue`: work that outlives the process that does it, in the library's database.

A worker claims a job, and as long as its heart beats the job is its own; a job whose worker has been silent for `SILENT_SECONDS` is lost
and goes to the next that asks. What a worker reports counts only while the job is its own, so one that was taken for dead and comes back
changes nothing any more. The pieces of a job are rows with a key of their own: each is there once, whoever did it.

    queued -> running -> done | failed | cancelled | paused
    running, silent = lost -> running (another worker), or failed after `MOST_ATTEMPTS`
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from miaobi.core.errors import MiaobiError, UsageError
from miaobi.core.language import speaking, tr
from miaobi.library.database import Database
from miaobi.library.store import now
from miaobi.library.tables import JobItemRow, JobRow

SILENT_SECONDS = 30.0
BEAT_SECONDS = 2.0
MOST_ATTEMPTS = 3
LOWEST, HIGHEST = -100, 100  # of priorities; the higher goes first


class State(StrEnum):
    """Where a job stands. `LOST` is never written: it is a running job whose worker is silent."""

    QUEUED = "queued"
    RUNNING = "running"
    LOST = "lost"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (State.QUEUED, State.RUNNING, State.LOST, State.PAUSED)
_ASKED = {  # what a person may ask for: of which states, and what it leads to
    "pause": ({State.QUEUED, State.RUNNING, State.LOST}, State.PAUSED),
    "cancel": ({State.QUEUED, State.RUNNING, State.LOST, State.PAUSED}, State.CANCELLED),
    "resume": ({State.PAUSED}, State.QUEUED),
    "retry": ({State.FAILED, State.CANCELLED}, State.QUEUED),
}


class NotOurs(MiaobiError):
    """The job went to another worker, or was removed; what this one did of it does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it stands."""

    id: str
    kind: str
    name: str
    spec: Mapping[str, Any]
    state: State
    priority: int
    attempts: int
    worker: str
    progress: Mapping[str, Any]
    result: Mapping[str, Any]
    error: str
    created: str
    started: str
    ended: str
    items: int


class Queue:
    """The jobs of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # ------------------------------------------------------------------ for people

    def add(self, kind: str, spec: Mapping[str, Any], *, name: str = "", priority: int = 0) -> str:
        """Put a job at the end of its priority's line; returns its id.

        Raises:
            UsageError: a priority out of range.
        """
        if not LOWEST <= priority <= HIGHEST:
            raise UsageError("a priority is a whole number from {low} to {high}, not {value}", low=LOWEST, high=HIGHEST, value=priority)
        row = JobRow(
            id=secrets.token_hex(6),
            kind=kind,
            name=name,
            spec=dict(spec),
            state=State.QUEUED,
            priority=priority,
            attempts=0,
            worker="",
            beat=0.0,
            wanted="",
            progress={},
            result={},
            error="",
            created=now(),
            started="",
            ended="",
        )
        with self.database.writing() as session:
            session.add(row)
            session.flush()
            return row.id

    def get(self, id: str) -> Job:
        """The job of that id, or of the only one that begins so.

        Raises:
            UsageError: there is none, or several.
        """
        with self.database.reading() as session:
            return self._job(session, self._row(session, id))

    def list(self, states: Sequence[State] = (), *, kinds: Sequence[str] = (), limit: int = 100) -> list[Job]:
        """Jobs, the newest first; of the given states and kinds when there are any."""
        wanted = sa.select(JobRow).where(JobRow.kind.in_(kinds)) if kinds else sa.select(JobRow)
        if states:
            wanted = wanted.where(JobRow.state.in_({State.RUNNING if state is State.LOST else state for state in states}))
        told_apart = (State.RUNNING in states) != (State.LOST in states)  # by their beats, which no index knows
        with self.database.reading() as session:
            rows = list(session.scalars(wanted.order_by(JobRow.number.desc()).limit(None if told_apart else limit)))
            counts = self._counts(session, rows)
            found = [self._job(session, row, counts.get(row.number, 0)) for row in rows]
        return [job for job in found if not states or job.state in states][:limit]

    def ask(self, id: str, what: str) -> Job:
        """Pause, resume, cancel or retry a job. A running one stops at its next beat; see `beat`.

        Raises:
            UsageError: the job is not in a state for that.
        """
        possible, leads_to = _ASKED[what]
        with self.database.writing() as session:
            row = self._row(session, id)
            state = self._state(session, row)
            if state not in possible:
                raise UsageError("the job {id} is {state}; what can be asked of it now: {possible}",
                                 id=row.id, state=tr(state), possible=", ".join(_possible(state)) or "–")  # fmt: skip
            if state is State.RUNNING:
                row.wanted = what
            else:
                row.state, row.wanted, row.worker = leads_to, "", ""
                row.ended = now() if leads_to is State.CANCELLED else ""
                row.error = "" if leads_to is State.QUEUED else row.error
                row.attempts = 0
                row.result = {} if what == "retry" else row.result
            return self._job(session, row)

    def prioritise(self, id: str, priority: int) -> Job:
        """Move a job in the line; one that runs already keeps running.

        Raises:
            UsageError: a priority out of range.
        """
        if not LOWEST <= priority <= HIGHEST:
            raise UsageError("a priority is a whole number from {low} to {high}, not {value}", low=LOWEST, high=HIGHEST, value=priority)
        with self.database.writing() as session:
            row = self._row(session, id)
            row.priority = priority
            return self._job(session, row)

    def remove(self, id: str) -> None:
        """Forget a job that is over.

        Raises:
            UsageError: it is not.
        """
        with self.database.writing() as session:
            row = self._row(session, id)
            if (state := self._state(session, row)) in OPEN:
                raise UsageError("the job {id} is {state}; cancel it first", id=row.id, state=tr(state))
            session.delete(row)

    # ------------------------------------------------------------------ for workers

    def claim(self, worker: str, *, kinds: Sequence[str] = (), only: str = "") -> Job | None:
        """The next job, now the worker's own: the highest priority first, then the oldest; lost ones stand in the same line.

        Args:
            kinds: which kinds the worker can do; all when empty.
            only: the id of the one job that is wanted.
        """
        with self.database.writing() as session:
            first = self.next_in_line(session, kinds=kinds, only=only)
            while (row := session.scalar(first)) is not None:
                if self._ended_in_silence(row):
                    session.flush()
                    continue
                row.state, row.worker, row.beat, row.wanted = State.RUNNING, worker, self.database.clock(session), ""
                row.attempts += 1
                row.started = row.started or now()
                row.ended = row.error = ""
                session.flush()
                return self._job(session, row)
        return None

    def next_in_line(self, session: Session, *, kinds: Sequence[str] = (), only: str = "") -> sa.Select[JobRow]:
        """The query for the job that `claim` looks at next. It holds that row alone: another worker that asks now finds the one behind it,
        and not an empty line. (SQLite has but one writer.)"""
        lost = sa.and_(JobRow.state == State.RUNNING, JobRow.beat < self.database.clock(session) - SILENT_SECONDS)
        wanted = sa.select(JobRow).where(sa.or_(JobRow.state == State.QUEUED, lost))
        if kinds:
            wanted = wanted.where(JobRow.kind.in_(kinds))
        if only:
            wanted = wanted.where(JobRow.id == only)
        return wanted.order_by(JobRow.priority.desc(), JobRow.number).limit(1).with_for_update(skip_locked=True)

    def _ended_in_silence(self, row: JobRow) -> bool:
        """A lost job that was to stop, or that was lost too often, is over."""
        if row.state != State.RUNNING:
            return False
        if row.wanted:
            row.state = _ASKED[row.wanted][1]
            row.attempts = 0
        elif row.attempts >= MOST_ATTEMPTS:
            row.state = State.FAILED
            with speaking(str(row.spec.get("language", ""))):  # of who waits for it, not of who looks for work
                row.error = tr("its worker died {count} times", count=row.attempts)
        else:
            return False
        row.worker, row.wanted = "", ""
        row.ended = "" if row.state == State.PAUSED else now()
        return True

    def beat(self, id: str, worker: str, *, progress: Mapping[str, Any] | None = None) -> str:
        """Say that the worker lives and how far it is; returns what a person wants: `pause`, `cancel`, or nothing.

        Raises:
            NotOurs: the job is another's.
        """
        with self.database.writing() as session:
            row = self._own(session, id, worker)
            row.beat = self.database.clock(session)
            if progress is not None:
                row.progress = dict(progress)
            return row.wanted

    def record(self, id: str, worker: str, position: int, result: Mapping[str, Any]) -> None:
        """One piece is done. It stays done, whatever happens to the worker.

        Raises:
            NotOurs: the job is another's; the piece was not written.
        """
        with self.database.writing() as session:
            row = self._own(session, id, worker)
            row.beat = self.database.clock(session)
            session.merge(JobItemRow(job=row.number, position=position, result=dict(result)))  # once, though it be said again

    def items(self, id: str) -> dict[int, dict[str, Any]]:
        """The pieces that are done, by position."""
        with self.database.reading() as session:
            row = self._row(session, id)
            rows = session.execute(
                sa.select(JobItemRow.position, JobItemRow.result).where(JobItemRow.job == row.number).order_by(JobItemRow.position)
            )
            return {row.position: row.result for row in rows}

    def finish(self, id: str, worker: str, state: State, *, result: Mapping[str, Any] | None = None, error: str = "") -> None:
        """The job is over, or paused.

        Raises:
            NotOurs: the job is another's.
        """
        assert state in (State.DONE, State.FAILED, State.CANCELLED, State.PAUSED)
        with self.database.writing() as session:
            row = self._own(session, id, worker)
            row.state, row.wanted, row.worker, row.error = state, "", "", error
            row.result = dict(result or {})
            row.ended = "" if state is State.PAUSED else now()

    def append(self, id: str, result: Mapping[str, Any]) -> Job:
        """Add to the result of a job that failed or was cancelled, such as what there is of it; of another nothing changes."""
        with self.database.writing() as session:
            row = self._row(session, id)
            if row.state in (State.FAILED, State.CANCELLED):
                row.result = {**row.result, **result}
            return self._job(session, row)

    def release(self, id: str, worker: str, *, died: bool = False) -> None:
        """Give a job back: as a person wanted it (paused, cancelled), or into the line; one whose worker `died` too often has failed.

        Raises:
            NotOurs: the job is another's, or is over.
        """
        with self.database.writing() as session:
            row = self._own(session, id, worker)
            if row.wanted or (died and row.attempts >= MOST_ATTEMPTS):
                assert self._ended_in_silence(row)
                return
            row.state, row.worker = State.QUEUED, ""
            row.attempts -= not died  # who stops as asked has not failed

    # ------------------------------------------------------------------ the inside

    def _own(self, session: Session, id: str, worker: str) -> JobRow:
        row = session.scalar(sa.select(JobRow).where(JobRow.id == id).with_for_update())
        if row is None or row.state != State.RUNNING or row.worker != worker:
            raise NotOurs("the job {id} is no longer this worker's", id=id)
        return row

    def _row(self, session: Session, id: str) -> JobRow:
        found: list[JobRow] = []
        if id.isalnum():
            found = list(session.scalars(sa.select(JobRow).where(JobRow.id.startswith(id.lower())).limit(9)))
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError("several jobs begin with '{id}': {ids}", id=id, ids=", ".join(row.id for row in found))
        raise UsageError("there is no job '{id}'. `miaobi jobs` lists them", id=id)

    def _counts(self, session: Session, rows: Sequence[JobRow]) -> dict[int, int]:
        """How many pieces are done of each job that has any."""
        counted = sa.select(JobItemRow.job, sa.func.count()).where(JobItemRow.job.in_([row.number for row in rows]))
        return {row[0]: row[1] for row in session.execute(counted.group_by(JobItemRow.job))}

    def _job(self, session: Session, row: JobRow, count: int | None = None) -> Job:
        count = self._counts(session, [row]).get(row.number, 0) if count is None else count
        fields = (
            "id",
            "kind",
            "name",
            "spec",
            "priority",
            "attempts",
            "worker",
            "progress",
            "result",
            "error",
            "created",
            "started",
            "ended",
        )
        return Job(state=self._state(session, row), items=count, **{name: getattr(row, name) for name in fields})

    def _state(self, session: Session, row: JobRow) -> State:
        state = State(row.state)
        silent = state is State.RUNNING and row.beat < self.database.clock(session) - SILENT_SECONDS
        return State.LOST if silent else state


def _possible(state: State) -> list[str]:
    return [what for what, (states, _) in _ASKED.items() if state in states]
