"""Files that pages show, by the id of a content, a work or a generation: never by a path that a browser names.

Only kinds of files that a browser shows without running anything are sent to be shown; all else is sent to be saved. The page of a work is
shown in a sandbox: it is nobody's, so its script reaches neither the studio nor any other address. The type is what the library knows, and
browsers are told not to guess another (`nosniff`).
"""

from __future__ import annotations

import asyncio
import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import FileResponse, JSONResponse

from miaobi.core.errors import MiaobiError, UsageError
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
SANDBOX = (
    "default-src 'none'; img-src 'self' data:; media-src 'self' data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "sandbox allow-scripts allow-popups allow-downloads"
)
KEPT = {**SAFE, "Cache-Control": "private, max-age=31536000, immutable"}  # a content never changes
WIDEST = 2048
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
    """Playing takes seconds, so what was played once is kept in the cache."""
    from miaobi.core.artifact import write_bytes
    from miaobi.engine.convert import converted

    stored = _stored(room, id, position)
    if stored.modality is not Modality.MUSIC:
        raise HTTPException(404)
    path = home() / "cache" / "studio" / f"{stored.sha256}.mp3"
    if not path.is_file():
        try:
            write_bytes(path, converted(room.library.part(stored), "audio/mpeg").data)
        except MiaobiError as error:
            raise HTTPException(501, str(error)) from None
    return FileResponse(path, media_type="audio/mpeg", headers=KEPT)


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
    words = "".join(letter if letter.isalnum() else "-" for letter in kept.label.prompt[:24]).strip("-")
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
        return FileResponse(path, media_type="text/html", headers={**SAFE, "Content-Security-Policy": SANDBOX})
    mime = BY_SUFFIX.get(path.suffix)
    if mime is None:
        return FileResponse(
            path, media_type="application/octet-stream", filename=path.name, headers=SAFE, content_disposition_type="attachment"
        )
    return FileResponse(path, media_type=mime, headers={**SAFE, "Cache-Control": "private, no-cache"})


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
