"""Files that pages show, by the id of a content, a work or a generation: never by a path that a browser names.

Only kinds of files that a browser shows without running anything are sent to be shown; all else is sent to be saved. The page of a work may
run one script, that of its template, by its hash: whatever else has come into the file is shown and never run, and nothing is reached from
it but the pictures, sounds and films that lie beside it. The type is what the library knows, and browsers are told not to guess another
(`nosniff`).
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import io
import re
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import FileResponse, JSONResponse

from miaobi.core.errors import DataError, MiaobiError, UsageError
from miaobi.core.home import home
from miaobi.core.types import Modality

if TYPE_CHECKING:
    from miaobi.data.scores import Score
    from miaobi.library.store import Kept, Stored
    from miaobi.studio.room import Room

SHOWN = frozenset(
    {"image/png", "image/jpeg", "image/webp", "image/gif", "audio/wav", "audio/mpeg", "audio/flac", "audio/ogg", "video/mp4", "video/webm"}
)
SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
# `allow-same-origin`, for a film of another origin is none that this server would send; without forms, base and frames of any kind
SANDBOX = (
    "default-src 'none'; img-src 'self' data:; media-src 'self' data:; style-src 'unsafe-inline'; script-src {scripts}; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; sandbox allow-scripts allow-same-origin allow-popups allow-downloads"
)
KEPT = {**SAFE, "Cache-Control": "private, max-age=31536000, immutable"}  # a content never changes
WIDEST = 2048
POSTER_SECONDS, POSTER_WIDTH = 3.0, 640
BY_SUFFIX = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
}


def router(room: Room) -> APIRouter:
    """The routes, all below `/studio`."""
    routes = APIRouter(prefix="/studio", include_in_schema=False)

    @routes.get("/content/{id}/as{suffix}")
    async def file(id: str, suffix: str) -> Response:
        """A labelled file of a content, to be saved."""
        return await asyncio.to_thread(_download, room, id, suffix)

    @routes.get("/content/{id}/{position}")
    async def part(id: str, position: int, width: int = 0) -> Response:
        """A part of a content, or a picture of it no wider than wanted."""
        return await asyncio.to_thread(_part, room, id, position, width)

    @routes.get("/content/{id}/{position}/roll")
    async def roll(id: str, position: int) -> Response:
        """The notes of a tune as a picture."""
        return await asyncio.to_thread(_roll, room, id, position)

    @routes.get("/content/{id}/{position}/times")
    async def times(id: str, position: int) -> Response:
        """When which place of that picture sounds: pairs of seconds and fractions of its width."""
        return await asyncio.to_thread(_times, room, id, position)

    @routes.get("/content/{id}/{position}/sound")
    async def sound(id: str, position: int) -> Response:
        """A tune, played."""
        return await asyncio.to_thread(_sound, room, id, position)

    @routes.get("/content/{id}/{position}/poster")
    async def poster(id: str, position: int) -> Response:
        """A frame of a film."""
        return await asyncio.to_thread(_poster, room, id, position)

    @routes.get("/making/{id}/{step}")
    async def preview(id: str, step: int) -> Response:
        """What a generation looks like by now."""
        making = room.makings.get(id)
        if making is None or making.preview is None or making.preview.mime not in SHOWN:
            raise HTTPException(404)
        return Response(making.preview.data, media_type=making.preview.mime, headers={**SAFE, "Cache-Control": "no-store"})

    @routes.get("/works/{work}/{name:path}")
    async def work(work: str, name: str) -> Response:
        """A file of a work, if its manifest names it."""
        return await asyncio.to_thread(_work, room, work, name)

    @routes.get("/runs/{run}/{name}")
    async def sample(run: str, name: str) -> Response:
        """A picture or a sound that a training made on its way."""
        return await asyncio.to_thread(_sample, room, run, name)

    return routes


def _kept(room: Room, id: str) -> Kept:
    try:
        return room.library.get(id)
    except UsageError:
        raise HTTPException(404) from None


def _stored(room: Room, id: str, position: int) -> Stored:
    from miaobi.library.store import Stored

    parts = _kept(room, id).parts
    part = parts[position] if 0 <= position < len(parts) else None
    if not isinstance(part, Stored):
        raise HTTPException(404)
    return part


def _part(room: Room, id: str, position: int, width: int) -> Response:
    stored = _stored(room, id, position)
    path = room.library.files.path(stored.sha256)
    if not path.is_file():
        raise HTTPException(404)
    if 0 < width <= WIDEST and stored.modality is Modality.IMAGE:
        return Response(_smaller(path.read_bytes(), width), media_type="image/webp", headers=KEPT)
    if stored.mime in SHOWN:
        return FileResponse(path, media_type=stored.mime, headers=KEPT)
    return FileResponse(path, media_type="application/octet-stream", headers=KEPT, filename=id, content_disposition_type="attachment")


def _smaller(data: bytes, width: int) -> bytes:
    """A picture at most so wide, as WebP; small ones grow by whole factors, since their pixels are to be seen."""
    from PIL import Image

    from miaobi.data.pictures import decode, encode

    pixels = decode(data)
    image = Image.fromarray(pixels)
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.LANCZOS)
    elif image.width * 2 <= width:
        factor = width // image.width
        image = image.resize(
            (image.width * factor, image.height * factor), Image.Resampling.NEAREST if factor > 8 else Image.Resampling.BICUBIC
        )
    import numpy as np

    return encode(np.asarray(image), "image/webp")


def _score(room: Room, id: str, position: int) -> Score:
    from miaobi.data.scores import read

    stored = _stored(room, id, position)
    if stored.modality is not Modality.MUSIC:
        raise HTTPException(404)
    return read(room.library.part(stored).data, stored.mime)


def _times(room: Room, id: str, position: int) -> Response:
    from miaobi.studio.roll import times

    return JSONResponse(times(_score(room, id, position)), headers=KEPT)


def _roll(room: Room, id: str, position: int) -> Response:
    from miaobi.studio.roll import picture

    drawn = picture(_score(room, id, position))
    stream = io.BytesIO()
    drawn.save(stream, "PNG", optimize=True)
    return Response(stream.getvalue(), media_type="image/png", headers=KEPT)


def _sound(room: Room, id: str, position: int) -> Response:
    """A score as it is played."""
    from miaobi.engine.convert import converted

    stored = _stored(room, id, position)
    if stored.modality is not Modality.MUSIC:
        raise HTTPException(404)
    return _cached(f"{stored.sha256}.mp3", "audio/mpeg", lambda: converted(room.library.part(stored), "audio/mpeg").data)


def _poster(room: Room, id: str, position: int) -> Response:
    """The frame a third into a film, where titles have faded in."""
    stored = _stored(room, id, position)
    if stored.modality is not Modality.VIDEO:
        raise HTTPException(404)
    return _cached(f"{stored.sha256}.webp", "image/webp", lambda: _still(room.library.files.path(stored.sha256)))


def _cached(name: str, mime: str, make: Callable[[], bytes]) -> Response:
    """What takes seconds to make, made when it is first asked for."""
    from miaobi.core.artifact import write_bytes

    path = home() / "cache" / "studio" / name
    if not path.is_file():
        try:
            write_bytes(path, make())
        except MiaobiError as error:
            raise HTTPException(501, str(error)) from None
    return FileResponse(path, media_type=mime, headers=KEPT)


def _still(film: Path) -> bytes:
    """One frame as WebP."""
    from miaobi.data import videos
    from miaobi.data.pictures import encode

    start = min(POSTER_SECONDS, videos.probe(film).seconds / 3)
    for begin in (start, 0.0):  # a film's header may promise more than there is
        for _, frame in videos.frames_of(film, start=begin):
            return _smaller(encode(frame), POSTER_WIDTH)
    raise DataError("the film has no frame that can be decoded")


def _download(room: Room, id: str, suffix: str) -> Response:
    from miaobi import api
    from miaobi.studio.cards import AS

    kept = _kept(room, id)
    if suffix not in AS[kept.modality]:
        raise HTTPException(404)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{_name(kept)}{suffix}"
        try:
            content = room.library.content(kept.id)
            if kept.modality is Modality.TEXT:
                from miaobi.trust import label

                label.write(content, path)
            else:
                api.write(content, path)
        except MiaobiError as error:
            raise HTTPException(422, str(error)) from None
        data = path.read_bytes()
    headers = {**SAFE, "Content-Disposition": _attachment(path.name)}
    return Response(data, media_type="application/octet-stream", headers=headers)


def _attachment(name: str) -> str:
    from urllib.parse import quote

    return f"attachment; filename*=UTF-8''{quote(name)}"


def _name(kept: Kept) -> str:
    """A file's name from the prompt: letters and digits of any language."""
    from miaobi.studio.cards import title_of

    words = "".join(letter if letter.isalnum() else "-" for letter in title_of(kept)[:24]).strip("-")
    return f"{words or kept.label.model}-{kept.id[:6]}"


def _work(room: Room, work: str, name: str) -> Response:
    from miaobi.studio.works import PAGE, WHOLE, files_of

    files = files_of(room, work)
    if name == WHOLE and files:
        headers = {**SAFE, "Content-Disposition": _attachment(f"{work}.zip")}
        return Response(_zipped(files), media_type="application/zip", headers=headers)
    path = files.get(name)
    if path is None or not path.is_file():
        raise HTTPException(404)
    if name == PAGE:
        return FileResponse(path, media_type="text/html", headers={**SAFE, "Content-Security-Policy": _policy()})
    mime = BY_SUFFIX.get(path.suffix)
    if mime is None:
        return FileResponse(
            path, media_type="application/octet-stream", filename=path.name, headers=SAFE, content_disposition_type="attachment"
        )
    return FileResponse(path, media_type=mime, headers={**SAFE, "Cache-Control": "private, no-cache"})


@functools.cache
def _policy() -> str:
    """The policy of a work's page: the only scripts are those of the template that this package writes pages with."""
    from miaobi.apps.create.page import TEMPLATE

    scripts = re.findall(r"<script>(.*?)</script>", TEMPLATE.read_text(encoding="utf-8"), re.DOTALL)
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    return SANDBOX.format(scripts=" ".join(f"'sha256-{digest}'" for digest in hashes))


def _zipped(files: Mapping[str, Path]) -> bytes:
    """The files under their names; films and sounds are packed already."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files.items():
            if path.is_file():
                archive.write(path, name)
    return stream.getvalue()


def _sample(room: Room, run: str, name: str) -> Response:
    from miaobi.studio.runs import sample_file

    path = sample_file(room, run, name)
    mime = BY_SUFFIX.get(path.suffix) if path is not None else None
    if path is None or mime is None:
        raise HTTPException(404)
    return FileResponse(path, media_type=mime, headers=SAFE)
