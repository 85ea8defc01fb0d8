"""`/v1/create`: from one brief a poem, pictures, music, a voice, a film and a page, made by a job; its files are fetched by their names."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from miaobi.apps.create.schema import NONE, Inputs
from miaobi.core.home import home
from miaobi.serve.http import works
from miaobi.serve.http.attachments import respond
from miaobi.serve.http.errors import Denied, not_found
from miaobi.serve.http.routes.files import page
from miaobi.serve.http.state import Here, State

if TYPE_CHECKING:
    from miaobi.library.queue import Job

router = APIRouter(tags=["create"])

KIND, PREFIX = "app", "work_"
MODELS = ("text_model", "image_model", "music_model", "voice_model")
MIMES = {
    ".md": "text/markdown; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".html": "text/html",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
    ".gif": "image/gif",
    ".mid": "audio/midi",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".srt": "text/plain; charset=utf-8",
    ".vtt": "text/vtt; charset=utf-8",
}


class Order(Inputs):
    """The brief and how it is carried out, as `miaobi create` takes it; `replace` names files of `/v1/files` by their ids."""

    brief: str = Field(min_length=1, max_length=500, pattern=r"\S")
    """What the work is about, in Chinese or English."""
    keep: bool = False
    """Keep what is made in the server's library, tagged with the title."""


@router.post("/v1/create")
async def create(body: Order, state: Here) -> dict[str, Any]:
    """Put a work in line."""
    inputs = body.model_dump(mode="json", exclude_unset=True, exclude={"keep", "replace"})
    _check_models(state, inputs)
    folder = home() / "works" / secrets.token_hex(8)
    replaced = await asyncio.to_thread(_own_files, state, works.owner(state), body.replace, folder)
    inputs |= {"seed": body.seed if body.seed is not None else secrets.randbits(31), **({"replace": replaced} if replaced else {})}
    spec = {"app": "create", "inputs": inputs, "out": str(folder), "keep": body.keep}
    return entry(await works.enqueue(state, KIND, spec, name=body.brief))


def _check_models(state: State, inputs: Mapping[str, Any]) -> None:
    """A model that is named is one that is served: never a folder of this machine."""
    served = {one.name for one in state.pool.models()}
    for field in MODELS:
        name = inputs.get(field, "")
        if name not in ("", NONE) and name not in served:
            raise Denied("the model '{name}' is not served here", status=404, code="model_not_found", param=field, name=name[:200])


def _own_files(state: State, owner: str, replaced: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The files that take the place of stages, by path. They lie beside the work, under the ending that says what they are."""
    from miaobi.core.artifact import write_bytes

    found: dict[str, str] = {}
    for place, (stage, id) in enumerate(replaced.items()):
        upload = works.uploads(state).get(id, owner=owner)
        suffix = Path(upload.name).suffix.lower()
        path = folder.with_name(f"{folder.name}.given") / f"{place}{suffix if suffix in MIMES else ''}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, works.uploads(state).data(upload))
        found[stage] = str(path)
    return found


@router.get("/v1/create")
async def list_works(state: Here, limit: int = 20, after: str = "", order: Literal["asc", "desc"] = "desc") -> dict[str, Any]:
    """The caller's works."""
    wanted = max(1, min(limit, 100))
    jobs, more = await works.mine(state, KIND, limit=wanted, after=after.removeprefix(PREFIX), oldest=order == "asc", meant=_is_work)
    return page([entry(job) for job in jobs], more=more)


@router.get("/v1/create/{work}")
async def retrieve(work: str, state: Here) -> dict[str, Any]:
    """How far a work is, and its files."""
    return entry(await _found(state, work))


@router.post("/v1/create/{work}/cancel")
async def cancel(work: str, state: Here) -> dict[str, Any]:
    """Stop a work."""
    return entry(await works.cancel(state, await _found(state, work)))


@router.delete("/v1/create/{work}")
async def remove(work: str, state: Here) -> dict[str, Any]:
    """Stop a work and delete its folder; what was kept in the library stays."""
    job = await _found(state, work)
    await works.remove(state, job)
    for folder in _folders(job):
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return {"id": work, "object": "work.deleted", "deleted": True}


@router.get("/v1/create/{work}/files/{name:path}", response_class=Response)
async def content(work: str, name: str, state: Here) -> Response:
    """One of its files. Pages are sent to be saved, not to be opened from this server."""
    job = await _found(state, work)
    path = Path(job.spec["out"]) / name
    if name not in job.result.get("files", []) or path.is_symlink() or not path.is_file():
        raise not_found("file", name)
    data = await asyncio.to_thread(path.read_bytes)
    return respond(data, MIMES.get(path.suffix.lower(), "application/octet-stream"), name=path.name)


async def _found(state: State, id: str) -> Job:
    job = await works.find(state, id, prefix=PREFIX, kind=KIND, what="work")
    if not _is_work(job):
        raise not_found("work", id)
    return job


def _is_work(job: Job) -> bool:
    """Whether it was ordered here: the studio and the agents order works and films, too, which lie elsewhere."""
    return job.spec["app"] == "create" and bool(_folders(job))


def _folders(job: Job) -> tuple[Path, ...]:
    """The work's folders; none for a work that was ordered elsewhere, whose folder is its owner's."""
    folder = Path(job.spec["out"])
    return (folder, folder.with_name(f"{folder.name}.given")) if folder.parent == home() / "works" else ()


def entry(job: Job) -> dict[str, Any]:
    """A work as it stands."""
    id, inputs, made, state = f"{PREFIX}{job.id}", job.spec["inputs"], job.result, str(job.state)
    stage = str(job.progress.get("phase", ""))
    return {
        "id": id,
        "object": "work",
        "status": works.STATUS[state],
        "progress": _percent(job, stage),
        "stage": stage if state == "running" else "",
        "brief": inputs.get("brief", ""),
        "seed": inputs.get("seed"),
        "title": made.get("title", ""),
        "poem": made.get("poem", ""),
        "open": "index.html" if made.get("open") else "",
        "left_out": made.get("left_out", {}),
        "files": [{"name": name, "path": f"/v1/create/{id}/files/{name}"} for name in made.get("files", [])],
        "library_ids": made.get("kept", []),
        "created_at": works.seconds(job.created),
        "completed_at": works.seconds(job.ended) if state == "done" else None,
        "error": works.problem(job),
    }


def _percent(job: Job, stage: str) -> int:
    """How far, over all stages."""
    from miaobi.apps.create.work import STAGES

    if stage not in STAGES or str(job.state) == "done":
        return works.percent(job)
    return min(99, (100 * STAGES.index(stage) + works.percent(job)) // len(STAGES))
