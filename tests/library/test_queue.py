"""A job goes to one worker at a time, survives it, and is over once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from miaobi.core.errors import UsageError
from miaobi.library import database
from miaobi.library import queue as queues
from miaobi.library.database import Away, patiently
from miaobi.library.queue import NotOurs, Queue, State
from miaobi.library.store import Library


@pytest.fixture
def queue(library: Library) -> Queue:
    """No jobs yet."""
    return Queue(library.database)


def silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on a worker that beat a moment ago counts as silent."""
    monkeypatch.setattr(queues, "SILENT_SECONDS", -1.0)


def test_in_the_order_of_priority_and_age(queue: Queue) -> None:
    low, first, second = queue.add("batch", {}, priority=-1), queue.add("train", {"a": [1]}), queue.add("train", {})
    urgent = queue.add("train", {}, priority=5, name="now")
    queue.prioritise(low, 9)
    assert [queue.get(id).state for id in (low, first)] == [State.QUEUED] * 2
    claimed = [queue.claim("w", kinds=["train"]) for _ in range(4)]
    assert [job and job.id for job in claimed] == [urgent, first, second, None]
    assert claimed[1] is not None
    assert (claimed[1].spec, claimed[1].state, claimed[1].attempts) == ({"a": [1]}, State.RUNNING, 1)
    last = queue.claim("w", only=low)
    assert last is not None
    assert last.id == low
    with pytest.raises(UsageError, match="a priority is a whole number"):
        queue.add("train", {}, priority=1000)


def test_done_paused_cancelled_retried(queue: Queue) -> None:
    id = queue.add("batch", {})
    with pytest.raises(UsageError, match="is queued; what can be asked of it now: pause, cancel"):
        queue.ask(id, "resume")
    assert queue.ask(id, "pause").state is State.PAUSED
    assert queue.claim("w") is None
    assert queue.ask(id[:5], "resume").state is State.QUEUED
    queue.claim("w")
    assert queue.beat(id, "w", progress={"done": 3, "total": 9}) == ""
    assert queue.ask(id, "pause").state is State.RUNNING  # it stops at its next beat
    assert queue.beat(id, "w") == "pause"
    queue.finish(id, "w", State.PAUSED)
    assert (queue.get(id).state, queue.get(id).progress) == (State.PAUSED, {"done": 3, "total": 9})
    queue.ask(id, "resume")
    queue.claim("w")
    queue.finish(id, "w", State.FAILED, error="no disk")
    assert queue.get(id).error == "no disk"
    assert queue.ask(id, "retry").state is State.QUEUED
    queue.claim("w")
    queue.finish(id, "w", State.DONE, result={"out": "x"})
    assert (queue.get(id).state, queue.get(id).result) == (State.DONE, {"out": "x"})
    with pytest.raises(UsageError, match="is done; what can be asked of it now: –"):
        queue.ask(id, "cancel")
    queue.remove(id)
    with pytest.raises(UsageError, match="there is no job"):
        queue.get(id)


def test_a_silent_worker_loses_its_job(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    id = queue.add("batch", {})
    queue.claim("first")
    queue.record(id, "first", 0, {"text": "a"})
    silence(monkeypatch)
    assert queue.get(id).state is State.LOST
    again = queue.claim("second")
    assert again is not None
    assert (again.id, again.attempts, again.items) == (id, 2, 1)
    monkeypatch.undo()
    for late in (
        lambda: queue.beat(id, "first"),
        lambda: queue.record(id, "first", 1, {}),
        lambda: queue.finish(id, "first", State.DONE),
    ):
        with pytest.raises(NotOurs):
            late()
    queue.record(id, "second", 1, {"text": "b"})
    assert queue.items(id) == {0: {"text": "a"}, 1: {"text": "b"}}
    with pytest.raises(UsageError, match="cancel it first"):
        queue.remove(id)


def test_lost_too_often_or_asked_to_stop(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    id, other = queue.add("batch", {}), queue.add("batch", {})
    for attempt in range(queues.MOST_ATTEMPTS):
        assert queue.claim(f"worker {attempt}", only=id) is not None
        monkeypatch.setattr(queues, "SILENT_SECONDS", -1.0)
    monkeypatch.undo()
    queue.claim("w", only=other)
    queue.ask(other, "cancel")
    silence(monkeypatch)
    assert queue.claim("last") is None
    monkeypatch.undo()
    assert (queue.get(id).state, queue.get(id).error) == (State.FAILED, "its worker died 3 times")
    assert queue.get(other).state is State.CANCELLED
    assert queue.ask(id, "retry").attempts == 0


def test_many_workers_never_share_a_job(queue: Queue) -> None:
    ids = {queue.add("batch", {}) for _ in range(20)}
    got: list[str] = []

    def work(name: str) -> None:
        while (job := queue.claim(name)) is not None:
            got.append(job.id)
            queue.finish(job.id, name, State.DONE)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(ids)
    assert [job.state for job in queue.list()] == [State.DONE] * 20
    assert queue.list([State.QUEUED]) == []


def test_who_asks_while_another_takes_a_job_finds_the_next(queue: Queue) -> None:
    """Where several may write at once, a worker that takes a job holds that one, and not the whole line."""
    if queue.database.dialect == "sqlite":
        pytest.skip("has one writer at a time")
    first, second = queue.add("batch", {}), queue.add("batch", {})
    with queue.database.writing() as session:
        found = session.scalar(queue.next_in_line(session))
        assert found is not None
        assert found.id == first
        other = queue.claim("w")
    assert other is not None
    assert other.id == second


def test_a_database_that_is_away_for_a_while_is_waited_for(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "AGAIN_SECONDS", 0.0)
    id, times = queue.add("batch", {}), []
    queue.claim("w")

    def record() -> None:
        times.append(1)
        if len(times) < 3:
            raise Away("the library at {url} cannot be used: {problem}", url="", problem="the server is starting")
        queue.record(id, "w", 0, {"text": "a"})

    patiently(record)
    queue.record(id, "w", 0, {"text": "a"})  # it was written, but nobody said so
    assert queue.items(id) == {0: {"text": "a"}}
    with pytest.raises(NotOurs):
        patiently(lambda: queue.beat(id, "other"))
    times.clear()
    with pytest.raises(Away):
        patiently(record, seconds=-1.0)


def test_an_old_library_gets_the_new_tables(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    library = Library.open(tmp_path)
    with library.database.engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(database.SCRIPTS))
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    library.close()
    queue = Queue(Library.open(tmp_path).database)
    assert queue.get(queue.add("train", {})).state is State.QUEUED
