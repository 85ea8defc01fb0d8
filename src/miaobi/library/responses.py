"""`Responses`: answers of the server that clients ask for again by their ids, with the conversations that go on from them.

Whoever asked is the owner; nobody else finds them. One that is still written says so by beats, as jobs do: when it has been silent for too
long, the server that wrote it is gone, and the response has failed. Media that were given lie among the library's files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from miaobi.core.errors import UsageError
from miaobi.core.language import tr
from miaobi.core.types import Turn
from miaobi.library.queue import SILENT_SECONDS
from miaobi.library.store import TIME, now
from miaobi.library.tables import ResponseFileRow, ResponseRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from miaobi.library.store import Library

DAYS = 30.0  # as long as OpenAI keeps them
FAILED, CANCELLED = "failed", "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response as clients read it, what was asked, and the conversation up to its end."""

    response: Mapping[str, Any]
    """It has an `id` and a `status`."""
    asked: Sequence[Mapping[str, Any]] = ()
    turns: Sequence[Turn] = ()
    given: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    """Media beside the turns, by their names in the model."""


class Gone(UsageError):
    """There is no such response, or it is another's."""

    status = 404


class Responses:
    """The responses of one library."""

    def __init__(self, library: Library) -> None:
        self.library = library

    def add(self, answer: Answer, *, owner: str = "", open: bool = False) -> None:
        """Keep a new one.

        Args:
            open: it is still written; see `beat` and `close`.
        """
        files = [(name, self.library.files.put(data)) for name, values in answer.given.items() for data in values]
        with self.library.database.writing() as session:
            given = [ResponseFileRow(position=place, name=name, sha256=sha256) for place, (name, sha256) in enumerate(files)]
            row = ResponseRow(id=str(answer.response["id"]), owner=owner, created=now(), given=given)
            self._write(session, row, answer, open=open)
            session.add(row)

    def beat(self, id: str) -> bool:
        """Say that it is still written; whether that is still wanted: it may have been cancelled or removed."""
        with self.library.database.writing() as session:
            beat = sa.update(ResponseRow).where(ResponseRow.id == id, ResponseRow.open)
            done = session.execute(beat.values(beat=self.library.database.clock(session)))
            return bool(done.rowcount)  # type: ignore[attr-defined]

    def close(self, answer: Answer) -> None:
        """It is written to its end. One that was cancelled or removed meanwhile stays so."""
        with self.library.database.writing() as session:
            row = session.scalar(sa.select(ResponseRow).where(ResponseRow.id == str(answer.response["id"])).with_for_update())
            if row is not None and row.open:
                self._write(session, row, answer, open=False)

    def get(self, id: str, *, owner: str = "") -> Answer:
        """The response of that id; one that nobody writes any more has failed.

        Raises:
            Gone: there is none, or it is another's.
            DataError: what was given in it is lost or damaged.
        """
        with self.library.database.reading() as session:
            row = self._row(session, id, owner)
            silent = row.open and row.beat < self.library.database.clock(session) - SILENT_SECONDS
            if not silent:
                return self._answer(row)
        error = {"code": "server_error", "message": tr("the server was stopped while it wrote this")}
        return self._end(id, owner, {"status": FAILED, "error": error})

    def cancel(self, id: str, *, owner: str = "") -> Answer:
        """End one that is still written, by whatever server; of one that is over nothing changes.

        Raises:
            Gone: there is none, or it is another's.
        """
        return self._end(id, owner, {"status": CANCELLED})

    def remove(self, id: str, *, owner: str = "") -> None:
        """Forget one; what was given in it goes with the library's next `prune`.

        Raises:
            Gone: there is none, or it is another's.
        """
        with self.library.database.writing() as session:
            session.delete(self._row(session, id, owner))

    def prune(self, days: float = DAYS) -> int:
        """Forget those that are older than so many days; returns how many."""
        before = (datetime.now(UTC) - timedelta(days=days)).strftime(TIME)
        with self.library.database.writing() as session:
            old = sa.delete(ResponseRow).where(ResponseRow.created < before)
            return int(session.execute(old).rowcount)  # type: ignore[attr-defined]

    def _end(self, id: str, owner: str, values: Mapping[str, Any]) -> Answer:
        with self.library.database.writing() as session:
            row = self._row(session, id, owner)
            if row.open:
                row.open, row.response = False, {**row.response, **values}
            return self._answer(row)

    def _write(self, session: Session, row: ResponseRow, answer: Answer, *, open: bool) -> None:
        row.open, row.beat = open, self.library.database.clock(session)
        row.response, row.asked = dict(answer.response), [dict(item) for item in answer.asked]
        row.turns = [[turn.role, *turn.parts] for turn in answer.turns]

    def _answer(self, row: ResponseRow) -> Answer:
        given: dict[str, list[bytes]] = {}
        for file in row.given:
            given.setdefault(file.name, []).append(self.library.files.get(file.sha256))
        turns = tuple(Turn(role=role, parts=tuple(parts)) for role, *parts in row.turns)
        return Answer(response=row.response, asked=row.asked, turns=turns, given=given)

    def _row(self, session: Session, id: str, owner: str) -> ResponseRow:
        row = session.scalar(sa.select(ResponseRow).where(ResponseRow.id == id, ResponseRow.owner == owner))
        if row is None:
            raise Gone("there is no response '{id}'", id=id[:100])
        return row
