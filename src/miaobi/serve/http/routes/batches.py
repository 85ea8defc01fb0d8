"""`/v1/batches`: files of requests, answered by a job that survives whatever happens to the server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from miaobi.core.errors import DataError, unknown
from miaobi.core.schema import Schema
from miaobi.serve.http import works
from miaobi.serve.http.routes.files import page
from miaobi.serve.http.state import Here, State
from miaobi.serve.requests import ENDPOINTS, lines, so_far

if TYPE_CHECKING:
    from miaobi.library.queue import Job

router = APIRouter(tags=["batches"])

KIND, PREFIX = "requests", "batch_"
STATUS = {"queued": "validating", "running": "in_progress", "lost": "in_progress", "paused": "in_progress", "done": "completed"}


class Body(Schema):
    """Which requests, and to which route."""

    input_file_id: str = Field(max_length=100)
    """A file of `/v1/files`: JSON Lines with custom_id, method, url and body."""
    endpoint: str = Field(max_length=100)
    """The route, the `url` of every line."""
    completion_window: Literal["24h"] = "24h"
    """OpenAI's; nothing is given up here."""
    metadata: dict[str, str] | None = Field(None, max_length=16)
    """Notes of your own."""


@router.post("/v1/batches")
async def create(body: Body, state: Here) -> dict[str, Any]:
    """Put a file of requests in line."""
    if body.endpoint not in ENDPOINTS:
        raise unknown("endpoint", body.endpoint, ENDPOINTS)
    who = works.owner(state)

    def read() -> tuple[str, int]:
        files = works.uploads(state)
        upload = files.get(body.input_file_id, owner=who)
        return upload.sha256, sum(1 for _ in lines(files.data(upload), body.endpoint))

    sha256, count = await asyncio.to_thread(read)
    if not count:
        raise DataError("{path} holds no requests", path=body.input_file_id)
    spec: dict[str, Any] = {"endpoint": body.endpoint, "file": body.input_file_id, "sha256": sha256, "lines": count}
    spec |= {"metadata": body.metadata or {}, "models": list(state.settings.models)}
    return entry(await works.enqueue(state, KIND, spec, name=body.endpoint))


@router.get("/v1/batches")
async def list_batches(state: Here, limit: int = 20, after: str = "") -> dict[str, Any]:
    """The caller's batches, the newest first."""
    jobs, more = await works.mine(state, KIND, limit=max(1, min(limit, 100)), after=after.removeprefix(PREFIX))
    return page([entry(await _with_files(state, job)) for job in jobs], more=more)


@router.get("/v1/batches/{batch}")
async def retrieve(batch: str, state: Here) -> dict[str, Any]:
    """How far a batch is."""
    return entry(await _with_files(state, await _found(state, batch)))


@router.post("/v1/batches/{batch}/cancel")
async def cancel(batch: str, state: Here) -> dict[str, Any]:
    """Stop a batch. What is answered by then is in its files."""
    job = await _with_files(state, await works.cancel(state, await _found(state, batch)))
    return entry(job) | ({"status": "cancelling"} if str(job.state) == "running" else {})


async def _found(state: Here, id: str) -> Job:
    return await works.find(state, id, prefix=PREFIX, kind=KIND, what="batch")


async def _with_files(state: State, job: Job) -> Job:
    """A batch that ended early, with files of what was answered; they are written when somebody first looks, whoever did the batch."""
    if str(job.state) not in ("cancelled", "failed") or not job.items or "requests" in job.result:
        return job

    def write() -> Job:
        line = works.queue(state)
        return line.append(job.id, so_far(state.library, job, line.items(job.id)))

    return await asyncio.to_thread(write)


def entry(job: Job) -> dict[str, Any]:
    """A batch in OpenAI's shape."""
    state, spec = str(job.state), job.spec
    failed = job.result.get("failed", job.progress.get("failed", 0))
    ended = works.seconds(job.ended)
    problem = works.problem(job)
    return {
        "id": f"{PREFIX}{job.id}",
        "object": "batch",
        "endpoint": spec["endpoint"],
        "errors": {"object": "list", "data": [problem]} if problem and state == "failed" else None,
        "input_file_id": spec["file"],
        "completion_window": spec["window"],
        "status": STATUS.get(state, state),
        "output_file_id": job.result.get("output"),
        "error_file_id": job.result.get("error"),
        "created_at": works.seconds(job.created),
        "in_progress_at": works.seconds(job.started),
        "completed_at": ended if state == "done" else None,
        "failed_at": ended if state == "failed" else None,
        "cancelled_at": ended if state == "cancelled" else None,
        "request_counts": {"total": spec["lines"], "completed": max(0, job.items - failed), "failed": failed},
        "metadata": spec["metadata"],
    }
