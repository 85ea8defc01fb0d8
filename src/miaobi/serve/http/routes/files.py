"""`/v1/files`: files that clients hand over, and those that batches made, each found by its id and by its owner only."""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from miaobi.core.schema import Schema
from miaobi.serve.http import forms, works
from miaobi.serve.http.attachments import respond
from miaobi.serve.http.errors import Denied
from miaobi.serve.http.state import Here

if TYPE_CHECKING:
    from miaobi.library.uploads import Upload

router = APIRouter(tags=["files"])

Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
LONGEST_SECONDS = 30 * 86_400


class Body(Schema):
    """What a file is for."""

    purpose: Purpose
    """OpenAI's words; all are kept alike."""
    expires_after: dict[str, Any] = Field(default_factory=dict)
    """{"anchor": "created_at", "seconds": 3600}; without it the file stays until it is removed."""


@router.post("/v1/files", openapi_extra=forms.described(Body, {"file": True}))
async def upload(request: Request, state: Here) -> dict[str, Any]:
    """Hand over a file."""
    given = await forms.read(request, Body, ("file",))
    file = given.file("file")
    if file is None:
        raise Denied("'{path}' is missing", status=400, param="file", path="file")
    seconds = _seconds(given.values.expires_after)
    name = PurePosixPath(file.name.replace("\\", "/")).name or "file"
    who = works.owner(state)

    def put() -> Upload:
        files = works.uploads(state)
        files.expire()
        return files.add(file.data, name=name, purpose=given.values.purpose, owner=who, seconds=seconds)

    return entry(await asyncio.to_thread(put))


@router.get("/v1/files")
async def list_files(
    state: Here, purpose: str = "", limit: int = 100, after: str = "", order: Literal["asc", "desc"] = "desc"
) -> dict[str, Any]:
    """The caller's files."""
    limit, who = max(1, min(limit, 10_000)), works.owner(state)
    found = await asyncio.to_thread(
        lambda: works.uploads(state).list(owner=who, purpose=purpose, limit=limit + 1, after=after, oldest=order == "asc")
    )
    return page([entry(one) for one in found[:limit]], more=len(found) > limit)


@router.get("/v1/files/{file}")
async def retrieve(file: str, state: Here) -> dict[str, Any]:
    """What is known of a file."""
    return entry(await _found(state, file))


@router.get("/v1/files/{file}/content", response_class=Response)
async def content(file: str, state: Here) -> Response:
    """Its bytes, to be saved and never to be run."""
    found = await _found(state, file)
    data = await asyncio.to_thread(works.uploads(state).data, found)
    return respond(data, "application/octet-stream", name=found.name)


@router.delete("/v1/files/{file}")
async def remove(file: str, state: Here) -> dict[str, Any]:
    """Forget a file."""
    found, who = await _found(state, file), works.owner(state)
    await asyncio.to_thread(lambda: works.uploads(state).remove(found.id, owner=who))
    return {"id": found.id, "object": "file", "deleted": True}


async def _found(state: Here, id: str) -> Upload:
    who = works.owner(state)
    return await asyncio.to_thread(lambda: works.uploads(state).get(id, owner=who))


def entry(upload: Upload) -> dict[str, Any]:
    """A file in OpenAI's shape."""
    return {
        "id": upload.id,
        "object": "file",
        "bytes": upload.bytes,
        "created_at": works.seconds(upload.created),
        "expires_at": works.seconds(upload.expires),
        "filename": upload.name,
        "purpose": upload.purpose,
        "status": "processed",
    }


def page(rows: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """A list in OpenAI's shape."""
    ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]} if rows else {"first_id": None, "last_id": None}
    return {"object": "list", "data": rows, "has_more": more, **ends}


def _seconds(expires: dict[str, Any]) -> int:
    """How long a file stays; 0 without end."""
    if not expires:
        return 0
    try:
        seconds = int(expires.get("seconds", 0))
    except (TypeError, ValueError):
        seconds = 0
    if set(expires) - {"anchor", "seconds"} or expires.get("anchor", "created_at") != "created_at" or not 1 <= seconds <= LONGEST_SECONDS:
        raise Denied(
            "expires_after is anchor=created_at and seconds from 1 to {most}", status=400, param="expires_after", most=LONGEST_SECONDS
        )
    return seconds
