"""`Uploads`: files that are no contents: what clients of the server hand over for a batch or a film, and the answers of batches.

Their bytes lie among the library's files, once each however often they come. Whoever handed a file over is its owner; nobody else finds it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from miaobi.core.errors import UsageError
from miaobi.library.store import TIME, now
from miaobi.library.tables import UploadRow

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from miaobi.library.store import Library

LONGEST_NAME = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that is here."""

    id: str
    owner: str
    name: str
    purpose: str
    sha256: str
    bytes: int
    created: str
    expires: str


class Missing(UsageError):
    """There is no such file, or it is another's."""

    status = 404


class Uploads:
    """The uploads of one library."""

    def __init__(self, library: Library) -> None:
        self.library = library

    def add(self, data: bytes, *, name: str, purpose: str, owner: str = "", seconds: float = 0, id: str = "") -> Upload:
        """Take a file in.

        Args:
            seconds: how long it stays; 0: until it is removed.
            id: by default a new one; a file of that id is replaced.
        """
        sha256 = self.library.files.put(data)
        expires = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime(TIME) if seconds else ""
        values = {"owner": owner, "name": name[:LONGEST_NAME], "purpose": purpose, "sha256": sha256, "bytes": len(data)}
        with self.library.database.writing() as session:
            session.execute(sa.delete(UploadRow).where(UploadRow.id == id))
            row = UploadRow(id=id or f"file-{secrets.token_hex(12)}", created=now(), expires=expires, **values)
            session.add(row)
            session.flush()
            return _upload(row)

    def get(self, id: str, *, owner: str = "") -> Upload:
        """The file of that id.

        Raises:
            Missing: there is none, it is another's, or its time is over.
        """
        with self.library.database.reading() as session:
            return _upload(self._row(session, id, owner))

    def data(self, upload: Upload) -> bytes:
        """Its bytes.

        Raises:
            DataError: they are lost or damaged.
        """
        return self.library.files.get(upload.sha256)

    def list(self, *, owner: str = "", purpose: str = "", limit: int = 100, after: str = "", oldest: bool = False) -> Sequence[Upload]:
        """Files of an owner, the newest first unless `oldest`; those that follow `after`, when that is given."""
        wanted = sa.select(UploadRow).where(UploadRow.owner == owner, _living())
        if purpose:
            wanted = wanted.where(UploadRow.purpose == purpose)
        with self.library.database.reading() as session:
            if after:
                number = self._row(session, after, owner).number
                wanted = wanted.where(UploadRow.number > number if oldest else UploadRow.number < number)
            wanted = wanted.order_by(UploadRow.number if oldest else UploadRow.number.desc()).limit(limit)
            return [_upload(row) for row in session.scalars(wanted)]

    def remove(self, id: str, *, owner: str = "") -> None:
        """Forget a file; its bytes go with the library's next `prune`.

        Raises:
            Missing: there is none, or it is another's.
        """
        with self.library.database.writing() as session:
            session.delete(self._row(session, id, owner))

    def expire(self) -> int:
        """Forget the files whose time is over; returns how many."""
        with self.library.database.writing() as session:
            over = sa.delete(UploadRow).where(sa.not_(_living()))
            return int(session.execute(over).rowcount)  # type: ignore[attr-defined]

    def _row(self, session: Session, id: str, owner: str) -> UploadRow:
        row = session.scalar(sa.select(UploadRow).where(UploadRow.id == id, UploadRow.owner == owner, _living()))
        if row is None:
            raise Missing("there is no file '{id}'", id=id[:100])
        return row


def _living() -> sa.ColumnElement[bool]:
    return sa.or_(UploadRow.expires == "", UploadRow.expires > now())


def _upload(row: UploadRow) -> Upload:
    names = ("id", "owner", "name", "purpose", "sha256", "bytes", "created", "expires")
    return Upload(**{name: getattr(row, name) for name in names})
