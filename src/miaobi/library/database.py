"""One database by its URL: SQLite in a file (WAL, for one machine) or PostgreSQL (for several), brought to the newest tables when opened.

Unusual: reading and writing transactions begin differently. SQLite lets many read while one writes, but a reader that turns into a writer
can be refused at any moment; so who is going to write says so at the start (BEGIN IMMEDIATE) and waits its turn there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from miaobi.core.artifact import explain_os_errors
from miaobi.core.errors import ArtifactError, Busy, MiaobiError, MissingExtra, UsageError
from miaobi.core.language import tr

try:
    import sqlalchemy as sa
    from sqlalchemy.orm import Session
except ImportError:
    raise MissingExtra(tr("the library"), "library", "sqlalchemy") from None

SCRIPTS = Path(__file__).parent / "migrations"
HEAD = "0005"  # the newest revision under migrations/versions; a test compares
WAIT_SECONDS = 30.0  # for another writer
AWAY_SECONDS, AGAIN_SECONDS = 300.0, 1.0  # that work waits for a database which is away, and between two looks
_LOCK = 0x6D69616F  # of PostgreSQL's advisory locks: "miao"
T = TypeVar("T")


class Away(MiaobiError):
    """The database cannot be reached now. It may come back: it is started again, or its network was.

    Clients of a server are told less (`private`): where its library lies is nothing of theirs.
    """

    status = 503
    private = True


class Locked(Busy):
    """Another process writes for too long."""

    status = 503
    private = True


class Broken(MiaobiError):
    """The database refuses what is asked of it."""

    private = True


def patiently(do: Callable[[], T], *, seconds: float = AWAY_SECONDS) -> T:
    """What `do` gives, asked again while the database is away, for so long.

    Raises:
        MiaobiError: `Away` or `Busy` when the time is over; any other at once.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return do()
        except (Away, Busy):
            if time.monotonic() > until:
                raise
            time.sleep(AGAIN_SECONDS)


class Database:
    """An engine with sessions to read and to write by."""

    def __init__(self, url: str | sa.URL) -> None:
        """Connect, and bring the tables up to date.

        Args:
            url: `sqlite:///path/library.db` or `postgresql://user@host/name`.

        Raises:
            UsageError: no such kind of database.
            MissingExtra: its driver is not installed.
            MiaobiError: it cannot be reached, or is no database.
            ArtifactError: it was made by a newer miaobi.
        """
        self.url = _parsed(url)
        self.dialect = self.url.get_backend_name()
        with _explained(self.url):
            self.engine = _engine(self.url)
            self._upgrade()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Session]:
        """A session whose queries all see the same state."""
        with _explained(self.url), Session(self.engine.execution_options(writes=False)) as session:
            yield session

    @contextlib.contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that is committed at the end of the block, or undone whole when the block fails."""
        with _explained(self.url), Session(self.engine.execution_options(writes=True)) as session, session.begin():
            yield session

    def clock(self, session: Session) -> float:
        """Seconds since 1970, of the database's machine where programs are on several."""
        if self.dialect == "postgresql":
            return float(session.scalar(sa.text("SELECT extract(epoch FROM clock_timestamp())")) or 0)
        return time.time()

    def close(self) -> None:
        """Let all connections go."""
        self.engine.dispose()

    def _upgrade(self) -> None:
        """Run the migrations that are missing; two processes that open a new database at once take turns."""
        with self.engine.execution_options(writes=False).connect() as connection:
            if _revision(connection) == HEAD:
                return
        with self.engine.execution_options(writes=True).begin() as connection:
            if self.dialect == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            found = _revision(connection)
            if found > HEAD:
                raise ArtifactError(
                    "the library at {url} was made by a newer miaobi (its tables are of version {found}, known is {known}). Update miaobi",
                    url=self.url.render_as_string(),
                    found=found,
                    known=HEAD,
                )
            if found != HEAD:
                _migrate(connection)


def _parsed(url: str | sa.URL) -> sa.URL:
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
    except sa.exc.ArgumentError:
        raise UsageError("'{url}' is no database address; write sqlite:///library.db or postgresql://user@host/name", url=url) from None
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise UsageError("the library is kept by sqlite or postgresql, not by '{backend}'", backend=backend)
    return parsed


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "postgresql":
        try:
            return sa.create_engine(url, pool_pre_ping=True)
        except ModuleNotFoundError:
            raise MissingExtra(tr("a library in PostgreSQL"), "postgres", "psycopg") from None
    if url.database and url.database != ":memory:":
        with explain_os_errors(Path(url.database)):
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": WAIT_SECONDS})
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: object) -> None:
    """Transactions are begun by `_begin_sqlite` alone; a commit survives a crash of the machine (synchronous FULL is SQLite's default)."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes", True) else "BEGIN")


def _revision(connection: sa.Connection) -> str:
    """The version of the tables; empty before the first."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() or "")


def _migrate(connection: sa.Connection) -> None:
    """Every revision after the database's own, in the connection's transaction: all or none."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@contextlib.contextmanager
def _explained(url: sa.URL) -> Iterator[None]:
    """A database's own errors in words of ours; passwords in addresses are never shown."""
    shown = url.render_as_string(hide_password=True)
    try:
        yield
    except sa.exc.OperationalError as error:
        problem = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
        if "locked" in problem:
            raise Locked("the library at {url} is being written by another process for too long; try again", url=shown) from None
        raise Away("the library at {url} cannot be used: {problem}", url=shown, problem=problem) from None
    except sa.exc.InterfaceError as error:  # the connection was closed under a session
        raise Away("the library at {url} cannot be used: {problem}", url=shown, problem=error.orig or error) from None
    except sa.exc.DatabaseError as error:
        if isinstance(error, sa.exc.IntegrityError | sa.exc.ProgrammingError):
            raise
        if isinstance(error, sa.exc.DataError) and "NUL" in str(error.orig):
            raise UsageError("a text with the character U+0000 cannot be kept in PostgreSQL") from None
        raise Broken("the library at {url} cannot be used: {problem}", url=shown, problem=error.orig or error) from None
