"""`/v1/videos`: films as jobs: put in line, looked after, fetched when they are there."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from miaobi.core.errors import DataError
from miaobi.core.families import family
from miaobi.core.types import Content, Media, Modality
from miaobi.serve.http import forms, making, media_url, works
from miaobi.serve.http.attachments import respond
from miaobi.serve.http.errors import Denied
from miaobi.serve.http.routes.files import page
from miaobi.serve.http.routes.images import side
from miaobi.serve.http.state import Here, State
from miaobi.trust import label as labels

if TYPE_CHECKING:
    from miaobi.library.queue import Job

router = APIRouter(tags=["videos"])

KIND, PREFIX = "generate", "video_"
SHEET = 25  # frames of a sprite sheet


class Film(making.Wish):
    """What is to be seen."""

    prompt: str = Field("", max_length=32_000)
    """In words."""
    seconds: str | float | None = None
    """How long, where the model lets one say so."""
    size: str = Field("auto", max_length=20)
    """`auto`, or width x height such as 64x64."""
    input_reference: dict[str, str] = Field(default_factory=dict)
    """The first picture, when it is no file of the form: {"image_url": "data:…"} or {"file_id": "file-…"}."""


class Remix(making.Wish):
    """The same film, asked for in other words."""

    prompt: str = Field(min_length=1, max_length=32_000)
    """In words."""


@router.post("/v1/videos", openapi_extra=forms.described(Film, {"input_reference": False}, json_too=True))
async def create(request: Request, state: Here) -> dict[str, Any]:
    """Put a film in line."""
    given = await forms.read(request, Film, ("input_reference",), json_too=True)
    body, file = given.values, given.file("input_reference")
    picture = file.data if file else await _reference(state, body.input_reference)
    served = making.chosen(state, body.model, Modality.VIDEO, takes="image" if picture else "")
    seconds = None if body.seconds is None else _number(body.seconds)
    options = making.with_options(served, body.options, seconds=seconds, size=side(body.size))
    parts = {"image": await asyncio.to_thread(_put, state, served.family, picture)} if picture else {}
    return entry(await _enqueue(state, served.name, body, options, given=parts))


@router.post("/v1/videos/{video}/remix")
async def remix(video: str, body: Remix, state: Here) -> dict[str, Any]:
    """Put the same film in line again, in other words."""
    spec = (await _found(state, video)).spec
    served = making.chosen(state, body.model or spec["model"], Modality.VIDEO)
    wish = body if body.seed is not None else body.model_copy(update={"seed": spec["seed"]})
    options = {**spec["options"], **body.options}
    return entry(await _enqueue(state, served.name, wish, options, given=spec["given"], remixed=video))


async def _enqueue(
    state: State, model: str, body: Film | Remix, options: Mapping[str, Any], *, given: Mapping[str, str], remixed: str = ""
) -> Job:
    seed = secrets.randbits(31) if body.seed is None else body.seed
    spec = {"model": model, "prompt": body.prompt, "options": dict(options), "seed": seed, "given": dict(given), "remixed": remixed}
    return await works.enqueue(state, KIND, spec | {"mark": body.mark, "watermark": body.watermark}, name=body.prompt or model)


@router.get("/v1/videos")
async def list_videos(state: Here, limit: int = 20, after: str = "", order: Literal["asc", "desc"] = "desc") -> dict[str, Any]:
    """The caller's films."""
    wanted = max(1, min(limit, 100))
    jobs, more = await works.mine(state, KIND, limit=wanted, after=after.removeprefix(PREFIX), oldest=order == "asc")
    return page([entry(job) for job in jobs], more=more)


@router.get("/v1/videos/{video}")
async def retrieve(video: str, state: Here) -> dict[str, Any]:
    """How far a film is."""
    return entry(await _found(state, video))


@router.delete("/v1/videos/{video}")
async def remove(video: str, state: Here) -> dict[str, Any]:
    """Stop a film and forget it."""
    job = await _found(state, video)
    await works.remove(state, job)

    def forget() -> None:
        for id in job.result.get("contents", []):
            state.library.remove(id)

    await asyncio.to_thread(forget)
    return {"id": video, "object": "video.deleted", "deleted": True}


@router.get("/v1/videos/{video}/content", response_class=Response)
async def content(
    video: str,
    state: Here,
    variant: Literal["video", "thumbnail", "spritesheet"] = "video",
    format: Literal["mp4", "webm", "gif", "webp"] = "mp4",
) -> Response:
    """The film, its first picture, or a sheet of its pictures, with the label inside."""
    job = await _found(state, video)
    if not job.result.get("contents"):
        raise Denied("the film is not there yet: it is {state}", status=409, code="not_ready", state=works.STATUS[str(job.state)])
    found = await asyncio.to_thread(state.library.content, job.result["contents"][0])
    file = await asyncio.to_thread(_file, found, variant, format)
    ending = format if variant == "video" else file.mime.partition("/")[2]
    return respond(file.data, file.mime, name=f"{video}.{ending}", headers=making.headers(labels.implicit(found.label), ""))


def _file(content: Content, variant: str, format: str) -> Media:
    """The content as a film or as a picture of it."""
    if variant == "video":
        return making.as_file(content, f".{format}")
    import numpy as np

    from miaobi.data import pictures, videos

    film = next(part for part in content.parts if isinstance(part, Media) and part.modality is Modality.VIDEO)
    frames = videos.decode(film.data).frames
    if variant == "thumbnail":
        pixels, mime, suffix = frames[0], "image/webp", ".webp"
    else:
        chosen = [frames[place] for place in np.linspace(0, len(frames) - 1, min(SHEET, len(frames))).astype(int)]
        columns = int(np.ceil(np.sqrt(len(chosen))))
        chosen += [np.zeros_like(frames[0])] * (-len(chosen) % columns)
        rows = [np.concatenate(chosen[start : start + columns], axis=1) for start in range(0, len(chosen), columns)]
        pixels, mime, suffix = np.concatenate(rows), "image/jpeg", ".jpg"
    part = Media(modality=Modality.IMAGE, mime=mime, data=pictures.encode(pixels, mime), name=film.name)
    return labels.encoded(content, suffix, part=part)


async def _reference(state: State, reference: Mapping[str, str]) -> bytes:
    """The bytes of a picture that is named instead of sent; empty for none."""
    if set(reference) - {"image_url", "file_id"} or len(reference) > 1:
        raise Denied("input_reference is a file, an image_url or a file_id", status=400, param="input_reference")
    if "file_id" in reference:
        who = works.owner(state)
        return await asyncio.to_thread(lambda: works.uploads(state).data(works.uploads(state).get(reference["file_id"], owner=who)))
    return await media_url.fetch(reference["image_url"], state.settings, param="input_reference") if reference else b""


def _put(state: State, name: str, picture: bytes) -> str:
    """Check a picture, and keep it where the job finds it; returns its hash.

    Raises:
        DataError: it is none that can be read.
    """
    from miaobi.engine.inputs import media

    if not picture:
        raise DataError("the picture is empty")
    media(family(name), {"image": picture})
    return state.library.files.put(picture)


def _number(text: str | float) -> float:
    try:
        return float(text)
    except ValueError:
        raise Denied("'{value}' is no number of seconds", status=400, param="seconds", value=str(text)[:50]) from None


async def _found(state: State, id: str) -> Job:
    return await works.find(state, id, prefix=PREFIX, kind=KIND, what="video")


def entry(job: Job) -> dict[str, Any]:
    """A film in OpenAI's shape."""
    spec, state = job.spec, str(job.state)
    size = spec["options"].get("size")
    return {
        "id": f"{PREFIX}{job.id}",
        "object": "video",
        "model": spec["model"],
        "status": works.STATUS[state],
        "progress": works.percent(job),
        "prompt": spec["prompt"],
        "seconds": str(spec["options"].get("seconds", "")),
        "size": f"{size}x{size}" if size else "auto",
        "seed": spec["seed"],
        "created_at": works.seconds(job.created),
        "completed_at": works.seconds(job.ended) if state == "done" else None,
        "expires_at": None,
        "remixed_from_video_id": spec["remixed"] or None,
        "library_id": next(iter(job.result.get("contents", [])), None),
        "error": works.problem(job),
    }
