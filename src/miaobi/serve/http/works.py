"""Jobs as routes show them: whose they are, put in line with somebody to do them, found again by their owner only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from miaobi.core.errors import MiaobiError
from miaobi.serve.http.errors import Denied, not_found
from miaobi.serve.http.keys import CALLER

if TYPE_CHECKING:
    from miaobi.library.queue import Job, Queue
    from miaobi.library.uploads import Uploads
    from miaobi.serve.http.state import State

MOST_LISTED = 10_000  # jobs that a list looks through
WAITING = ("queued", "lost")


def owner(state: State) -> str:
    """Whose files and jobs the caller's are: those of a key, or, on a server without keys, those of everybody on this machine."""
    caller = CALLER.get()
    return caller.id if caller is not None and state.keys else ""


def queue(state: State) -> Queue:
    """The line of jobs; slow, as the library is."""
    from miaobi.library.queue import Queue

    return Queue(state.library.database)


def uploads(state: State) -> Uploads:
    """The files; slow, as the library is."""
    from miaobi.library.uploads import Uploads

    return Uploads(state.library)


async def enqueue(state: State, kind: str, spec: Mapping[str, Any], *, name: str) -> Job:
    """Put the caller's job in line, and see that somebody does it.

    Raises:
        UsageError: the spec is wrong.
    """
    from miaobi.serve.kinds import checked

    who = owner(state)
    common = {"folder": str(state.folder), "device": state.settings.device, "threads": state.settings.threads or None, "owner": who}

    def put() -> Job:
        line = queue(state)
        return line.get(line.add(kind, checked(kind, {**common, **spec}), name=name[:200]))

    job = await asyncio.to_thread(put)
    await asyncio.to_thread(state.hands.begin, kind)
    return job


async def find(state: State, id: str, *, prefix: str, kind: str, what: str) -> Job:
    """The caller's job of that id. One that waits gets somebody to do it: the server may have been started anew.

    Raises:
        Denied: 404; it may be another's.
    """
    bare, who = id.removeprefix(prefix), owner(state)
    try:
        job = await asyncio.to_thread(lambda: queue(state).get(bare))
    except MiaobiError:
        raise not_found(what, id) from None
    if id != f"{prefix}{job.id}" or job.kind != kind or job.spec.get("owner", "") != who:
        raise not_found(what, id)
    if str(job.state) in WAITING:
        await asyncio.to_thread(state.hands.begin, kind)
    return job


async def mine(
    state: State, kind: str, *, limit: int, after: str = "", oldest: bool = False, meant: Callable[[Job], bool] = lambda job: True
) -> tuple[Sequence[Job], bool]:
    """The caller's jobs of a kind that are `meant`, the newest first unless `oldest`, those behind the job `after`; and whether there are
    more."""
    who = owner(state)
    found = await asyncio.to_thread(lambda: queue(state).list(kinds=(kind,), limit=MOST_LISTED))
    jobs = [job for job in found if job.spec.get("owner", "") == who and meant(job)]
    jobs = jobs[::-1] if oldest else jobs
    if after:
        place = next((place for place, job in enumerate(jobs) if job.id == after), None)
        if place is None:
            raise not_found("job", after)
        jobs = jobs[place + 1 :]
    return jobs[:limit], len(jobs) > limit


async def cancel(state: State, job: Job) -> Job:
    """Stop a job; one that is over stays as it is."""
    if str(job.state) in ("done", "failed", "cancelled"):
        return job
    return await asyncio.to_thread(lambda: queue(state).ask(job.id, "cancel"))


async def remove(state: State, job: Job) -> None:
    """Stop a job and forget it, as soon as whoever does it has put it down."""
    line, id = queue(state), job.id
    job = await cancel(state, job)
    for _ in range(100):
        if str(job.state) in ("done", "failed", "cancelled"):
            await asyncio.to_thread(line.remove, id)
            return
        await asyncio.sleep(0.1)
        job = await asyncio.to_thread(line.get, id)
    raise Denied("'{id}' is still being stopped. Try again soon", status=409, id=id)


def seconds(time: str) -> int | None:
    """A time of the library in seconds since 1970; None for none."""
    return int(datetime.fromisoformat(time).timestamp()) if time else None


def percent(job: Job) -> int:
    """How far a job is."""
    if str(job.state) == "done":
        return 100
    total = job.progress.get("total") or 0
    return min(99, round(100 * job.progress.get("done", 0) / total)) if total else 0


STATUS = {  # of jobs in OpenAI's words for videos
    "queued": "queued",
    "running": "in_progress",
    "lost": "in_progress",
    "paused": "queued",
    "done": "completed",
    "failed": "failed",
    "cancelled": "failed",
}


def problem(job: Job) -> dict[str, str] | None:
    """What went wrong, as OpenAI says it."""
    if str(job.state) == "cancelled":
        return {"code": "cancelled", "message": "cancelled"}
    return {"code": "failed", "message": job.error} if str(job.state) == "failed" else None
